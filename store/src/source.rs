//! What is shared: a file, a folder, or several of them; hashed once, then served chunk by chunk.
//!
//! [`Source::prepare`] walks, hashes what is not in the cache, and leaves everything that serving
//! needs in one file of the cache: the list of what was found, the manifest, the tree nodes. In
//! memory stay an index of one point in 64 entries and a few open files. Each read checks that the
//! file is still the one that was hashed.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use rustix::io::Errno;
use towpath_core::id::{ChunkRef, Descriptor, Kind, Space};
use towpath_core::limits::CHUNK_BYTES;
use towpath_core::merkle::{TreeLayout, chunk_count, chunk_length, proof_length};
use towpath_core::node::ContentsShape;
use towpath_core::session::ChunkFrame;
use towpath_core::wire::{RequestId, Unavailable};

use crate::error::Error;
use crate::index::{Found, Index};
use crate::limits::OPEN_FILES;
use crate::lock;
use crate::tree::{ProofReader, read_proof};
use base::Base;
use cache::Stored;
use list::Stat;

mod base;
mod cache;
mod hash;
mod list;
mod old;
pub(crate) mod prepare;
#[cfg(test)]
mod tests;
mod walk;

/// What of a folder could not be shared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Symbolic links that are absolute, dangling, leave the share or go in circles.
    pub links: u64,
    /// Sockets, pipes, devices, and our own data folder.
    pub special: u64,
    /// Entries whose setuid, setgid or sticky bit was dropped (the entry itself is shared).
    pub mode_bits: u64,
}

/// Progress of reading: walking and hashing a source, or checking what a target has already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Prepared {
    /// Files seen.
    pub files: u64,
    /// Bytes seen so far; grows while a folder is walked.
    pub total_bytes: u64,
    /// Bytes hashed (or known from the cache).
    pub done_bytes: u64,
}

/// What is shared.
#[derive(Debug)]
pub struct Source {
    name: String,
    base: Base,
    stored: Stored,
    hashed_bytes: u64,
    /// Of a folder.
    index: Option<Index>,
    /// Files that were read lately, by the number of their entry.
    open: Mutex<VecDeque<(u64, Arc<Open>)>>,
    proofs: ProofReader,
}

#[derive(Debug)]
struct Open {
    file: File,
    stat: Stat,
}

/// Where a chunk is: its file, and its nodes.
struct Spot {
    /// Of a folder.
    file: Option<Found>,
    length_bytes: u64,
    number: u64,
    first_node: u64,
}

impl Source {
    /// Walks and hashes `paths`, using and filling the cache in `data_dir`. One path to a file is
    /// shared as that file; a folder, or several paths, as a manifest.
    ///
    /// # Errors
    /// `not_found`, `permission`, `changed`, `io`, `disk_full` (of the cache), `manifest` (what
    /// cannot be shared: two paths of one name, more than the limits allow).
    pub fn prepare(
        data_dir: &Path,
        paths: &[PathBuf],
        progress: &mut dyn FnMut(Prepared),
    ) -> Result<Self, Error> {
        prepare::prepare(data_dir, paths, progress)
    }

    /// What it is.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        self.stored.facts.descriptor
    }

    /// The suggested name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Chunks and bytes of a folder's contents.
    #[must_use]
    pub fn contents(&self) -> Option<ContentsShape> {
        let sums = self.index.as_ref()?.sums();
        Some(ContentsShape { chunks: sums.chunks, bytes: sums.bytes })
    }

    /// Regular files in it.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.stored.facts.files
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn length_bytes(&self) -> u64 {
        self.stored.facts.bytes
    }

    /// Bytes that had to be hashed now; the rest was known.
    #[must_use]
    pub fn hashed_bytes(&self) -> u64 {
        self.hashed_bytes
    }

    /// What was left out.
    #[must_use]
    pub fn skipped(&self) -> Skipped {
        self.stored.facts.skipped
    }

    /// Reads one chunk and its proof into a frame (made of `buffer`).
    ///
    /// # Errors
    /// Why the peer will not get it: `NotHad` if there is no such chunk, `SourceChanged` if the
    /// file is not the one that was hashed, `ReadFailed` if the disk fails.
    pub fn read_chunk(
        &self,
        request: RequestId,
        chunk: ChunkRef,
        buffer: BytesMut,
    ) -> Result<ChunkFrame, Unavailable> {
        if self.descriptor().kind == Kind::Manifest && chunk.space == Space::Root {
            return self.read_manifest(request, chunk.index, buffer);
        }
        let failed = |_: io::Error| Unavailable::ReadFailed;
        let spot = self.spot(chunk).map_err(failed)?.ok_or(Unavailable::NotHad)?;
        let length = chunk_length(spot.length_bytes, spot.number);
        let hashes = proof_length(spot.length_bytes);
        let mut frame = ChunkFrame::new(request, length, hashes, buffer);
        let layout = TreeLayout::new(spot.length_bytes);
        let nodes = self.stored.tree();
        self.proofs
            .read(&nodes, spot.first_node, layout, spot.number, frame.proof_mut())
            .map_err(failed)?;
        let open = self.open(&spot)?;
        let read = read_frame(&open.file, spot.number * CHUNK_BYTES as u64, &mut frame);
        // After the bytes: what was read before this moment is what was hashed.
        match Stat::of(&open.file) {
            Ok(stat) if stat == open.stat => read.map(|()| frame).map_err(failed),
            Ok(_) => Err(Unavailable::SourceChanged),
            Err(_) => Err(Unavailable::ReadFailed),
        }
    }

    fn read_manifest(
        &self,
        request: RequestId,
        number: u64,
        buffer: BytesMut,
    ) -> Result<ChunkFrame, Unavailable> {
        let manifest = self.stored.manifest();
        if number >= chunk_count(manifest.length) {
            return Err(Unavailable::NotHad);
        }
        let length = chunk_length(manifest.length, number);
        let mut frame = ChunkFrame::new(request, length, proof_length(manifest.length), buffer);
        let layout = TreeLayout::new(manifest.length);
        let mut fill = || -> io::Result<()> {
            read_proof(&self.stored.root_tree(), 0, layout, number, frame.proof_mut())?;
            let start = manifest.start + number * CHUNK_BYTES as u64;
            read_frame(&manifest.file, start, &mut frame)
        };
        fill().map_err(|_| Unavailable::ReadFailed)?;
        Ok(frame)
    }

    fn spot(&self, chunk: ChunkRef) -> io::Result<Option<Spot>> {
        let Some(index) = &self.index else {
            let length_bytes = self.descriptor().length_bytes;
            let is_there = chunk.space == Space::Root && chunk.index < chunk_count(length_bytes);
            return Ok(is_there.then_some(Spot {
                file: None,
                length_bytes,
                number: chunk.index,
                first_node: 0,
            }));
        };
        Ok(index.file_of(chunk.index)?.map(|file| Spot {
            length_bytes: file.length_bytes,
            number: chunk.index - file.first_chunk,
            first_node: file.first_node,
            file: Some(file),
        }))
    }

    /// The file of a chunk; whether it is the one that was hashed is seen after reading.
    fn open(&self, spot: &Spot) -> Result<Arc<Open>, Unavailable> {
        let (ordinal, path) = spot.file.as_ref().map_or((0, &[][..]), |f| (f.ordinal, &f.path));
        {
            let mut open = lock(&self.open);
            if let Some(at) = open.iter().position(|(of, _)| *of == ordinal) {
                let found = open.remove(at).expect("it was just found there");
                let file = found.1.clone();
                open.push_front(found);
                return Ok(file);
            }
        }
        let stat = self.stored.stat(ordinal).map_err(|_| Unavailable::ReadFailed)?;
        let file = self.base.open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Unavailable::SourceChanged,
            _ => Unavailable::ReadFailed,
        })?;
        let file = Arc::new(Open { file, stat });
        if chunk_count(spot.length_bytes) > 1 {
            let mut open = lock(&self.open);
            open.push_front((ordinal, file.clone()));
            open.truncate(OPEN_FILES);
        }
        Ok(file)
    }
}

/// Fills the body of a frame with what stands at `offset`, by one call of the system.
pub(crate) fn read_frame(file: &File, mut offset: u64, frame: &mut ChunkFrame) -> io::Result<()> {
    let mut pieces: Vec<_> = frame.body_mut().map(IoSliceMut::new).collect();
    let mut rest = &mut pieces[..];
    while !rest.is_empty() {
        match rustix::io::preadv(file, rest, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => {
                offset += bytes as u64;
                IoSliceMut::advance_slices(&mut rest, bytes);
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
