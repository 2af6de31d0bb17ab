//! The store: a manifest becomes files, what an earlier run left is taken over, a cache is read.
//! Whatever is written there, nothing outside the target is touched, and nothing false is kept.

mod cache;
mod folder;
mod resume;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use towpath_core::download::ChunkSet;
use towpath_core::id::{Descriptor, Hash, Kind};
use towpath_core::limits::CHUNK_BYTES;
use towpath_core::merkle::{TreeBuilder, TreeLayout, chunk_hash};
use towpath_core::session::ChunkFrame;
use towpath_core::wire::RequestId;

pub(super) use cache::seeds as cache_seeds;
pub use cache::share_cache;
pub use folder::manifest_to_disk;
pub(super) use folder::seeds as folder_seeds;
pub(super) use resume::seeds as resume_seeds;
pub use resume::target_resume;

/// A folder of its own for one input, in memory where there is some.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let memory = PathBuf::from("/dev/shm");
        let above = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let folder = above.join(format!("towpath-fuzz-{}-{number}", std::process::id()));
        remove(&folder);
        std::fs::create_dir(&folder).expect("the scratch folder can be made");
        Self(folder)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// Removes a folder, whatever the modes in it are.
fn remove(folder: &Path) {
    if std::fs::remove_dir_all(folder).is_err() && folder.exists() {
        open_up(folder);
        let _ = std::fs::remove_dir_all(folder);
    }
}

fn open_up(folder: &Path) {
    let _ = std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Bytes, and the tree over them.
struct Blob {
    bytes: Vec<u8>,
    nodes: Vec<Hash>,
    root: Hash,
}

impl Blob {
    fn new(bytes: Vec<u8>) -> Self {
        let length = bytes.len() as u64;
        let mut builder = TreeBuilder::new(length);
        let mut nodes = vec![Hash([0; 32]); TreeLayout::new(length).nodes() as usize];
        for chunk in bytes.chunks(CHUNK_BYTES) {
            for (position, hash) in builder.push(chunk_hash(length, chunk)) {
                nodes[position as usize] = hash;
            }
        }
        Self { bytes, nodes, root: builder.finish() }
    }

    fn descriptor(&self, kind: Kind) -> Descriptor {
        Descriptor { kind, length_bytes: self.bytes.len() as u64, root: self.root }
    }

    fn chunk(&self, index: u64) -> (&[u8], Vec<Hash>) {
        let start = index as usize * CHUNK_BYTES;
        let end = (start + CHUNK_BYTES).min(self.bytes.len());
        let siblings = TreeLayout::new(self.bytes.len() as u64).proof(index);
        let proof = siblings.map(|at| at.map_or_else(|hash| hash, |at| self.nodes[at as usize]));
        (&self.bytes[start..end], proof.collect())
    }
}

/// Bytes of this length, always the same.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ at >> 8 ^ length) as u8).collect()
}

fn has(set: &ChunkSet, index: u64) -> bool {
    set.bits[(index / 8) as usize] & (0x80 >> (index % 8)) != 0
}

/// What a frame holds.
fn parts(mut frame: ChunkFrame) -> (Vec<Hash>, Vec<u8>) {
    assert_eq!(frame.request(), RequestId(1));
    let proof = frame.proof_mut().as_chunks().0.iter().copied().map(Hash).collect();
    let data = frame.body_mut().flat_map(|part| part.to_vec()).collect();
    (proof, data)
}

fn buffer() -> BytesMut {
    BytesMut::new()
}
