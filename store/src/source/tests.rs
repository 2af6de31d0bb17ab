//! Tests of sources: what is carried, what is left out, what is remembered, what has changed.

use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::time::{Duration, SystemTime};

use towpath_core::manifest::What;

use super::*;
use crate::index::for_each_entry;
use crate::testing::{chunk, noise, read, share};

const CHUNK: usize = CHUNK_BYTES;

/// Paths of a manifest, with what they are: `d`, `f`, or `l` and the target.
fn entries(source: &Source) -> Vec<String> {
    let mut all = Vec::new();
    for_each_entry::<crate::index::ReadError>(source.stored.manifest(), |_, _, entry| {
        let path = String::from_utf8_lossy(&entry.path).into_owned();
        all.push(match entry.what {
            What::Folder => format!("d {path}"),
            What::File { .. } => format!("f {path}"),
            What::Link { target } => format!("l {path} {}", String::from_utf8_lossy(&target)),
        });
        Ok(())
    })
    .unwrap();
    all
}

fn write(path: PathBuf, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

// Spec K9, C22
#[test]
fn a_folder_is_listed_depth_first_and_what_cannot_be_carried_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (root, data) = (dir.path().join("root"), dir.path().join("data"));
    for name in ["a/x", "a.txt", "a/b/y", "é", "A"] {
        write(root.join(name), name.as_bytes());
    }
    std::fs::create_dir(root.join("empty")).unwrap();
    for (name, target) in [
        ("l-file", "a/x"),
        ("l-folder", "a/b/"),
        ("l-link", "l-file"),
        ("l-over", "l-folder/y"),
        ("a/l-up", "../a.txt"),
        ("l-self", "."),
        ("x-absolute", root.join("A").to_str().unwrap()),
        ("x-dangling", "nothing"),
        ("x-leaves", "../data"),
        ("x-leaves-and-returns", "../root/A"),
        ("x-circle-1", "x-circle-2"),
        ("x-circle-2", "x-circle-1"),
        ("x-to-skipped", "x-dangling"),
        ("x-through-file", "A/x"),
        ("x-to-pipe", "pipe"),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe"), mode).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let set = |name: &str, mode| {
        std::fs::set_permissions(root.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set("A", 0o4755);
    set("empty", 0o1777);
    let source = share(&data, &[&root]).unwrap();
    assert_eq!(
        entries(&source),
        [
            "d ",
            "f A",
            "d a",
            "d a/b",
            "f a/b/y",
            "l a/l-up ../a.txt",
            "f a/x",
            "f a.txt",
            "d empty",
            "l l-file a/x",
            "l l-folder a/b/",
            "l l-link l-file",
            "l l-over l-folder/y",
            "l l-self .",
            "f é",
        ]
    );
    assert_eq!(source.skipped(), Skipped { links: 9, special: 2, mode_bits: 2 });
    assert_eq!((source.name(), source.files()), ("root", 5));
    let bytes = "a/xa.txta/b/yéA".len() as u64;
    assert_eq!(source.contents(), Some(ContentsShape { chunks: 5, bytes }));
    assert_eq!(source.length_bytes(), bytes);
}

#[test]
fn several_paths_stand_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    for name in ["one/b/x", "one/a", "two/c", "two/a"] {
        write(dir.path().join(name), name.as_bytes());
    }
    symlink("../a", dir.path().join("one/b/beside")).unwrap();
    symlink("../c", dir.path().join("one/b/elsewhere")).unwrap();
    let at = |name: &str| dir.path().join(name);
    let source = share(&data, &[&at("two/c"), &at("one/b"), &at("one/a")]).unwrap();
    assert_eq!(entries(&source), ["f a", "d b", "l b/beside ../a", "f b/x", "f c"]);
    assert_eq!((source.name(), source.skipped().links), ("c and 2 more", 1));
    let texts: Vec<_> =
        (0..3).map(|n| read(&source, chunk(Space::Contents, n)).unwrap().1).collect();
    assert_eq!(texts, [&b"one/a"[..], b"one/b/x", b"two/c"]);
    // The order in which they are named does not matter.
    let again = share(&data, &[&at("one/a"), &at("two/c"), &at("one/b")]).unwrap();
    assert_eq!(again.descriptor(), source.descriptor());
    assert_eq!(again.hashed_bytes(), 0);

    let error = share(&data, &[&at("one/a"), &at("two/a")]).unwrap_err();
    assert!(error.message.contains("one/a") && error.message.contains("two/a"), "{error}");
    for (paths, kind) in [(vec![], "not_found"), (vec![at("no")], "not_found")] {
        let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
        assert_eq!(share(&data, &paths).unwrap_err().kind, kind);
    }
    assert!(share(&data, &[Path::new("/dev/null")]).unwrap_err().message.contains("neither"));
}

#[test]
fn our_own_data_folder_is_not_shared() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path().join("data/key"), b"secret");
    write(dir.path().join("file"), b"file");
    symlink("data/key", dir.path().join("link")).unwrap();
    let source = share(&dir.path().join("data"), &[dir.path()]).unwrap();
    assert_eq!(entries(&source), ["d ", "f file"]);
    assert_eq!(source.skipped(), Skipped { links: 1, special: 1, mode_bits: 0 });
}

#[test]
fn what_has_not_changed_is_not_hashed_again() {
    let dir = tempfile::tempdir().unwrap();
    let (root, data) = (dir.path().join("root"), dir.path().join("data"));
    for n in 0..200_u64 {
        let length = if n % 50 == 0 { 3 * CHUNK + 1 } else { 100 };
        write(root.join(format!("{}/{n:03}", n % 7)), &noise(n, length));
    }
    let first = share(&data, &[&root]).unwrap();
    assert_eq!(first.hashed_bytes(), first.length_bytes());
    let mut reports = Vec::new();
    let second =
        Source::prepare(&data, std::slice::from_ref(&root), &mut |p| reports.push(p)).unwrap();
    assert_eq!((second.hashed_bytes(), second.descriptor()), (0, first.descriptor()));
    assert_eq!(reports.last().unwrap().done_bytes, first.length_bytes());
    assert_eq!(reports[0], Prepared::default());

    // One changed, one new, one gone, one touched only in its mode: the rest is taken over.
    write(root.join("1/001"), &noise(1_000, 100));
    write(root.join("1/new"), &noise(1_001, 77));
    std::fs::remove_file(root.join("2/002")).unwrap();
    let third = share(&data, &[&root]).unwrap();
    assert_eq!(third.hashed_bytes(), 177);
    assert_ne!(third.descriptor(), first.descriptor());
    let elsewhere = share(&dir.path().join("other"), &[&root]).unwrap();
    assert_eq!(elsewhere.descriptor(), third.descriptor());
    let chunks = third.contents().unwrap().chunks;
    assert_eq!(elsewhere.contents().unwrap().chunks, chunks);
    for index in 0..chunks {
        let at = chunk(Space::Contents, index);
        assert_eq!(read(&third, at).unwrap(), read(&elsewhere, at).unwrap());
    }

    // The same size and time as before, but not the same file: its inode or its ctime tells.
    let victim = root.join("3/003");
    let time = std::fs::metadata(&victim).unwrap().modified().unwrap();
    write(victim.clone(), &noise(1_002, 100));
    let file = File::options().write(true).open(&victim).unwrap();
    file.set_modified(time).unwrap();
    let fourth = share(&data, &[&root]).unwrap();
    assert_eq!(fourth.hashed_bytes(), 100);
    assert_ne!(fourth.descriptor(), third.descriptor());
}

#[test]
fn a_file_is_remembered_and_a_broken_cache_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let (file, data) = (dir.path().join("file"), dir.path().join("data"));
    write(file.clone(), &noise(1, 5 * CHUNK));
    let first = share(&data, &[&file]).unwrap();
    assert_eq!(share(&data, &[&file]).unwrap().hashed_bytes(), 0);
    let cache = data.join("cache");
    let entry = std::fs::read_dir(&cache).unwrap().next().unwrap().unwrap().path();
    let bytes = std::fs::read(&entry).unwrap();
    for cut in [0, 5, 100, bytes.len() - 1] {
        std::fs::write(&entry, &bytes[..cut]).unwrap();
        let again = share(&data, &[&file]).unwrap();
        assert_eq!(again.hashed_bytes(), 5 * CHUNK as u64);
        assert_eq!(again.descriptor(), first.descriptor());
    }
    // After 8 bytes of length, 16 of magic and the kind: a length that no share may have.
    let mut long = bytes.clone();
    long[25] = 1;
    std::fs::write(&entry, &long).unwrap();
    assert_eq!(share(&data, &[&file]).unwrap().hashed_bytes(), 5 * CHUNK as u64);
    // Entries whose file is gone are dropped when another is made.
    std::fs::rename(&file, dir.path().join("moved")).unwrap();
    share(&data, &[&dir.path().join("moved")]).unwrap();
    assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 1);
    assert!(!entry.exists());
}

#[test]
fn a_share_that_is_too_long_is_refused_before_it_is_hashed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    for name in ["a", "b"] {
        // Each is what most file systems allow; the sum is more than a share may have. To hash the
        // holes would take hours.
        File::create(folder.join(name)).unwrap().set_len(9 << 40).unwrap();
    }
    let error = share(&dir.path().join("data"), &[&folder]).unwrap_err();
    assert_eq!(
        error.message,
        "19791209299968 bytes are more than the 17592186044416 that a share may have"
    );
}

#[test]
fn a_source_that_changed_is_not_served() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("changed", |path| std::fs::write(path, noise(9, 2 * CHUNK)).unwrap()),
        ("shrunk", |path| File::options().write(true).open(path).unwrap().set_len(5).unwrap()),
        ("removed", |path| std::fs::remove_file(path).unwrap()),
        ("replaced", |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
        }),
        ("a link now", |path| {
            std::fs::remove_file(path).unwrap();
            symlink("/etc/passwd", path).unwrap();
        }),
    ];
    for (name, change) in changes {
        for used_before in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("root");
            write(root.join("file"), &noise(1, 2 * CHUNK));
            write(root.join("other"), b"other");
            let source = share(&dir.path().join("data"), &[&root]).unwrap();
            if used_before {
                read(&source, chunk(Space::Contents, 0)).unwrap();
            }
            change(&root.join("file"));
            for index in 0..2 {
                let answer = read(&source, chunk(Space::Contents, index)).unwrap_err();
                let failed = name == "a link now" && answer == Unavailable::ReadFailed;
                assert!(answer == Unavailable::SourceChanged || failed, "{name}: {answer:?}");
            }
            // The others are still there.
            assert_eq!(read(&source, chunk(Space::Contents, 2)).unwrap().1, b"other");
            assert_eq!(read(&source, chunk(Space::Contents, 3)), Err(Unavailable::NotHad));
            assert_eq!(read(&source, chunk(Space::Root, 1)), Err(Unavailable::NotHad));
        }
    }
}

#[test]
fn a_large_file_is_hashed_by_several_threads_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    let length = 70 * CHUNK + 12_345;
    let bytes = noise(7, length);
    write(file.clone(), &bytes);
    let source = share(&dir.path().join("data"), &[&file]).unwrap();
    let Descriptor { root, length_bytes, .. } = source.descriptor();
    assert_eq!(length_bytes, length as u64);
    for index in 0..71 {
        let (proof, data) = read(&source, chunk(Space::Root, index)).unwrap();
        let good = towpath_core::merkle::verify_chunk(root, length_bytes, index, &proof, &data);
        assert!(good, "{index}");
    }
}

#[test]
fn holes_are_hashed_as_the_zeros_that_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (sparse, plain) = (dir.path().join("sparse"), dir.path().join("plain"));
    for length in [CHUNK, 7 * CHUNK, 40 * CHUNK + 3] {
        let mut bytes = vec![0; length];
        bytes[length / 2] = 1;
        std::fs::write(&plain, &bytes).unwrap();
        let file = File::create(&sparse).unwrap();
        file.set_len(length as u64).unwrap();
        file.write_all_at(&[1], length as u64 / 2).unwrap();
        let data = dir.path().join("data");
        let (a, b) = (share(&data, &[&sparse]).unwrap(), share(&data, &[&plain]).unwrap());
        assert_eq!(a.descriptor(), b.descriptor());
    }
}

#[test]
fn times_long_ago_and_far_ahead_are_no_trouble() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    write(root.join("old"), b"old");
    write(root.join("new"), b"new");
    let set = |name: &str, time| {
        let file = File::options().write(true).open(root.join(name)).unwrap();
        file.set_modified(time).unwrap();
    };
    set("old", SystemTime::UNIX_EPOCH - Duration::new(1_000, 5));
    set("new", SystemTime::now() + Duration::from_secs(1 << 30));
    let source = share(&dir.path().join("data"), &[&root]).unwrap();
    let out = dir.path().join("out");
    let target = crate::testing::open(&out, &source);
    crate::testing::carry_all(&source, &target);
    target.finish().unwrap();
    assert_eq!(crate::testing::picture(&root), crate::testing::picture(&out));
}
