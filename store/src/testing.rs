//! Helpers of the tests: files with bytes, and carrying chunks from a source to a target.

use std::path::{Path, PathBuf};

use bytes::BytesMut;
use towpath_core::download::ChunkSet;
use towpath_core::id::{ChunkRef, Hash, Kind, Space};
use towpath_core::node::StoreResult;
use towpath_core::session::ChunkFrame;
use towpath_core::wire::{RequestId, Unavailable};

use crate::{Error, Opened, Source, Target};

/// A folder for a test with many files: in memory where there is room, because some disks take
/// milliseconds to remove a file.
pub(crate) fn roomy_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map_or(0, |stat| stat.f_bavail * stat.f_frsize);
    if room > 1 << 30 { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Bytes that look random and depend on `seed` (xorshift).
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(crate) fn share(data: &Path, paths: &[&Path]) -> Result<Source, Error> {
    let paths: Vec<PathBuf> = paths.iter().map(|path| path.to_path_buf()).collect();
    Source::prepare(data, &paths, &mut |_| {})
}

pub(crate) fn open(out: &Path, source: &Source) -> Target {
    match Target::open(out, source.descriptor(), false, &mut |_| {}).unwrap() {
        Opened::Partial(target) => target,
        Opened::Whole(path) => panic!("{} is whole already", path.display()),
    }
}

pub(crate) fn chunk(space: Space, index: u64) -> ChunkRef {
    ChunkRef { space, index }
}

/// What a frame holds.
pub(crate) fn parts(mut frame: ChunkFrame) -> (Vec<Hash>, Vec<u8>) {
    let proof = frame.proof_mut().as_chunks().0.iter().copied().map(Hash).collect();
    let data = frame.body_mut().flat_map(|part| part.to_vec()).collect();
    (proof, data)
}

pub(crate) fn read(source: &Source, chunk: ChunkRef) -> Result<(Vec<Hash>, Vec<u8>), Unavailable> {
    source.read_chunk(RequestId(1), chunk, BytesMut::new()).map(parts)
}

pub(crate) fn read_back(
    target: &Target,
    chunk: ChunkRef,
) -> Result<(Vec<Hash>, Vec<u8>), Unavailable> {
    target.read_chunk(RequestId(1), chunk, BytesMut::new()).map(parts)
}

/// Carries one chunk.
pub(crate) fn carry(source: &Source, target: &Target, chunk: ChunkRef) -> StoreResult {
    let (proof, data) = read(source, chunk).unwrap();
    target.store_chunk(chunk, &proof, &data)
}

pub(crate) fn has(set: &ChunkSet, index: u64) -> bool {
    set.bits[(index / 8) as usize] & (0x80 >> (index % 8)) != 0
}

/// Begins a space and carries all that is missing of it; how many chunks that were.
pub(crate) fn carry_space(source: &Source, target: &Target, space: Space) -> u64 {
    let (shape, have) = target.begin(space, &mut |_| {}).unwrap();
    let mut carried = 0;
    for index in 0..shape.chunks {
        if !has(&have, index) {
            assert_eq!(carry(source, target, chunk(space, index)), StoreResult::Written);
            carried += 1;
        }
    }
    carried
}

/// Carries everything that is missing; how many chunks.
pub(crate) fn carry_all(source: &Source, target: &Target) -> u64 {
    let mut carried = carry_space(source, target, Space::Root);
    if source.descriptor().kind == Kind::Manifest {
        carried += carry_space(source, target, Space::Contents);
    }
    carried
}

/// As if the process had died: nothing is synced or closed in order.
pub(crate) fn kill(target: Target) {
    target.let_go_of_lock();
    std::mem::forget(target);
}

/// Path, kind, mode, time, bytes or target.
type Seen = (Vec<u8>, char, u32, (i64, i64), Vec<u8>);

/// `find -printf '%P %y %m %T@ %l\n'`, and the bytes of each file.
pub(crate) fn picture(root: &Path) -> Vec<Seen> {
    fn look(at: &Path, root: &Path, all: &mut Vec<Seen>) {
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::symlink_metadata(at).unwrap();
        let path = at.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let (kind, content) = if metadata.is_symlink() {
            ('l', std::fs::read_link(at).unwrap().as_os_str().as_bytes().to_vec())
        } else if metadata.is_dir() {
            ('d', Vec::new())
        } else {
            ('f', std::fs::read(at).unwrap())
        };
        let time = (metadata.mtime(), metadata.mtime_nsec());
        all.push((path, kind, metadata.mode() & 0o7777, time, content));
        if kind == 'd' {
            for entry in std::fs::read_dir(at).unwrap() {
                look(&entry.unwrap().path(), root, all);
            }
        }
    }
    let mut all = Vec::new();
    look(root, root, &mut all);
    all.sort();
    all
}

/// Names in a folder, hidden ones included.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
