//! A disk of the world: what a download has written, and how much of it a crash leaves.
//!
//! Verified chunks are *written* at once and *synced* now and then. A killed process loses nothing
//! that is written; a crashed machine loses what is not synced, or leaves it torn. What is found
//! after a start is verified again, as the real store does. The disk keeps no bytes: a chunk is
//! compared with what was shared when it is written, and from then on it is whole or torn.

use std::collections::BTreeSet;
use std::sync::Arc;

use towpath_core::download::ChunkSet;
use towpath_core::id::{ChunkRef, Hash, Space};
use towpath_core::node::StoreResult;
use towpath_core::rng::Rng;

use crate::content::Content;

/// A download on disk.
#[derive(Debug)]
pub struct Disk {
    content: Arc<Content>,
    written: BTreeSet<ChunkRef>,
    synced: BTreeSet<ChunkRef>,
    torn: BTreeSet<ChunkRef>,
    /// Bytes that may still be written before the disk is full.
    pub room_bytes: u64,
    /// Bytes of chunks that were refused as false.
    pub false_bytes: u64,
    /// Bytes that a crash took away again.
    pub torn_bytes: u64,
}

impl Disk {
    /// An empty disk for this download.
    #[must_use]
    pub const fn new(content: Arc<Content>) -> Self {
        Self {
            content,
            written: BTreeSet::new(),
            synced: BTreeSet::new(),
            torn: BTreeSet::new(),
            room_bytes: u64::MAX,
            false_bytes: 0,
            torn_bytes: 0,
        }
    }

    /// Verifies (unless it is `trusting`) and writes.
    ///
    /// # Errors
    /// A false chunk passed the verification.
    pub fn store(
        &mut self,
        chunk: ChunkRef,
        proof: &[Hash],
        data: &[u8],
        trusting: bool,
    ) -> Result<StoreResult, String> {
        if !trusting && !self.content.verify(chunk, proof, data) {
            self.false_bytes += data.len() as u64;
            return Ok(StoreResult::False);
        }
        if Some(data) != self.content.chunk(chunk) {
            return Err(format!("{chunk:?} was proven, and is not what was shared"));
        }
        let bytes = data.len() as u64;
        if self.room_bytes < bytes {
            return Ok(StoreResult::Failed("disk full: no room in the world".into()));
        }
        self.room_bytes -= bytes;
        self.written.insert(chunk);
        Ok(StoreResult::Written)
    }

    /// The bytes of a chunk that is had.
    #[must_use]
    pub fn chunk(&self, chunk: ChunkRef) -> Option<&[u8]> {
        if self.written.contains(&chunk) { self.content.chunk(chunk) } else { None }
    }

    /// Makes everything that is written durable.
    pub fn sync(&mut self) {
        self.synced.clone_from(&self.written);
    }

    /// The machine crashes: of what was not synced some is torn.
    pub fn crash(&mut self, rng: &mut Rng) {
        for chunk in self.written.difference(&self.synced) {
            if rng.below(2) == 0 {
                self.torn.insert(*chunk);
                let bytes = self.content.chunk(*chunk).map_or(0, <[u8]>::len);
                self.torn_bytes += bytes as u64;
            }
        }
    }

    /// What is there of a space after a start: every chunk whose bytes are right.
    pub fn resume(&mut self, space: Space) -> ChunkSet {
        for torn in &self.torn {
            self.written.remove(torn);
        }
        self.torn.clear();
        self.sync();
        let mut found = ChunkSet::empty(self.content.shape(space).chunks);
        for chunk in self.written.iter().filter(|chunk| chunk.space == space) {
            found.insert(chunk.index);
        }
        found
    }

    /// Whether it holds exactly what was shared.
    #[must_use]
    pub fn is_whole(&self, space: Space) -> bool {
        let of_space = self.written.iter().filter(|chunk| chunk.space == space).count();
        of_space as u64 == self.content.shape(space).chunks && self.torn.is_empty()
    }
}
