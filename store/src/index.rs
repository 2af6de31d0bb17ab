//! Which file of a manifest a chunk belongs to, with memory for one point in 64 entries.
//!
//! The manifest stays on disk. In memory are the offset, the first chunk and the first tree node of
//! every 64th entry; a lookup reads the stretch between two points, and the last few stretches are
//! kept decoded, because chunks are asked for mostly in order.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use towpath_core::codec::DecodeError;
use towpath_core::id::Hash;
use towpath_core::manifest::{Decoder, Entry, What, compare_paths, decode_entry, resolve_link};
use towpath_core::merkle::{TreeLayout, chunk_count};

use crate::limits::{
    INDEX_CACHE_BLOCKS, INDEX_STRIDE, LINK_LOOKS, LINK_LOOKS_PER_ENTRY, MAX_ENTRY_BYTES,
    MAX_LINK_HOPS,
};
use crate::lock;
use crate::tree::Section;

/// Bytes of a manifest that are read at once.
const READ_BYTES: usize = 64 * 1024;

/// One file of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileEntry {
    /// Number of its entry in the manifest.
    pub(crate) ordinal: u64,
    /// Number of its first chunk in the share.
    pub(crate) first_chunk: u64,
    /// Number of its first node in the tree file.
    pub(crate) first_node: u64,
    pub(crate) length_bytes: u64,
    pub(crate) root: Hash,
    pub(crate) mode: u16,
    pub(crate) mtime: (i64, u32),
    pub(crate) path: Vec<u8>,
}

impl FileEntry {
    pub(crate) fn chunks(&self) -> u64 {
        chunk_count(self.length_bytes)
    }
}

/// A file of a manifest, in the stretch that was decoded for it.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    block: Arc<Vec<FileEntry>>,
    at: usize,
}

impl std::ops::Deref for Found {
    type Target = FileEntry;

    fn deref(&self) -> &FileEntry {
        &self.block[self.at]
    }
}

/// Why a manifest could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    Io(io::Error),
    Rule(DecodeError),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<DecodeError> for ReadError {
    fn from(error: DecodeError) -> Self {
        Self::Rule(error)
    }
}

/// Sums over a manifest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) entries: u64,
    pub(crate) files: u64,
    pub(crate) chunks: u64,
    pub(crate) bytes: u64,
    pub(crate) nodes: u64,
    /// Links among the entries.
    pub(crate) links: u64,
}

/// A manifest on disk that can be looked up.
#[derive(Debug)]
pub(crate) struct Index {
    manifest: Section,
    points: Vec<Point>,
    sums: Sums,
    decoded: Mutex<VecDeque<(usize, Arc<Vec<FileEntry>>)>>,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    offset: u64,
    first_chunk: u64,
    first_node: u64,
}

/// Reads a whole manifest and hands each entry to `visit`, with its offset and first chunk; checks
/// all rules but where links lead.
pub(crate) fn for_each_entry<E: From<ReadError>>(
    manifest: &Section,
    mut visit: impl FnMut(u64, u64, Entry) -> Result<(), E>,
) -> Result<(), E> {
    let mut decoder = Decoder::new(manifest.length).map_err(ReadError::from)?;
    let mut buffer = vec![0; READ_BYTES];
    let mut at = 0;
    while at < manifest.length {
        let size = (manifest.length - at).min(READ_BYTES as u64) as usize;
        manifest.read_exact_at(&mut buffer[..size], at).map_err(ReadError::from)?;
        decoder.push(&buffer[..size]);
        at += size as u64;
        while let Some((offset, chunk, entry)) = decoder.next_entry().map_err(ReadError::from)? {
            visit(offset, chunk, entry)?;
        }
    }
    decoder.finish().map_err(ReadError::from)?;
    Ok(())
}

impl Index {
    /// Reads the manifest once, checking every rule, where links lead included.
    pub(crate) fn build(manifest: Section) -> Result<Self, ReadError> {
        let mut points = Vec::new();
        let mut sums = Sums::default();
        for_each_entry::<ReadError>(&manifest, |offset, first_chunk, entry| {
            if sums.entries.is_multiple_of(INDEX_STRIDE) {
                points.push(Point { offset, first_chunk, first_node: sums.nodes });
            }
            sums.entries += 1;
            match entry.what {
                What::Folder => {}
                What::Link { .. } => sums.links += 1,
                What::File { length_bytes, .. } => {
                    sums.files += 1;
                    sums.bytes += length_bytes;
                    sums.chunks += chunk_count(length_bytes);
                    sums.nodes += TreeLayout::new(length_bytes).nodes();
                }
            }
            Ok(())
        })?;
        let index = Self { manifest, points, sums, decoded: Mutex::default() };
        if index.sums.links > 0 {
            index.check_links(LINK_LOOKS + LINK_LOOKS_PER_ENTRY * index.sums.entries)?;
        }
        Ok(index)
    }

    pub(crate) fn sums(&self) -> Sums {
        self.sums
    }

    pub(crate) fn manifest(&self) -> &Section {
        &self.manifest
    }

    /// The file that chunk `chunk` belongs to.
    pub(crate) fn file_of(&self, chunk: u64) -> io::Result<Option<Found>> {
        if chunk >= self.sums.chunks {
            return Ok(None);
        }
        let number = self.points.partition_point(|point| point.first_chunk <= chunk) - 1;
        let block = self.block(number)?;
        let after = block.partition_point(|file| file.first_chunk <= chunk);
        // Empty files have the number of the chunk after them; the last one that is not empty has
        // it.
        let at = (0..after).rev().find(|&at| block[at].length_bytes > 0);
        let at = at.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Some(Found { block, at }))
    }

    fn block(&self, number: usize) -> io::Result<Arc<Vec<FileEntry>>> {
        {
            let mut decoded = lock(&self.decoded);
            if let Some(at) = decoded.iter().position(|(n, _)| *n == number) {
                let found = decoded.remove(at).expect("it was just found there");
                let block = found.1.clone();
                decoded.push_front(found);
                return Ok(block);
            }
        }
        let mut files = Vec::with_capacity(INDEX_STRIDE as usize);
        let point = self.points[number];
        let (mut chunk, mut node) = (point.first_chunk, point.first_node);
        self.decode_block(number, |ordinal, entry| {
            let What::File { length_bytes, root } = entry.what else { return };
            files.push(FileEntry {
                ordinal,
                first_chunk: chunk,
                first_node: node,
                length_bytes,
                root,
                mode: entry.mode,
                mtime: entry.mtime,
                path: entry.path,
            });
            chunk += chunk_count(length_bytes);
            node += TreeLayout::new(length_bytes).nodes();
        })?;
        let block = Arc::new(files);
        let mut decoded = lock(&self.decoded);
        decoded.push_front((number, block.clone()));
        decoded.truncate(INDEX_CACHE_BLOCKS);
        Ok(block)
    }

    fn decode_block(&self, number: usize, mut visit: impl FnMut(u64, Entry)) -> io::Result<()> {
        let start = self.points[number].offset;
        let end = self.points.get(number + 1).map_or(self.manifest.length, |next| next.offset);
        let mut bytes = vec![0; (end - start) as usize];
        self.manifest.read_exact_at(&mut bytes, start)?;
        let mut rest = &bytes[..];
        let mut ordinal = number as u64 * INDEX_STRIDE;
        while !rest.is_empty() {
            let (size, entry) = decode_entry(rest).map_err(io::Error::other)?;
            rest = &rest[size..];
            visit(ordinal, entry);
            ordinal += 1;
        }
        Ok(())
    }

    /// The entry with this path.
    pub(crate) fn find(&self, path: &[u8]) -> io::Result<Option<Entry>> {
        let (mut low, mut high) = (0, self.points.len());
        let mut buffer = vec![0; MAX_ENTRY_BYTES];
        while low < high {
            let middle = usize::midpoint(low, high);
            let offset = self.points[middle].offset;
            let size = buffer.len().min((self.manifest.length - offset) as usize);
            self.manifest.read_exact_at(&mut buffer[..size], offset)?;
            let (_, entry) = decode_entry(&buffer[..size]).map_err(io::Error::other)?;
            match compare_paths(&entry.path, path) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(Some(entry)),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        let mut found = None;
        if let Some(number) = low.checked_sub(1) {
            self.decode_block(number, |_, entry| {
                if entry.path == path {
                    found = Some(entry);
                }
            })?;
        }
        Ok(found)
    }

    /// Every link leads to an entry, or to the share's folder; that is found with so many looks.
    // spec C25b and C25c: before anything of the share is made
    fn check_links(&self, mut looks: u64) -> Result<(), ReadError> {
        for_each_entry::<ReadError>(&self.manifest, |_, _, entry| {
            let What::Link { target } = &entry.what else { return Ok(()) };
            let leads = leads_to_entry(&entry.path, target, |path| {
                looks = looks.saturating_sub(1);
                if looks == 0 {
                    return Ok(None);
                }
                Ok(self.find(path)?.map(|entry| match entry.what {
                    What::Link { target } => Step::Link(target),
                    What::Folder => Step::Folder,
                    What::File { .. } => Step::File,
                }))
            })?;
            match leads {
                _ if looks == 0 => Err(DecodeError("too_many_link_steps").into()),
                Some(_) => Ok(()),
                None => Err(DecodeError("link_target_missing").into()),
            }
        })
    }
}

/// What stands at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    File,
    Folder,
    /// A link with this target.
    Link(Vec<u8>),
}

/// The path of the entry to which the link at `path` leads, other links on the way followed, the
/// last one not (it is an entry); empty for the share's folder. Each target is held to the rules of
/// `resolve_link`, so that no step leaves the share. `None` if it leads nowhere, or around in
/// circles.
pub(crate) fn leads_to_entry(
    path: &[u8],
    target: &[u8],
    mut look: impl FnMut(&[u8]) -> io::Result<Option<Step>>,
) -> io::Result<Option<Vec<u8>>> {
    let Some(mut goal) = resolve_link(path, target) else { return Ok(None) };
    'hop: for _ in 0..MAX_LINK_HOPS {
        if goal.is_empty() || look(&goal)?.is_some() {
            return Ok(Some(goal));
        }
        let slashes = goal.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for slash in slashes {
            match look(&goal[..slash])? {
                Some(Step::Folder) => {}
                Some(Step::Link(target)) => {
                    let Some(mut next) = resolve_link(&goal[..slash], &target) else {
                        return Ok(None);
                    };
                    let rest = if next.is_empty() { &goal[slash + 1..] } else { &goal[slash..] };
                    next.extend_from_slice(rest);
                    goal = next;
                    continue 'hop;
                }
                Some(Step::File) | None => return Ok(None),
            }
        }
        return Ok(None);
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
