//! Merkle trees of BEP 52, and proofs of chunks. (API fixed; body to be written.)
//!
//! A leaf is the SHA-256 of 16 KiB (the last one as short as it is); missing leaf hashes are 32 zero
//! bytes up to the next power of two. A chunk is a subtree of 16 leaves, or the whole tree of a file
//! that is smaller. The empty file has a root of 32 zero bytes and no chunk.

use alloc::vec::Vec;

use crate::id::Hash;

/// How many chunks a file of this length has.
#[must_use]
pub const fn chunk_count(_length_bytes: u64) -> u64 {
    0
}

/// The length of chunk `index` of a file of `length_bytes`.
///
/// # Panics
/// If there is no such chunk.
#[must_use]
pub fn chunk_length(_length_bytes: u64, _index: u64) -> usize {
    todo!()
}

/// How many hashes the proof of a chunk has in a file of this length (the same for all its chunks).
#[must_use]
pub const fn proof_length(_length_bytes: u64) -> usize {
    0
}

/// The hash of a chunk: the root of its subtree, padded to the shape that `length_bytes` asks for.
#[must_use]
pub fn chunk_hash(_length_bytes: u64, _data: &[u8]) -> Hash {
    todo!()
}

/// Whether `data` is chunk `index` of the file with this length and root.
#[must_use]
pub fn verify_chunk(
    _root: Hash,
    _length_bytes: u64,
    _index: u64,
    _proof: &[Hash],
    _data: &[u8],
) -> bool {
    todo!()
}

/// Where the nodes of a file's upper tree (chunk hashes and all above) stand, for a store that keeps
/// them on disk: level by level from the chunks up, without padding nodes, the root left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeLayout {
    /// Chunks of the file.
    pub chunks: u64,
}

impl TreeLayout {
    /// The layout for a file of this length.
    #[must_use]
    pub const fn new(_length_bytes: u64) -> Self {
        Self { chunks: 0 }
    }

    /// How many nodes are kept: 0 for a file of one chunk.
    #[must_use]
    pub const fn nodes(&self) -> u64 {
        0
    }

    /// Position of node `index` of `level` (0: chunks); `None` if it is padding.
    #[must_use]
    pub const fn position(&self, _level: u32, _index: u64) -> Option<u64> {
        None
    }

    /// The siblings that prove chunk `index`, from the chunk up: positions, or the padding hash.
    pub fn proof(&self, _index: u64) -> impl Iterator<Item = Result<u64, Hash>> {
        core::iter::empty()
    }
}

/// Builds a file's root and upper tree from its chunk hashes, in order, with memory for one node a level.
#[derive(Debug, Clone)]
pub struct TreeBuilder {}

impl TreeBuilder {
    /// A builder for a file of this length.
    #[must_use]
    pub fn new(_length_bytes: u64) -> Self {
        todo!()
    }

    /// The next chunk's hash. Returns the nodes that became known: (position in [`TreeLayout`], hash).
    pub fn push(&mut self, _chunk: Hash) -> Vec<(u64, Hash)> {
        todo!()
    }

    /// The root, once all chunks are pushed.
    #[must_use]
    pub fn finish(self) -> Hash {
        todo!()
    }
}
