//! What is fetched: chunks in any order in, a file or folder under its name out.
//!
//! Until the end everything lives beside the target, in a hidden folder `.NAME.ID.towpath` on the
//! same file system, held by a lock: the data (a file, or the manifest and a folder `contents`),
//! the tree nodes that proofs are made of, and the journal. The order of one chunk: verified in
//! memory, written, its tree nodes written, then the journal; of the whole: everything synced,
//! links made, folders given their times and modes, then one rename that replaces nothing.
//!
//! Several threads may store and read at once. Locks guard bits and lists, never the hashing,
//! reading or writing of a chunk.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;
use towpath_core::download::ChunkSet;
use towpath_core::id::{ChunkRef, Descriptor, Hash, Kind, Space};
use towpath_core::node::{ContentsShape, StoreResult};
use towpath_core::session::ChunkFrame;
use towpath_core::wire::{RequestId, Unavailable};

use crate::error::Error;
use crate::index::ReadError;
use crate::source::Prepared;
use journal::{Journal, Replay};
use part::Part;

mod finish;
mod journal;
mod many;
mod open;
mod part;
mod resume;
mod room;
#[cfg(test)]
mod tests;

/// Names inside the hidden folder.
mod names {
    pub(super) const LOCK: &[u8] = b"lock";
    pub(super) const JOURNAL: &[u8] = b"journal";
    pub(super) const JOURNAL_NEW: &[u8] = b"journal.new";
    pub(super) const DATA: &[u8] = b"data";
    pub(super) const MANIFEST: &[u8] = b"manifest";
    pub(super) const TREE: &[u8] = b"tree";
    pub(super) const CONTENTS: &[u8] = b"contents";
    pub(super) const CONTENTS_TREE: &[u8] = b"contents.tree";
}

/// How a target was found.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is made")]
pub enum Opened {
    /// It stands there already, whole and verified: nothing needs to be fetched.
    Whole(PathBuf),
    /// It is to be fetched, or to be fetched on.
    Partial(Target),
}

/// What is fetched. Dropped without [`Target::finish`], it syncs and keeps what it has for the next
/// run.
#[derive(Debug)]
pub struct Target {
    descriptor: Descriptor,
    force: bool,
    place: Place,
    journal: Journal,
    /// What the journal said when it was opened.
    replay: Replay,
    /// Nothing was there before this run: where nothing was written there are zeros.
    fresh: bool,
    root: OnceLock<Part>,
    contents: OnceLock<Part>,
    finished: AtomicBool,
}

/// Where a target is and will be.
#[derive(Debug)]
struct Place {
    /// The folder that will hold the target.
    parent: OwnedFd,
    parent_path: PathBuf,
    /// The target's name in it.
    name: Vec<u8>,
    /// The hidden folder.
    partial: OwnedFd,
    partial_name: Vec<u8>,
    /// Holds the lock as long as it is open.
    #[cfg_attr(not(test), expect(dead_code, reason = "its being open is its use"))]
    lock: File,
    /// The permission bits that a new file gets at most here (umask, default ACL).
    mode_mask: u16,
}

impl Place {
    fn out(&self) -> PathBuf {
        self.parent_path.join(OsStr::from_bytes(&self.name))
    }

    fn partial_path(&self) -> PathBuf {
        self.parent_path.join(OsStr::from_bytes(&self.partial_name))
    }
}

impl Target {
    /// Opens or resumes the download of `descriptor` to `out` (the final name), after checking that
    /// nothing stands there (unless it is the same, whole, or `force`) and that there is room.
    /// `progress` tells of hashing what stands there.
    ///
    /// # Errors
    /// `exists`, `not_found`, `permission`, `read_only`, `disk_full`, `busy` (another command
    /// fetches it), `manifest` (longer than any limit allows), `io`.
    pub fn open(
        out: &Path,
        descriptor: Descriptor,
        force: bool,
        progress: &mut dyn FnMut(Prepared),
    ) -> Result<Opened, Error> {
        open::open(out, descriptor, force, progress)
    }

    /// Regular files in it (of a folder: 0 before `begin(Contents)`).
    #[must_use]
    pub fn files(&self) -> u64 {
        match self.descriptor.kind {
            Kind::File => 1,
            Kind::Manifest => self.contents.get().map_or(0, Part::files),
        }
    }

    /// What of this space is there already. For `Contents` the manifest must be whole: it is read
    /// here, folders are made, room is checked. `progress` tells of hashing again what an unclean
    /// end left.
    ///
    /// # Errors
    /// `manifest` (which rule the folder's description breaks), `disk_full`, `permission`, `io`.
    pub fn begin(
        &self,
        space: Space,
        progress: &mut dyn FnMut(Prepared),
    ) -> Result<(ContentsShape, ChunkSet), Error> {
        resume::begin(self, space, progress)
    }

    /// Whether any chunk is there.
    #[must_use]
    pub fn has_any(&self) -> bool {
        [&self.root, &self.contents].iter().any(|part| part.get().is_some_and(Part::has_any))
    }

    fn part(&self, space: Space) -> Option<&Part> {
        match space {
            Space::Root => self.root.get(),
            Space::Contents => self.contents.get(),
        }
    }

    /// Verifies a chunk and writes it. A chunk that is there already is written once only.
    #[must_use]
    pub fn store_chunk(&self, chunk: ChunkRef, proof: &[Hash], data: &[u8]) -> StoreResult {
        let Some(part) = self.part(chunk.space) else {
            return StoreResult::Failed("a chunk came before its space was begun".into());
        };
        match part.store(chunk.index, proof, data, &self.journal) {
            Ok(true) => StoreResult::Written,
            Ok(false) => StoreResult::False,
            Err(error) => StoreResult::Failed(self.cannot("write to", &error).message),
        }
    }

    /// Reads one chunk that is had, to serve it.
    ///
    /// # Errors
    /// Why the peer will not get it.
    pub fn read_chunk(
        &self,
        request: RequestId,
        chunk: ChunkRef,
        buffer: BytesMut,
    ) -> Result<ChunkFrame, Unavailable> {
        self.part(chunk.space).ok_or(Unavailable::NotHad)?.read(request, chunk.index, buffer)
    }

    /// Syncs what was written and marks it so in the journal; called by the driver now and then.
    ///
    /// # Errors
    /// `disk_full`, `io`.
    pub fn sync(&self) -> Result<(), Error> {
        if self.finished.load(Ordering::Acquire) || self.journal.is_synced() {
            return Ok(());
        }
        let mark = self.journal.mark();
        self.sync_data()
            .and_then(|()| self.journal.synced(mark))
            .map_err(|e| self.cannot("sync", &e))
    }

    /// Everything that was written so far is on the disk when this returns.
    fn sync_data(&self) -> io::Result<()> {
        if let Some(root) = self.root.get() {
            root.sync()?;
        }
        if self.contents.get().is_some() {
            // One call for any number of files.
            rustix::fs::syncfs(&self.place.partial)?;
        }
        Ok(())
    }

    /// Puts the target under its name, whole and durable. Chunks can still be read afterwards.
    ///
    /// # Errors
    /// `exists` if something has taken the name meanwhile (nothing is lost: the next run goes on
    /// here), `disk_full`, `permission`, `io`.
    pub fn finish(&self) -> Result<PathBuf, Error> {
        finish::finish(self)
    }

    fn cannot(&self, doing: &str, error: &io::Error) -> Error {
        Error::io(doing, &self.place.out(), error)
    }

    /// What is wrong with the manifest, or with the disk.
    fn broken(&self, error: ReadError) -> Error {
        match error {
            ReadError::Io(error) => self.cannot("write to", &error),
            ReadError::Rule(rule) => Error::manifest(rule),
        }
    }

    /// As the death of the process does.
    #[cfg(test)]
    pub(crate) fn let_go_of_lock(&self) {
        rustix::fs::flock(&self.place.lock, rustix::fs::FlockOperation::Unlock).unwrap();
    }

    fn id(&self) -> towpath_core::id::FileId {
        self.descriptor.id()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.finished.load(Ordering::Acquire) {
            return;
        }
        if self.has_any() || !self.replay.is_empty() {
            // Nobody is left to tell; unsynced chunks are hashed again by the next run.
            let _ = self.sync();
        } else {
            let _ = finish::remove_partial(&self.place);
        }
    }
}
