//! From paths to a share: walk, hash what is new, write the manifest and the tree.
//!
//! 1. Walk: every entry goes to a list on disk. If the cache has an equal list, its entry is the
//!    share.
//! 2. Else the list is read again, beside the old list and manifest of the cache: a file whose stat
//!    is the same keeps its root and nodes, the others are hashed, several at once, results in
//!    order.
//! 3. Manifest and nodes are written as the results come; last the manifest itself is hashed.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use towpath_core::codec::DecodeError;
use towpath_core::id::{Descriptor, Hash, Kind};
use towpath_core::limits::CHUNK_BYTES;
use towpath_core::manifest::{Encoder, Entry, What};
use towpath_core::merkle::{TreeBuilder, TreeLayout, chunk_count, chunk_hash};

use super::base::Base;
use super::cache::{Cache, Facts, Fresh, Stored, temporary};
use super::hash::{Piece, Pool, Shared};
use super::list::{Found, List, ListWriter, Listed};
use super::old::Old;
use super::walk::{Walk, Walked};
use super::{Prepared, Source};
use crate::error::Error;
use crate::index::{Index, ReadError};
use crate::limits::{
    HASH_JOB_BYTES, HASH_JOB_FILES, MAX_HASH_JOBS, MAX_WAITING_ENTRIES, TIMESTAMP_TICK,
    check_length,
};
use crate::tree::ProofReader;
use crate::tree::{NODE_BYTES, NodeWriter, Section};

/// See [`Source::prepare`].
pub(super) fn prepare(
    data_dir: &Path,
    paths: &[PathBuf],
    progress: &mut dyn FnMut(Prepared),
) -> Result<Source, Error> {
    let (base, name) = Base::find(paths)?;
    let cache = Cache::open(data_dir)?;
    let own = std::fs::metadata(data_dir).ok().map(|metadata| (metadata.dev(), metadata.ino()));
    let cannot = |error: io::Error| cache.cannot_write(&error);
    let list =
        ListWriter::new(cache.temporary().map_err(cannot)?, cache.temporary().map_err(cannot)?);
    let (list, walked) = Walk::new(&base, own, list, progress).run()?;
    // A single file has no manifest, whose rules would say so.
    let length_bytes = walked.seen.total_bytes;
    check_length(Descriptor { kind: Kind::File, length_bytes, root: Hash([0; 32]) })?;
    let list = list.finish().map_err(cannot)?;
    let same = |old: &Stored| {
        old.facts.skipped == walked.skipped && old.list().same(&list).unwrap_or(false)
    };
    let old = match cache.find(&base) {
        Some(old) if same(&old) => {
            cache.touch(&base);
            progress(Prepared { done_bytes: walked.seen.total_bytes, ..walked.seen });
            return source(name, base, old, 0);
        }
        old => old,
    };
    let spool = || cache.temporary();
    let assembly = Assembly::new(&base, list, walked, old.as_ref(), &spool).map_err(cannot)?;
    let fresh = assembly.run(progress)?;
    let hashed_bytes = fresh.hashed_bytes;
    drop(old);
    let stored = cache.insert(&base, &fresh).map_err(cannot)?;
    source(name, base, stored, hashed_bytes)
}

fn source(name: String, base: Base, stored: Stored, hashed_bytes: u64) -> Result<Source, Error> {
    let index = match stored.facts.descriptor.kind {
        Kind::File => None,
        Kind::Manifest => Some(check_manifest(stored.manifest(), &base)?),
    };
    Ok(Source {
        name,
        base,
        stored,
        hashed_bytes,
        index,
        open: Mutex::default(),
        proofs: ProofReader::default(),
    })
}

/// Reads our own manifest as a receiver would.
fn check_manifest(manifest: &Section, base: &Base) -> Result<Index, Error> {
    let at = base.on_disk(b"");
    Index::build(manifest.clone()).map_err(|error| match error {
        ReadError::Io(error) => Error::io("read the cache of", &at, &error),
        // What a link leads to went away after the link was looked at.
        ReadError::Rule(DecodeError("link_target_missing")) => Error::changed(&at),
        ReadError::Rule(rule) => {
            Error::new("manifest", format!("{} cannot be shared: {rule}", at.display()))
        }
    })
}

/// Whether what stands at `path` is exactly this content. What cannot be read is not.
pub(crate) fn is_whole(
    path: &Path,
    parent: &Path,
    descriptor: Descriptor,
    progress: &mut dyn FnMut(Prepared),
) -> Result<bool, Error> {
    let spool = || temporary(&std::env::temp_dir()).or_else(|_| temporary(parent));
    let cannot = |error: io::Error| Error::io("check", path, &error);
    let Ok((base, _)) = Base::find(&[path.to_path_buf()]) else { return Ok(false) };
    if descriptor.kind == Kind::File
        && path.metadata().map_err(cannot)?.len() != descriptor.length_bytes
    {
        return Ok(false);
    }
    let list = ListWriter::new(spool().map_err(cannot)?, spool().map_err(cannot)?);
    let Ok((list, walked)) = Walk::new(&base, None, list, progress).run() else {
        return Ok(false);
    };
    let list = list.finish().map_err(cannot)?;
    if descriptor.kind == Kind::Manifest
        && manifest_length(&list).map_err(cannot)? != Some(descriptor.length_bytes)
    {
        return Ok(false);
    }
    let assembly = Assembly::new(&base, list, walked, None, &spool).map_err(cannot)?;
    Ok(assembly.run(progress).is_ok_and(|fresh| fresh.facts.descriptor == descriptor))
}

/// How long the manifest of a list will be, before anything is hashed; `None` if there is none.
fn manifest_length(list: &List) -> io::Result<Option<u64>> {
    let mut encoder = Encoder::new();
    let mut length = encoder.header().len() as u64;
    let mut reader = list.read();
    let mut bytes = Vec::new();
    while let Some(listed) = reader.next()? {
        bytes.clear();
        if encoder.entry(&entry(&listed, Hash([0; 32])), &mut bytes).is_err() {
            return Ok(None);
        }
        length += bytes.len() as u64;
    }
    Ok(Some(length))
}

fn entry(listed: &Listed, root: Hash) -> Entry {
    let what = match &listed.found {
        Found::Folder => What::Folder,
        Found::File => What::File { length_bytes: listed.stat.size, root },
        Found::Link(target) => What::Link { target: target.clone() },
    };
    Entry { path: listed.path.clone(), mode: listed.mode, mtime: listed.stat.mtime, what }
}

/// Waits until no file's last change is so young that another change could carry the same time:
/// what is read from then on, and is found with the same time afterwards, is what was listed.
fn let_it_settle(newest_change: (i64, u32)) {
    let newest = Duration::new(newest_change.0.try_into().unwrap_or(0), newest_change.1);
    let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else { return };
    if let Some(age) = now.checked_sub(newest)
        && age < TIMESTAMP_TICK
    {
        std::thread::sleep(TIMESTAMP_TICK - age);
    }
}

/// An entry on its way into the manifest.
enum Waiting {
    /// Its root is known; of a file of the cache also its nodes' place there.
    Known { listed: Listed, root: Hash, old_node: Option<u64> },
    /// So many pieces of it are still to be hashed.
    Hashing { listed: Listed, pieces: u64, tree: TreeBuilder },
}

/// The making of a manifest and its tree.
struct Assembly<'a> {
    base: &'a Base,
    list: List,
    walked: Walked,
    old: Option<Old>,
    waiting: VecDeque<Waiting>,
    /// Hashes of pieces that came and have not been used.
    hashed: VecDeque<Vec<Hash>>,
    /// Pieces for the next job, and their bytes.
    batch: Vec<Piece>,
    batch_bytes: u64,
    known_bytes: u64,
    encoder: Encoder,
    manifest: BufWriter<File>,
    manifest_length: u64,
    nodes: NodeWriter,
    first_node: u64,
    root_nodes: NodeWriter,
    /// Of a share of one file.
    root: Hash,
}

impl<'a> Assembly<'a> {
    fn new(
        base: &'a Base,
        list: List,
        walked: Walked,
        old: Option<&Stored>,
        spool: &dyn Fn() -> io::Result<File>,
    ) -> io::Result<Self> {
        let encoder = Encoder::new();
        let mut manifest = BufWriter::new(spool()?);
        let mut manifest_length = 0;
        if !matches!(base, Base::File(_)) {
            let header = encoder.header();
            manifest.write_all(&header)?;
            manifest_length = header.len() as u64;
        }
        Ok(Self {
            base,
            list,
            walked,
            old: old.and_then(Old::new),
            waiting: VecDeque::new(),
            hashed: VecDeque::new(),
            batch: Vec::new(),
            batch_bytes: 0,
            known_bytes: 0,
            encoder,
            manifest,
            manifest_length,
            nodes: NodeWriter::new(spool()?),
            first_node: 0,
            root_nodes: NodeWriter::new(spool()?),
            root: Hash([0; 32]),
        })
    }

    fn cannot(&self, error: &io::Error) -> Error {
        Error::io("write the cache of", &self.base.on_disk(b""), error)
    }

    fn run(mut self, progress: &mut dyn FnMut(Prepared)) -> Result<Fresh, Error> {
        let_it_settle(self.walked.newest_change);
        let shared = Shared::default();
        let base = self.base;
        std::thread::scope(|scope| {
            let mut pool = Pool::start(scope, base, &shared);
            let mut reader = self.list.read();
            while let Some(listed) = reader.next().map_err(|error| self.cannot(&error))? {
                self.take(listed, &mut pool, &shared, progress)?;
            }
            self.submit(&mut pool);
            while !self.waiting.is_empty() {
                self.drain(&mut pool, &shared, progress)?;
            }
            Ok(())
        })?;
        let fresh = self.finish()?;
        progress(Prepared { done_bytes: fresh.facts.bytes, ..self_seen(&fresh) });
        Ok(fresh)
    }

    /// Takes the next entry of the list: known, or to be hashed.
    fn take(
        &mut self,
        listed: Listed,
        pool: &mut Pool<'_>,
        shared: &Shared,
        progress: &mut dyn FnMut(Prepared),
    ) -> Result<(), Error> {
        let size = listed.stat.size;
        if listed.found != Found::File || size == 0 {
            self.waiting.push_back(Waiting::Known { listed, root: Hash([0; 32]), old_node: None });
        } else if let Some((root, node)) = self.find_old(&listed)? {
            self.known_bytes += size;
            self.waiting.push_back(Waiting::Known { listed, root, old_node: Some(node) });
        } else {
            let (chunks, each) = (chunk_count(size), HASH_JOB_BYTES / CHUNK_BYTES as u64);
            let pieces = chunks.div_ceil(each);
            let (path, stat) = (listed.path.clone(), listed.stat);
            let tree = TreeBuilder::new(size);
            self.waiting.push_back(Waiting::Hashing { listed, pieces, tree });
            for piece in 0..pieces {
                let first = piece * each;
                let count = each.min(chunks - first);
                self.batch.push(Piece { path: path.clone(), stat, first, count });
                self.batch_bytes += count * CHUNK_BYTES as u64;
                if self.batch_bytes >= HASH_JOB_BYTES || self.batch.len() >= HASH_JOB_FILES {
                    self.submit(pool);
                }
                while pool.under_way() >= MAX_HASH_JOBS as u64 {
                    self.drain(pool, shared, progress)?;
                }
            }
        }
        self.emit()?;
        if self.waiting.len() > MAX_WAITING_ENTRIES {
            self.submit(pool);
        }
        while self.waiting.len() > MAX_WAITING_ENTRIES * MAX_HASH_JOBS {
            self.drain(pool, shared, progress)?;
        }
        Ok(())
    }

    fn submit(&mut self, pool: &mut Pool<'_>) {
        if !self.batch.is_empty() {
            pool.submit(std::mem::take(&mut self.batch));
            self.batch_bytes = 0;
        }
    }

    /// Waits for the next job, and writes what is complete.
    fn drain(
        &mut self,
        pool: &mut Pool<'_>,
        shared: &Shared,
        progress: &mut dyn FnMut(Prepared),
    ) -> Result<(), Error> {
        let (seen, known) = (self.walked.seen, self.known_bytes);
        let hashed = pool.next(|| {
            let done = known + shared.bytes.load(Ordering::Relaxed);
            progress(Prepared { done_bytes: done.min(seen.total_bytes), ..seen });
        })?;
        self.hashed.extend(hashed);
        self.emit()
    }

    /// Writes the entries at the front whose roots are known.
    fn emit(&mut self) -> Result<(), Error> {
        while let Some(mut front) = self.waiting.pop_front() {
            if let Waiting::Hashing { pieces, tree, .. } = &mut front {
                while *pieces > 0
                    && let Some(hashes) = self.hashed.pop_front()
                {
                    *pieces -= 1;
                    for hash in hashes {
                        for (position, node) in tree.push(hash) {
                            self.nodes
                                .put(self.first_node + position, node)
                                .map_err(|error| self.cannot(&error))?;
                        }
                    }
                }
                if *pieces > 0 {
                    self.waiting.push_front(front);
                    return Ok(());
                }
            }
            match front {
                Waiting::Known { listed, root, old_node } => self.write(&listed, root, old_node)?,
                Waiting::Hashing { listed, tree, .. } => {
                    self.write(&listed, tree.finish(), None)?
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, listed: &Listed, root: Hash, old_node: Option<u64>) -> Result<(), Error> {
        let mut put = || -> io::Result<()> {
            let nodes = TreeLayout::new(listed.stat.size).nodes();
            if let (Some(old), Some(old_node)) = (&self.old, old_node) {
                old.copy_nodes(old_node, nodes, self.first_node, &mut self.nodes)?;
            }
            if listed.found == Found::File {
                self.first_node += nodes;
                self.nodes.flush()?;
            }
            Ok(())
        };
        put().map_err(|error| self.cannot(&error))?;
        if let Base::File(_) = self.base {
            self.root = root;
            return Ok(());
        }
        let mut bytes = Vec::new();
        self.encoder.entry(&entry(listed, root), &mut bytes).map_err(|rule| {
            let at = self.base.on_disk(&listed.path);
            Error::new("manifest", format!("{} cannot be shared: {rule}", at.display()))
        })?;
        self.manifest_length += bytes.len() as u64;
        self.manifest.write_all(&bytes).map_err(|error| self.cannot(&error))
    }

    fn find_old(&mut self, listed: &Listed) -> Result<Option<(Hash, u64)>, Error> {
        let Some(old) = &mut self.old else { return Ok(None) };
        match old.find(listed) {
            Ok(found) => Ok(found),
            // A cache that cannot be read is no cache.
            Err(_) => {
                old.give_up();
                Ok(None)
            }
        }
    }

    /// Hashes the manifest.
    fn finish(mut self) -> Result<Fresh, Error> {
        let at = self.base.on_disk(b"");
        let cannot = |error: io::Error| Error::io("write the cache of", &at, &error);
        let into_inner = self.manifest.into_inner().map_err(io::IntoInnerError::into_error);
        let manifest = Arc::new(into_inner.map_err(cannot)?);
        let manifest = Section::whole(manifest, self.manifest_length);
        let seen = self.walked.seen;
        let (descriptor, root_nodes) = if let Base::File(_) = self.base {
            (Descriptor { kind: Kind::File, length_bytes: seen.total_bytes, root: self.root }, 0)
        } else {
            let length_bytes = manifest.length;
            let root = hash_section(&manifest, &mut self.root_nodes).map_err(cannot)?;
            let nodes = TreeLayout::new(length_bytes).nodes();
            (Descriptor { kind: Kind::Manifest, length_bytes, root }, nodes)
        };
        let tree = Arc::new(self.nodes.into_file().map_err(cannot)?);
        let root_tree = Arc::new(self.root_nodes.into_file().map_err(cannot)?);
        Ok(Fresh {
            facts: Facts {
                descriptor,
                files: seen.files,
                bytes: seen.total_bytes,
                skipped: self.walked.skipped,
            },
            list: self.list,
            manifest,
            hashed_bytes: seen.total_bytes - self.known_bytes,
            tree: Section::whole(tree, self.first_node * NODE_BYTES),
            root_tree: Section::whole(root_tree, root_nodes * NODE_BYTES),
        })
    }
}

fn self_seen(fresh: &Fresh) -> Prepared {
    Prepared { files: fresh.facts.files, total_bytes: fresh.facts.bytes, done_bytes: 0 }
}

fn hash_section(section: &Section, nodes: &mut NodeWriter) -> io::Result<Hash> {
    let mut tree = TreeBuilder::new(section.length);
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < section.length {
        let size = (section.length - at).min(CHUNK_BYTES as u64) as usize;
        section.read_exact_at(&mut buffer[..size], at)?;
        for (position, node) in tree.push(chunk_hash(section.length, &buffer[..size])) {
            nodes.put(position, node)?;
        }
        at += size as u64;
    }
    Ok(tree.finish())
}
