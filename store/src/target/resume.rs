//! Beginning a space: files and folders are made, and what an earlier run left is taken over.
//!
//! Chunks that the journal calls synced count. Chunks that were only written are hashed again
//! against the root; those that are good are synced, and a new, short journal says so.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::{Mode, OFlags};
use towpath_core::download::ChunkSet;
use towpath_core::id::{Kind, Space};
use towpath_core::limits::CHUNK_BYTES;
use towpath_core::manifest::What;
use towpath_core::merkle::chunk_count;
use towpath_core::node::ContentsShape;

use super::many::Many;
use super::part::{Body, Part};
use super::room::{self, Need};
use super::{Target, names};
use crate::bits::Bits;
use crate::error::Error;
use crate::index::{Index, ReadError, for_each_entry};
use crate::limits::PROGRESS_INTERVAL;
use crate::paths::{create_file, make_folder, open_folder, split_path};
use crate::source::Prepared;
use crate::tree::Section;

/// See [`Target::begin`].
pub(super) fn begin(
    target: &Target,
    space: Space,
    progress: &mut dyn FnMut(Prepared),
) -> Result<(ContentsShape, ChunkSet), Error> {
    let cell = match space {
        Space::Root => &target.root,
        Space::Contents => &target.contents,
    };
    if cell.get().is_none() {
        let (part, doubtful) = match space {
            Space::Root => begin_root(target)?,
            Space::Contents => begin_contents(target)?,
        };
        let recheck = check_again(target, space, &part, &doubtful, progress);
        recheck.map_err(|error| target.broken(error))?;
        // Two threads that begin the same space made the same part; the first one stays.
        let _ = cell.set(part);
    }
    let part = cell.get().expect("it was just set");
    let have = part.have();
    let shape = part.shape();
    Ok((shape, ChunkSet { bits: have.bytes().to_vec(), len: shape.chunks }))
}

/// The part, and the chunks that are only *written*.
fn begin_root(target: &Target) -> Result<(Part, Bits), Error> {
    let descriptor = target.descriptor;
    let length_bytes = descriptor.length_bytes;
    let (have, synced) = target.replay.sets(Space::Root, chunk_count(length_bytes));
    let there = (have.ones() * CHUNK_BYTES as u64).min(length_bytes);
    let need = Need { bytes: length_bytes - there, entries: 0 };
    room::check(&target.place.partial, &target.place.parent_path, need)?;
    let (name, mode) = match descriptor.kind {
        // Its mode is what the umask makes of any new file; a link to a file carries none.
        Kind::File => (names::DATA, 0o666),
        Kind::Manifest => (names::MANIFEST, 0o600),
    };
    let open = || -> io::Result<Part> {
        let file = open_or_create(&target.place.partial, name, mode)?;
        if file.metadata()?.len() != length_bytes {
            file.set_len(length_bytes)?;
        }
        let tree = open_or_create(&target.place.partial, names::TREE, 0o600)?;
        let body = Body::One { file: Arc::new(file), length_bytes, root: descriptor.root };
        Ok(Part::new(Space::Root, body, Arc::new(tree), target.fresh, have.clone()))
    };
    let part = open().map_err(|error| target.cannot("write to", &error))?;
    Ok((part, have.without(&synced)))
}

fn begin_contents(target: &Target) -> Result<(Part, Bits), Error> {
    let cannot = |error: io::Error| target.cannot("write to", &error);
    let manifest = target.root.get().filter(|root| root.is_complete()).and_then(Part::one);
    let Some(manifest) = manifest.filter(|_| target.descriptor.kind == Kind::Manifest) else {
        return Err(Error::new("manifest", "the folder's description is not there yet"));
    };
    let manifest = Section::whole(manifest.clone(), target.descriptor.length_bytes);
    let index = Index::build(manifest).map_err(|error| target.broken(error))?;
    let (have, synced) = target.replay.sets(Space::Contents, index.sums().chunks);
    check_room(target, &index, &have)?;
    make_folder(&target.place.partial, names::CONTENTS).map_err(cannot)?;
    let root = open_folder(&target.place.partial, names::CONTENTS).map_err(cannot)?;
    let many = Many::new(index, root, target.place.mode_mask);
    make_tree(&many).map_err(|error| target.broken(error))?;
    let tree =
        open_or_create(&target.place.partial, names::CONTENTS_TREE, 0o600).map_err(cannot)?;
    let doubtful = have.without(&synced);
    let part = Part::new(Space::Contents, Body::Many(many), Arc::new(tree), target.fresh, have);
    Ok((part, doubtful))
}

fn open_or_create(folder: &OwnedFd, name: &[u8], mode: u16) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, OsStr::from_bytes(name), flags, Mode::empty()) {
        Ok(file) => Ok(file.into()),
        Err(_) => create_file(folder, name, mode),
    }
}

fn check_room(target: &Target, index: &Index, have: &Bits) -> Result<(), Error> {
    let folder = &target.place.partial;
    let block = rustix::fs::fstatvfs(folder).map_or(1, |stat| stat.f_frsize);
    let mut need = Need::default();
    let sum = for_each_entry::<ReadError>(index.manifest(), |_, first_chunk, entry| {
        let What::File { length_bytes, .. } = entry.what else {
            need.entries += 1;
            return Ok(());
        };
        let chunks = first_chunk..first_chunk + chunk_count(length_bytes);
        let had = chunks.filter(|chunk| have.get(*chunk)).count() as u64;
        need.entries += u64::from(had == 0);
        let missing = length_bytes.saturating_sub(had * CHUNK_BYTES as u64);
        need.bytes += room::on_disk(missing, block);
        Ok(())
    });
    sum.map_err(|error| target.broken(error))?;
    if have.ones() > 0 {
        // Folders and links of the earlier run are there already.
        need.entries = 0;
    }
    room::check(folder, &target.place.parent_path, need)
}

/// Makes all folders, open to us until the end, and all empty files.
fn make_tree(many: &Many) -> Result<(), ReadError> {
    for_each_entry::<ReadError>(many.index.manifest(), |_, _, entry| match entry.what {
        What::Folder if !entry.path.is_empty() => {
            let (parent, name) = split_path(&entry.path);
            let parent = many.below.folder(parent).map_err(ReadError::Io)?;
            make_folder(parent, name).map_err(ReadError::Io)
        }
        What::File { length_bytes: 0, .. } => {
            many.make_empty(&entry.path, entry.mode, entry.mtime).map_err(ReadError::Io)
        }
        What::Folder | What::File { .. } | What::Link { .. } => Ok(()),
    })
}

/// Hashes again what was only written; forgets what is not good, and what is not there at all.
fn check_again(
    target: &Target,
    space: Space,
    part: &Part,
    doubtful: &Bits,
    progress: &mut dyn FnMut(Prepared),
) -> Result<(), ReadError> {
    let mut bad = lost_chunks(part)?;
    let mut buffer = Vec::new();
    let mut report = Prepared {
        files: part.files(),
        total_bytes: doubtful.ones() * CHUNK_BYTES as u64,
        done_bytes: 0,
    };
    let mut last_report = None;
    for index in doubtful.iter() {
        if part.check(index, &mut buffer).map_err(ReadError::Io)?.is_none() {
            bad.push(index);
        }
        report.done_bytes += CHUNK_BYTES as u64;
        if last_report.is_none_or(|at: Instant| at.elapsed() >= PROGRESS_INTERVAL) {
            last_report = Some(Instant::now());
            progress(report);
        }
    }
    let settle = || -> io::Result<()> {
        for index in &bad {
            part.forget(*index)?;
        }
        for index in doubtful.iter() {
            part.seal_again(index)?;
        }
        part.recall_nodes()?;
        if doubtful.ones() > 0 || !bad.is_empty() {
            rewrite_journal(target, space, part)?;
        }
        Ok(())
    };
    settle().map_err(ReadError::Io)
}

/// Chunks of files that are not there as they should be: somebody removed or changed them.
fn lost_chunks(part: &Part) -> Result<Vec<u64>, ReadError> {
    let mut lost = Vec::new();
    let have = part.have();
    let Some(many) = part.many().filter(|_| have.ones() > 0) else { return Ok(lost) };
    for_each_entry::<ReadError>(many.index.manifest(), |_, first_chunk, entry| {
        let What::File { length_bytes, .. } = entry.what else { return Ok(()) };
        let chunks = first_chunk..first_chunk + chunk_count(length_bytes);
        if chunks.clone().any(|chunk| have.get(chunk)) && !many.is_there(&entry.path, length_bytes)
        {
            lost.extend(chunks.filter(|chunk| have.get(*chunk)));
        }
        Ok(())
    })?;
    Ok(lost)
}

/// Syncs what is there and says so in a new, short journal.
fn rewrite_journal(target: &Target, space: Space, part: &Part) -> io::Result<()> {
    let mut sets = [Space::Root, Space::Contents].map(|of| match target.part(of) {
        Some(begun) => (begun.have(), begun.have()),
        None => target.replay.all(of),
    });
    sets[space as usize] = (part.have(), part.have());
    target.sync_data()?;
    part.sync()?;
    if space == Space::Contents {
        rustix::fs::syncfs(&target.place.partial)?;
    }
    let partial = target.place.partial_path();
    let (new, name) = (OsStr::from_bytes(names::JOURNAL_NEW), OsStr::from_bytes(names::JOURNAL));
    target.journal.rewrite(&partial.join(new), &partial.join(name), target.id(), sets)
}
