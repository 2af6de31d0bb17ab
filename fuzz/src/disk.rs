//! A disk of the world: what a download has written, and how much of it a crash leaves.
//!
//! A verified chunk is *written*: its bytes first, then its entry in the journal. Now and then
//! both are *synced*. A killed process loses nothing that is written. A crashed machine loses what
//! is not synced, in two ways: of the journal a beginning is left, its last entry perhaps torn; and
//! the bytes of a chunk whose entry is left may be torn. What is found after a start is verified
//! again, as the real store does. The disk keeps no bytes: a chunk is compared with what was shared
//! when it is written, and from then on it is whole or torn.

use std::collections::BTreeSet;
use std::sync::Arc;

use towpath_core::download::ChunkSet;
use towpath_core::id::{ChunkRef, Hash, Space};
use towpath_core::node::StoreResult;
use towpath_core::rng::Rng;

use crate::content::Content;
use crate::world::Plant;

/// What a crash took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Torn {
    /// Entries of the journal, the torn one among them.
    pub entries: u64,
    /// Chunks whose entry is left, and whose bytes are torn.
    pub chunks: u64,
}

/// A download on disk.
#[derive(Debug)]
pub struct Disk {
    content: Arc<Content>,
    written: BTreeSet<ChunkRef>,
    /// Those that are not synced, in the order of their entries in the journal.
    unsynced: Vec<ChunkRef>,
    torn: BTreeSet<ChunkRef>,
    written_bytes: u64,
    /// What was there when the command started.
    found: BTreeSet<ChunkRef>,
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
            unsynced: Vec::new(),
            torn: BTreeSet::new(),
            written_bytes: 0,
            found: BTreeSet::new(),
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
        if self.found.contains(&chunk) {
            return Err(format!("{chunk:?} was fetched although it was there"));
        }
        let bytes = data.len() as u64;
        if self.room_bytes < bytes {
            return Ok(StoreResult::Failed("disk full: no room in the world".into()));
        }
        self.room_bytes -= bytes;
        if self.written.insert(chunk) {
            self.unsynced.push(chunk);
            self.written_bytes += bytes;
        }
        Ok(StoreResult::Written)
    }

    /// The bytes of a chunk that is had.
    #[must_use]
    pub fn chunk(&self, chunk: ChunkRef) -> Option<&[u8]> {
        if self.written.contains(&chunk) { self.content.chunk(chunk) } else { None }
    }

    /// Whether a chunk is there and true.
    #[must_use]
    pub fn has(&self, chunk: ChunkRef) -> bool {
        self.written.contains(&chunk)
    }

    /// Bytes of the chunks that are there.
    #[must_use]
    pub const fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// The chunks that are there.
    pub fn chunks(&self) -> impl Iterator<Item = &ChunkRef> {
        self.written.iter()
    }

    /// Makes everything that is written durable.
    pub fn sync(&mut self) {
        self.unsynced.clear();
    }

    /// The machine crashes. Of the entries that were not synced a beginning is left, perhaps with
    /// half of another one; of their chunks some are torn.
    pub fn crash(&mut self, rng: &mut Rng) -> Torn {
        let mut torn = Torn::default();
        let unsynced = std::mem::take(&mut self.unsynced);
        let left = rng.below(unsynced.len() as u64 + 1);
        let left = usize::try_from(left).expect("as many as there are");
        for (at, chunk) in unsynced.into_iter().enumerate() {
            let bytes = self.content.chunk(chunk).map_or(0, <[u8]>::len) as u64;
            if at >= left {
                torn.entries += 1;
                self.forget(chunk);
            } else if rng.below(2) == 0 {
                torn.chunks += 1;
                self.torn.insert(chunk);
            } else {
                continue;
            }
            self.torn_bytes += bytes;
        }
        torn
    }

    fn forget(&mut self, chunk: ChunkRef) {
        if self.written.remove(&chunk) {
            self.written_bytes -= self.content.chunk(chunk).map_or(0, <[u8]>::len) as u64;
        }
    }

    /// What is there of a space after a start: every chunk whose bytes are right.
    pub fn resume(&mut self, space: Space, plant: Option<Plant>) -> ChunkSet {
        if plant != Some(Plant::WrittenIsSynced) {
            for torn in std::mem::take(&mut self.torn) {
                self.forget(torn);
            }
        }
        self.sync();
        self.found.clone_from(&self.written);
        let mut found = ChunkSet::empty(self.content.shape(space).chunks);
        if plant == Some(Plant::ForgottenJournal) {
            return found;
        }
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
