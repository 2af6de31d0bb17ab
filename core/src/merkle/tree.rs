//! The part of a file's tree that is kept: chunk hashes and the nodes above them.
//!
//! Kept are only nodes over at least one real chunk, so that a file of `n` chunks needs fewer than
//! `2 n + 30` hashes however far it lies from a power of two; padding nodes are computed when asked
//! for, and the root is known from the file's descriptor.

use alloc::vec::Vec;

use super::{CHUNK_LEVEL, ZERO_HASH, ceil_log2, chunk_count, parent};
use crate::id::Hash;

/// Where the nodes of a file's upper tree (chunk hashes and all above) stand, for a store that
/// keeps them on disk: level by level from the chunks up, without padding nodes, the root left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeLayout {
    /// Chunks of the file.
    pub chunks: u64,
}

impl TreeLayout {
    /// The layout for a file of this length.
    #[must_use]
    pub const fn new(length_bytes: u64) -> Self {
        Self { chunks: chunk_count(length_bytes) }
    }

    /// Levels from the chunks up to the root, which has the number `height`.
    const fn height(self) -> u32 {
        ceil_log2(self.chunks)
    }

    /// How many nodes of `level` stand over at least one chunk.
    const fn width(self, level: u32) -> u64 {
        if level >= u64::BITS { 1 } else { self.chunks.div_ceil(1 << level) }
    }

    /// Position of the first node of `level`.
    const fn start(self, level: u32) -> u64 {
        let mut start = 0;
        let mut below = 0;
        while below < level {
            start += self.width(below);
            below += 1;
        }
        start
    }

    /// How many nodes are kept: 0 for a file of one chunk.
    #[must_use]
    pub const fn nodes(&self) -> u64 {
        self.start(self.height())
    }

    /// Position of node `index` of `level` (0: chunks); `None` if it is padding, or not below the
    /// root.
    #[must_use]
    pub const fn position(&self, level: u32, index: u64) -> Option<u64> {
        if level >= self.height() || index >= self.width(level) {
            return None;
        }
        Some(self.start(level) + index)
    }

    /// The siblings that prove chunk `index`, from the chunk up: positions, or the padding hash.
    pub fn proof(&self, index: u64) -> impl Iterator<Item = Result<u64, Hash>> + use<> {
        let layout = *self;
        let mut padding = Padding::default();
        (0..layout.height()).map(move |level| {
            let sibling = (index >> level) ^ 1;
            layout.position(level, sibling).ok_or_else(|| padding.at(CHUNK_LEVEL + level))
        })
    }

    /// What a receiver knows once chunk `index` with this hash and this proof is verified:
    /// positions and hashes of the chunk itself and of its siblings that are no padding. Whoever
    /// keeps them can prove every chunk that it has: [`TreeLayout::proof`] asks for nothing else.
    pub fn learned<'a>(
        &self,
        index: u64,
        chunk: Hash,
        proof: &'a [Hash],
    ) -> impl Iterator<Item = (u64, Hash)> + use<'a> {
        let layout = *self;
        let own = layout.position(0, index).map(|position| (position, chunk));
        let siblings = (0..layout.height()).zip(proof).filter_map(move |(level, hash)| {
            Some((layout.position(level, (index >> level) ^ 1)?, *hash))
        });
        own.into_iter().chain(siblings)
    }
}

/// Builds a file's root and upper tree from its chunk hashes, in order, with memory for one node a
/// level.
#[derive(Debug, Clone)]
pub struct TreeBuilder {
    layout: TreeLayout,
    /// Chunks pushed so far.
    pushed: u64,
    /// Left siblings that wait for their right ones: one for each bit that is set in `pushed`, the
    /// highest level first; at the end the root alone.
    pub(super) waiting: Vec<Hash>,
    padding: Padding,
}

impl TreeBuilder {
    /// A builder for a file of this length.
    #[must_use]
    pub fn new(length_bytes: u64) -> Self {
        let layout = TreeLayout::new(length_bytes);
        Self { layout, pushed: 0, waiting: Vec::new(), padding: Padding::default() }
    }

    /// The next chunk's hash. Returns the nodes that became known: (position in [`TreeLayout`],
    /// hash).
    ///
    /// # Panics
    /// If all chunks of the file were pushed already.
    pub fn push(&mut self, chunk: Hash) -> Vec<(u64, Hash)> {
        assert!(self.pushed < self.layout.chunks, "more chunks than the file has");
        let mut known = Vec::new();
        let mut index = self.pushed;
        self.pushed += 1;
        let last = self.pushed == self.layout.chunks;
        let mut node = chunk;
        for level in 0..self.layout.height() {
            let position = self.layout.position(level, index).expect("it stands over a chunk");
            known.push((position, node));
            node = if index & 1 == 1 {
                parent(self.waiting.pop().expect("the left sibling came before"), node)
            } else if last {
                parent(node, self.padding.at(CHUNK_LEVEL + level))
            } else {
                break;
            };
            index >>= 1;
        }
        self.waiting.push(node);
        known
    }

    /// The root, once all chunks are pushed.
    ///
    /// # Panics
    /// If chunks are missing.
    #[must_use]
    pub fn finish(self) -> Hash {
        assert_eq!(self.pushed, self.layout.chunks, "chunks are missing");
        self.waiting.first().copied().unwrap_or(ZERO_HASH)
    }
}

/// Roots of trees of nothing but missing leaves, asked for from low levels to high ones.
#[derive(Debug, Clone)]
struct Padding {
    level: u32,
    hash: Hash,
}

impl Default for Padding {
    fn default() -> Self {
        Self { level: 0, hash: ZERO_HASH }
    }
}

impl Padding {
    /// The root of 2^`level` missing leaves.
    fn at(&mut self, level: u32) -> Hash {
        while self.level < level {
            self.hash = parent(self.hash, self.hash);
            self.level += 1;
        }
        self.hash
    }
}
