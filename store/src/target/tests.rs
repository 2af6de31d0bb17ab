//! Tests of targets; those of folders and of resuming stand beside.

use std::path::Path;

use towpath_core::id::{Hash, Kind};
use towpath_core::limits::{CHUNK_BYTES, MAX_FILE_BYTES, MAX_MANIFEST_BYTES};

use super::*;
use crate::testing::{
    carry, carry_all, carry_space, chunk, kill, names, noise, open, parts, read, read_back, share,
};

mod folder;
mod resume;

const CHUNK: usize = CHUNK_BYTES;

#[test]
fn files_of_every_shape_arrive() {
    let dir = tempfile::tempdir().unwrap();
    for length in [0, 1, 16_384, 16_385, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 9 * CHUNK + 7] {
        let from = dir.path().join(format!("from-{length}"));
        let out = dir.path().join(format!("out-{length}"));
        let bytes = noise(length as u64, length);
        std::fs::write(&from, &bytes).unwrap();
        let source = share(&dir.path().join("data"), &[&from]).unwrap();
        assert_eq!(source.descriptor().length_bytes, length as u64);
        assert_eq!((source.name(), source.files()), (&*format!("from-{length}"), 1));
        let target = open(&out, &source);
        let chunks = carry_all(&source, &target);
        assert_eq!(chunks, length.div_ceil(CHUNK) as u64);
        assert!(!out.exists());
        assert_eq!(target.finish().unwrap(), out.canonicalize().unwrap());
        assert_eq!(std::fs::read(&out).unwrap(), bytes);
        // Chunks are still served, and no second finish is needed.
        for index in 0..chunks {
            let chunk = chunk(Space::Root, index);
            assert_eq!(read_back(&target, chunk).unwrap(), read(&source, chunk).unwrap());
        }
        assert!(target.finish().is_ok());
        let whole = Target::open(&out, source.descriptor(), false, &mut |_| {}).unwrap();
        assert!(matches!(whole, Opened::Whole(path) if path == out.canonicalize().unwrap()));
    }
    assert!(names(dir.path()).iter().all(|name| !name.starts_with('.')));
}

// Spec C9, M17b
#[test]
fn chunks_come_in_any_order_and_false_ones_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (from, out) = (dir.path().join("from"), dir.path().join("out"));
    std::fs::write(&from, noise(1, 5 * CHUNK + 9)).unwrap();
    let source = share(&dir.path().join("data"), &[&from]).unwrap();
    let target = open(&out, &source);
    assert!(matches!(target.store_chunk(chunk(Space::Root, 0), &[], b"x"), StoreResult::Failed(_)));
    let (shape, have) = target.begin(Space::Root, &mut |_| {}).unwrap();
    assert_eq!((shape.chunks, shape.bytes), (6, 5 * CHUNK as u64 + 9));
    assert_eq!((have.len, have.bits), (6, vec![0]));
    for index in [4, 0, 5, 2, 1, 3] {
        let at = chunk(Space::Root, index);
        assert_eq!(read_back(&target, at), Err(Unavailable::NotHad));
        let (proof, data) = read(&source, at).unwrap();
        let mut bad = data.clone();
        bad[data.len() / 2] ^= 1;
        assert_eq!(target.store_chunk(at, &proof, &bad), StoreResult::False);
        assert_eq!(target.store_chunk(at, &proof[1..], &data), StoreResult::False);
        assert_eq!(target.store_chunk(at, &proof, &data[1..]), StoreResult::False);
        let other = chunk(Space::Root, (index + 1) % 6);
        assert_eq!(target.store_chunk(other, &proof, &data), StoreResult::False);
        assert!(target.finish().is_err());
        assert_eq!(target.store_chunk(at, &proof, &data), StoreResult::Written);
        assert_eq!(target.store_chunk(at, &proof, &data), StoreResult::Written);
        // What is had can be proven at once.
        assert_eq!(read_back(&target, at).unwrap(), (proof, data));
    }
    assert_eq!(target.store_chunk(chunk(Space::Root, 6), &[], b"x"), StoreResult::False);
    target.finish().unwrap();
    assert_eq!(std::fs::read(&from).unwrap(), std::fs::read(&out).unwrap());
}

#[test]
fn two_threads_store_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (from, out) = (dir.path().join("from"), dir.path().join("out"));
    std::fs::write(&from, noise(2, 40 * CHUNK)).unwrap();
    let source = share(&dir.path().join("data"), &[&from]).unwrap();
    let target = open(&out, &source);
    target.begin(Space::Root, &mut |_| {}).unwrap();
    // Both store everything, from both ends: half of it twice, some of it at the same moment.
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (source, target) = (&source, &target);
            scope.spawn(move || {
                for index in 0..40 {
                    let index = if thread == 0 { index } else { 39 - index };
                    assert_eq!(
                        carry(source, target, chunk(Space::Root, index)),
                        StoreResult::Written
                    );
                }
            });
        }
    });
    target.finish().unwrap();
    assert_eq!(std::fs::read(&from).unwrap(), std::fs::read(&out).unwrap());
}

#[test]
fn nothing_that_stands_there_is_overwritten_unless_forced() {
    let dir = tempfile::tempdir().unwrap();
    let (from, out) = (dir.path().join("from"), dir.path().join("out"));
    std::fs::write(&from, b"new").unwrap();
    let source = share(&dir.path().join("data"), &[&from]).unwrap();
    let refused = |out: &Path| {
        let error = Target::open(out, source.descriptor(), false, &mut |_| {}).unwrap_err();
        assert_eq!(error.kind, "exists", "{error}");
    };
    let force = || {
        let opened = Target::open(&out, source.descriptor(), true, &mut |_| {}).unwrap();
        let Opened::Partial(target) = opened else { panic!("it is not whole") };
        carry_all(&source, &target);
        target.finish().unwrap();
        assert_eq!(std::fs::read(&out).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["data", "from", "out"]);
        std::fs::remove_file(&out).unwrap();
    };
    std::fs::write(&out, b"old").unwrap();
    refused(&out);
    assert_eq!(std::fs::read(&out).unwrap(), b"old");
    force();
    std::os::unix::fs::symlink(&from, &out).unwrap();
    refused(&out);
    force();
    std::fs::create_dir_all(out.join("with/things")).unwrap();
    refused(&out);
    force();
    // What appears while it is fetched stays, and the download is kept.
    let target = open(&out, &source);
    carry_all(&source, &target);
    std::fs::write(&out, b"theirs").unwrap();
    assert_eq!(target.finish().unwrap_err().kind, "exists");
    drop(target);
    assert_eq!(std::fs::read(&out).unwrap(), b"theirs");
    std::fs::remove_file(&out).unwrap();
    let target = open(&out, &source);
    assert_eq!(carry_all(&source, &target), 0);
    target.finish().unwrap();
}

#[test]
fn errors_are_sentences() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    std::fs::write(&from, b"x").unwrap();
    let source = share(&dir.path().join("data"), &[&from]).unwrap();
    let fail =
        |out: &Path, descriptor| Target::open(out, descriptor, false, &mut |_| {}).unwrap_err();
    let missing = fail(&dir.path().join("no/such"), source.descriptor());
    assert_eq!(missing.kind, "not_found");
    assert!(missing.message.contains("/no"), "{missing}");
    assert_eq!(fail(Path::new("/"), source.descriptor()).kind, "not_found");
    assert_eq!(fail(&dir.path().join(".."), source.descriptor()).kind, "not_found");
    let not_a_folder = fail(&from.join("x"), source.descriptor());
    assert!(not_a_folder.message.contains("from"), "{not_a_folder}");

    let _first = open(&dir.path().join("out"), &source);
    let busy = fail(&dir.path().join("out"), source.descriptor());
    assert_eq!(busy.kind, "busy");

    for (kind, length_bytes) in
        [(Kind::File, MAX_FILE_BYTES + 1), (Kind::Manifest, MAX_MANIFEST_BYTES + 1)]
    {
        let descriptor = Descriptor { kind, length_bytes, root: Hash([1; 32]) };
        assert_eq!(fail(&dir.path().join("long"), descriptor).kind, "manifest");
    }
    let descriptor = Descriptor { kind: Kind::File, length_bytes: 1 << 44, root: Hash([1; 32]) };
    let opened = Target::open(&dir.path().join("big"), descriptor, false, &mut |_| {}).unwrap();
    let Opened::Partial(target) = opened else { panic!("nothing is there") };
    let full = target.begin(Space::Root, &mut |_| {}).unwrap_err();
    assert_eq!(full.kind, "disk_full");
    assert!(full.message.starts_with("disk full: need 17.6 TB in /"), "{full}");
    assert!(full.message.ends_with(" free"), "{full}");
    drop(target);
    assert_eq!(names(dir.path()).len(), 3, "{:?}", names(dir.path()));
}

#[test]
fn an_abandoned_download_without_a_chunk_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    std::fs::write(&from, noise(3, 3 * CHUNK)).unwrap();
    let source = share(&dir.path().join("data"), &[&from]).unwrap();
    let target = open(&dir.path().join("out"), &source);
    target.begin(Space::Root, &mut |_| {}).unwrap();
    assert_eq!(names(dir.path()).len(), 3);
    drop(target);
    assert_eq!(names(dir.path()), ["data", "from"]);
}

#[test]
fn long_names_have_a_hidden_folder_too() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("n".repeat(255));
    std::fs::write(&from, b"x").unwrap();
    let source = share(&dir.path().join("data"), &[&from]).unwrap();
    std::fs::create_dir(dir.path().join("to")).unwrap();
    let out = dir.path().join("to").join(source.name());
    let target = open(&out, &source);
    carry_all(&source, &target);
    target.finish().unwrap();
    assert_eq!(names(&dir.path().join("to")), [source.name()]);
}

#[test]
fn chunks_of_zeros_take_no_room() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().unwrap();
    let (from, out) = (dir.path().join("from"), dir.path().join("out"));
    let file = File::create(&from).unwrap();
    file.set_len(64 * CHUNK as u64 + 5).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"data", 20 * CHUNK as u64).unwrap();
    drop(file);
    let source = share(&dir.path().join("data"), &[&from]).unwrap();
    let target = open(&out, &source);
    carry_all(&source, &target);
    target.finish().unwrap();
    assert_eq!(std::fs::read(&from).unwrap(), std::fs::read(&out).unwrap());
    let blocks = std::fs::metadata(&out).unwrap().blocks();
    assert!(blocks * 512 <= 3 * CHUNK as u64, "{blocks}");
}

#[test]
fn a_frame_is_filled_as_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    let bytes = noise(4, 2 * CHUNK + 100);
    std::fs::write(&from, &bytes).unwrap();
    let source = share(&dir.path().join("data"), &[&from]).unwrap();
    // A buffer that was used before, for a longer chunk.
    let mut buffer = BytesMut::new();
    for index in [0_usize, 2, 1] {
        let frame = source.read_chunk(RequestId(9), chunk(Space::Root, index as u64), buffer);
        let (proof, data) = parts(frame.unwrap());
        let part = &bytes[index * CHUNK..bytes.len().min((index + 1) * CHUNK)];
        assert_eq!((data.as_slice(), proof.len()), (part, 2));
        buffer = BytesMut::from(&vec![0xAA; 300_000][..]);
    }
    let _ = (carry_space, kill);
}
