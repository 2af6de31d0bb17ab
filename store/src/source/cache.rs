//! What was hashed before, so that a second share of unchanged files hashes nothing.
//!
//! One file for each share, named by the paths that were shared, in a folder of its own below the
//! data folder. It is written beside its name, synced, and renamed. Its sections: the list (names,
//! stats), the manifest, the tree nodes of all files, the tree nodes of the manifest. The share
//! reads from it while it is served; that it is removed meanwhile does no harm.
//!
//! ```text
//! header length u64 ‖ header ‖ names ‖ stats ‖ manifest ‖ tree ‖ root tree
//! header = "towpath cache 1\n" ‖ kind u8 ‖ length u64 ‖ root [32] ‖ files u64 ‖ bytes u64
//!          ‖ skipped: links u64, special u64, mode bits u64 ‖ lengths of the five sections u64
//!          ‖ paths: count u32, each: length u32 ‖ bytes
//! ```

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use towpath_core::codec::{DecodeError, Reader, Write as _};
use towpath_core::id::{Descriptor, Hash, Kind, to_hex};
use towpath_core::limits::CHUNK_BYTES;
use towpath_core::merkle::{TreeBuilder, chunk_hash};

use super::Skipped;
use super::base::Base;
use super::list::{List, SectionReader, Stat};
use crate::error::Error;
use crate::limits::{MAX_CACHE_BYTES, MAX_CACHE_HEADER_BYTES, STALE_TEMPORARY, check_length};
use crate::tree::Section;

const MAGIC: &[u8; 16] = b"towpath cache 1\n";
const SUFFIX: &str = ".share";

/// What is known of a share, beside its sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) descriptor: Descriptor,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    pub(crate) skipped: Skipped,
}

/// A share as it stands in the cache.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) facts: Facts,
    sections: [Section; 5],
}

impl Stored {
    pub(crate) fn list(&self) -> List {
        List { names: self.sections[0].clone(), stats: self.sections[1].clone() }
    }

    pub(crate) fn manifest(&self) -> &Section {
        &self.sections[2]
    }

    /// Nodes of the files, in the order of the manifest.
    pub(crate) fn tree(&self) -> Section {
        self.sections[3].clone()
    }

    /// Nodes of the manifest itself.
    pub(crate) fn root_tree(&self) -> Section {
        self.sections[4].clone()
    }

    /// The stat of entry `ordinal`.
    pub(crate) fn stat(&self, ordinal: u64) -> io::Result<Stat> {
        self.list().stat(ordinal)
    }
}

/// The sections of a share that is not in the cache yet.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) facts: Facts,
    /// How much of it was not known before.
    pub(crate) hashed_bytes: u64,
    pub(crate) list: List,
    pub(crate) manifest: Section,
    pub(crate) tree: Section,
    pub(crate) root_tree: Section,
}

/// The folder of the cache.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Opens it below `data_dir`, making both if need be.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, Error> {
        let folder = data_dir.join("cache");
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(Error::at("make the folder", &folder))?;
        Ok(Self { folder })
    }

    pub(crate) fn cannot_write(&self, error: &io::Error) -> Error {
        Error::io("write in", &self.folder, error)
    }

    /// A file without a name, for what is not complete yet.
    pub(crate) fn temporary(&self) -> io::Result<File> {
        temporary(&self.folder)
    }

    fn path(&self, base: &Base) -> PathBuf {
        self.folder.join(to_hex(&merkle_hash(&base.key()).0[..16]) + SUFFIX)
    }

    /// What was stored for this share, if it can be read.
    pub(crate) fn find(&self, base: &Base) -> Option<Stored> {
        let file = File::options().read(true).open(self.path(base)).ok()?;
        let (stored, _) = read(file).ok()?;
        Some(stored)
    }

    /// Marks an entry as used now.
    pub(crate) fn touch(&self, base: &Base) {
        if let Ok(file) = File::options().write(true).open(self.path(base)) {
            let _ = file.set_modified(SystemTime::now());
        }
    }

    /// Stores a share, drops what is stale, and gives it back as it stands now.
    pub(crate) fn insert(&self, base: &Base, fresh: &Fresh) -> io::Result<Stored> {
        let name = self.path(base);
        let (temporary, mut file) = named_temporary(&self.folder)?;
        let write = || -> io::Result<()> {
            file.write_all(&header(fresh, base))?;
            let Fresh { list, manifest, tree, root_tree, .. } = fresh;
            for section in [&list.names, &list.stats, manifest, tree, root_tree] {
                io::copy(&mut SectionReader::new(section), &mut file)?;
            }
            file.sync_data()?;
            std::fs::rename(&temporary, &name)
        };
        let mut write = write;
        if let Err(error) = write() {
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
        self.prune(&name);
        Ok(read(file)?.0)
    }

    /// Drops entries whose files are gone, then the least recently used ones, until the rest is
    /// small enough; never the one at `keep`. What cannot be removed stays.
    fn prune(&self, keep: &Path) {
        let Ok(folder) = std::fs::read_dir(&self.folder) else { return };
        let now = SystemTime::now();
        let mut entries = Vec::new();
        for entry in folder.flatten() {
            let path = entry.path();
            let Ok(metadata) = entry.metadata() else { continue };
            let modified = metadata.modified().unwrap_or(now);
            if path.extension() == Some(OsStr::new("temporary")) {
                if now.duration_since(modified).is_ok_and(|age| age > STALE_TEMPORARY) {
                    let _ = std::fs::remove_file(&path);
                }
            } else if path != keep && path.extension() == Some(OsStr::new("share")) {
                if is_orphan(&path) {
                    let _ = std::fs::remove_file(&path);
                } else {
                    entries.push((modified, metadata.len(), path));
                }
            }
        }
        let kept = std::fs::metadata(keep).map_or(0, |metadata| metadata.len());
        for path in too_much(entries, MAX_CACHE_BYTES.saturating_sub(kept)) {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The least recently used entries that must go so that the rest has at most `room_bytes`.
fn too_much(mut entries: Vec<(SystemTime, u64, PathBuf)>, room_bytes: u64) -> Vec<PathBuf> {
    entries.sort();
    let mut total: u64 = entries.iter().map(|(_, length, _)| length).sum();
    let mut gone = Vec::new();
    for (_, length, path) in entries {
        if total <= room_bytes {
            break;
        }
        total -= length;
        gone.push(path);
    }
    gone
}

/// Whether a path that was shared is not there any more, or the entry cannot be read.
fn is_orphan(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    match read(file) {
        Ok((_, paths)) => paths.iter().any(|path| {
            std::fs::symlink_metadata(path)
                .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        }),
        Err(_) => true,
    }
}

/// A new file in `folder`, without a name.
pub(crate) fn temporary(folder: &Path) -> io::Result<File> {
    let (path, file) = named_temporary(folder)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

fn named_temporary(folder: &Path) -> io::Result<(PathBuf, File)> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!(".{}-{number}.temporary", std::process::id()));
        let mut options = File::options();
        match options.read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            opened => return Ok((path, opened?)),
        }
    }
}

/// A hash of bytes that are in memory.
fn merkle_hash(bytes: &[u8]) -> Hash {
    let length = bytes.len() as u64;
    let mut builder = TreeBuilder::new(length);
    for chunk in bytes.chunks(CHUNK_BYTES) {
        builder.push(chunk_hash(length, chunk));
    }
    builder.finish()
}

fn header(fresh: &Fresh, base: &Base) -> Vec<u8> {
    let facts = &fresh.facts;
    let mut bytes = Vec::new();
    bytes.put(MAGIC);
    bytes.put_u8(facts.descriptor.kind as u8);
    bytes.put_u64(facts.descriptor.length_bytes);
    bytes.put(&facts.descriptor.root.0);
    let Skipped { links, special, mode_bits } = facts.skipped;
    for number in [facts.files, facts.bytes, links, special, mode_bits] {
        bytes.put_u64(number);
    }
    let Fresh { list, manifest, tree, root_tree, .. } = fresh;
    for section in [&list.names, &list.stats, manifest, tree, root_tree] {
        bytes.put_u64(section.length);
    }
    let paths = base.paths();
    bytes.put_u32(paths.len() as u32);
    for path in paths {
        let path = path.as_os_str().as_bytes();
        bytes.put_u32(path.len() as u32);
        bytes.put(path);
    }
    let mut framed = (bytes.len() as u64).to_be_bytes().to_vec();
    framed.append(&mut bytes);
    framed
}

/// Reads an entry's header; also the paths that it is of.
fn read(file: File) -> io::Result<(Stored, Vec<PathBuf>)> {
    let mut length = [0; 8];
    file.read_exact_at(&mut length, 0)?;
    let length = u64::from_be_bytes(length);
    if length > MAX_CACHE_HEADER_BYTES {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    let file = Arc::new(file);
    let whole = Section { file: file.clone(), start: 8, length };
    SectionReader::new(&whole).take(length).read_to_end(&mut bytes)?;
    let (facts, lengths, paths) = decode(&bytes).map_err(io::Error::other)?;
    check_length(facts.descriptor).map_err(io::Error::other)?;
    let mut start = 8 + length;
    let sections = lengths.map(|length| {
        let section = Section { file: file.clone(), start, length };
        start = start.saturating_add(length);
        section
    });
    if start != file.metadata()?.len() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok((Stored { facts, sections }, paths))
}

type Header = (Facts, [u64; 5], Vec<PathBuf>);

fn decode(bytes: &[u8]) -> Result<Header, DecodeError> {
    let mut reader = Reader::new(bytes);
    if reader.take(MAGIC.len())? != MAGIC {
        return Err(DecodeError("not_a_cache_entry"));
    }
    let descriptor = Descriptor {
        kind: Kind::try_from(reader.u8()?)?,
        length_bytes: reader.u64()?,
        root: Hash(reader.array()?),
    };
    let (files, total) = (reader.u64()?, reader.u64()?);
    let skipped =
        Skipped { links: reader.u64()?, special: reader.u64()?, mode_bits: reader.u64()? };
    let mut lengths = [0; 5];
    for length in &mut lengths {
        *length = reader.u64()?;
    }
    let mut paths = Vec::new();
    for _ in 0..reader.u32()? {
        let length = reader.u32()? as usize;
        paths.push(PathBuf::from(OsStr::from_bytes(reader.take(length)?)));
    }
    reader.finish()?;
    Ok((Facts { descriptor, files, bytes: total, skipped }, lengths, paths))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_least_recently_used_go_first() {
        let at = |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s);
        let entry = |time, length, name: &str| (at(time), length, PathBuf::from(name));
        let entries = vec![entry(3, 10, "c"), entry(1, 10, "a"), entry(2, 10, "b")];
        assert_eq!(too_much(entries.clone(), 30), Vec::<PathBuf>::new());
        assert_eq!(too_much(entries.clone(), 29), [PathBuf::from("a")]);
        assert_eq!(too_much(entries, 10), [PathBuf::from("a"), PathBuf::from("b")]);
    }

    #[test]
    fn broken_headers_are_refused() {
        assert!(decode(b"").is_err());
        assert!(decode(&[0; 200]).is_err());
        let mut bytes = MAGIC.to_vec();
        bytes.extend([0xFF; 300]);
        assert!(decode(&bytes).is_err());
    }
}
