//! The blocking file store: what a share reads from and a download writes to. (API outline; to be written.)
//!
//! `std` and `rustix` only, no async: drivers call it from a thread pool. [`Source`] is what is shared,
//! [`Target`] what is fetched; both can serve chunks. Everything takes `&self` and may be called from
//! several threads at once.

use std::path::{Path, PathBuf};

use bytes::BytesMut;
use towpath_core::download::ChunkSet;
use towpath_core::id::{ChunkRef, Descriptor, Hash, Space};
use towpath_core::node::{ContentsShape, StoreResult};
use towpath_core::session::ChunkFrame;
use towpath_core::wire::{RequestId, Unavailable};

/// An error of the store: a kind for scripts and one sentence for people.
#[derive(Debug)]
pub struct Error {
    /// `disk_full`, `read_only`, `exists`, `not_found`, `permission`, `manifest`, `changed`, `busy`, `io`.
    pub kind: &'static str,
    /// "disk full: need 3.2 GB in /data, 1.1 GB free".
    pub message: String,
}

/// What is shared.
#[derive(Debug)]
pub struct Source {}

/// What of a folder could not be shared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Symbolic links that are absolute, dangling or leave the share.
    pub links: u64,
    /// Sockets, pipes, devices, and our own data folder.
    pub special: u64,
    /// Entries whose setuid, setgid or sticky bit was dropped (the entry itself is shared).
    pub mode_bits: u64,
}

/// Progress of reading: walking and hashing a source, or checking what a target has already.
#[derive(Debug, Clone, Copy, Default)]
pub struct Prepared {
    /// Files seen.
    pub files: u64,
    /// Bytes seen so far.
    pub total_bytes: u64,
    /// Bytes hashed (or known from the cache).
    pub done_bytes: u64,
}

impl Source {
    /// Walks and hashes `paths`, using and filling the cache in `data_dir`.
    ///
    /// # Errors
    /// One sentence for people.
    pub fn prepare(
        _data_dir: &Path,
        _paths: &[PathBuf],
        _progress: &mut dyn FnMut(Prepared),
    ) -> Result<Self, Error> {
        todo!()
    }

    /// What it is.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        todo!()
    }

    /// The suggested name.
    #[must_use]
    pub fn name(&self) -> &str {
        todo!()
    }

    /// Chunks and bytes of a folder's contents.
    #[must_use]
    pub fn contents(&self) -> Option<ContentsShape> {
        todo!()
    }

    /// Regular files in it.
    #[must_use]
    pub fn files(&self) -> u64 {
        todo!()
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn length_bytes(&self) -> u64 {
        todo!()
    }

    /// What was left out.
    #[must_use]
    pub fn skipped(&self) -> Skipped {
        todo!()
    }

    /// Reads one chunk and its proof into a frame (made of `buffer`).
    ///
    /// # Errors
    /// Why the peer will not get it.
    pub fn read_chunk(
        &self,
        _request: RequestId,
        _chunk: ChunkRef,
        _buffer: BytesMut,
    ) -> Result<ChunkFrame, Unavailable> {
        todo!()
    }
}

/// How a target was found.
#[derive(Debug)]
pub enum Opened {
    /// It stands there already, whole and verified: nothing needs to be fetched.
    Whole(PathBuf),
    /// It is to be fetched, or to be fetched on.
    Partial(Target),
}

/// What is fetched. Dropped without [`Target::finish`], it syncs and keeps what it has for the next run.
#[derive(Debug)]
pub struct Target {}

impl Target {
    /// Opens or resumes the download of `descriptor` to `out` (the final name), after checking that
    /// nothing stands there (unless it is the same, whole, or `force`) and that there is room.
    ///
    /// # Errors
    /// One sentence for people.
    pub fn open(
        _out: &Path,
        _descriptor: Descriptor,
        _force: bool,
        _progress: &mut dyn FnMut(Prepared),
    ) -> Result<Opened, Error> {
        todo!()
    }

    /// Regular files in it (of a folder: known after `begin(Contents)`).
    #[must_use]
    pub fn files(&self) -> u64 {
        todo!()
    }

    /// What of this space is there already. For `Contents` the manifest must be whole: it is read here,
    /// folders are made, room is checked. `progress` tells of hashing again what an unclean end left.
    ///
    /// # Errors
    /// One sentence for people.
    pub fn begin(
        &self,
        _space: Space,
        _progress: &mut dyn FnMut(Prepared),
    ) -> Result<(ContentsShape, ChunkSet), Error> {
        todo!()
    }

    /// Verifies a chunk and writes it.
    #[must_use]
    pub fn store_chunk(&self, _chunk: ChunkRef, _proof: &[Hash], _data: &[u8]) -> StoreResult {
        todo!()
    }

    /// Reads one chunk that is had, to serve it.
    ///
    /// # Errors
    /// Why the peer will not get it.
    pub fn read_chunk(
        &self,
        _request: RequestId,
        _chunk: ChunkRef,
        _buffer: BytesMut,
    ) -> Result<ChunkFrame, Unavailable> {
        todo!()
    }

    /// Syncs what was written and marks it so in the journal; called by the driver now and then.
    ///
    /// # Errors
    /// One sentence for people.
    pub fn sync(&self) -> Result<(), Error> {
        todo!()
    }

    /// Puts the target under its name, whole and durable. Chunks can still be read afterwards.
    ///
    /// # Errors
    /// One sentence for people.
    pub fn finish(&self) -> Result<PathBuf, Error> {
        todo!()
    }
}
