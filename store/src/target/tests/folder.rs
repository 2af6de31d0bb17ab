//! Folders: whole trees, hostile manifests, and hands in the way.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use towpath_core::manifest::{Encoder, Entry, What};
use towpath_core::merkle::{chunk_hash, chunk_length};

use super::*;
use crate::testing::{has, picture, roomy_folder};

fn write(path: PathBuf, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn hidden(dir: &Path) -> PathBuf {
    let name = names(dir).into_iter().find(|name| name.ends_with(".towpath"));
    dir.join(name.expect("there is a hidden folder"))
}

/// A folder with everything that a manifest can carry.
fn rich_folder(root: &Path) {
    write(root.join("a/b/small"), b"small");
    write(root.join("a/large"), &noise(1, 5 * CHUNK + 3));
    write(root.join("a/empty"), b"");
    write(root.join("a.txt"), &noise(2, CHUNK));
    write(root.join("odd \n\"name"), b"odd");
    use std::os::unix::ffi::OsStrExt;
    write(root.join(OsStr::from_bytes(b"\xFF\xFE")), b"not UTF-8");
    std::fs::create_dir_all(root.join("empty/inner")).unwrap();
    symlink("a/b", root.join("link")).unwrap();
    symlink("../a.txt", root.join("a/up")).unwrap();
    symlink("link/small", root.join("over")).unwrap();
    for (name, mode) in
        [("a/b/small", 0o444), ("a/large", 0o750), ("a/empty", 0o600), ("a.txt", 0o400)]
    {
        set_mode(&root.join(name), mode);
    }
    for (name, mode) in [("a/b", 0o555), ("empty/inner", 0o711), ("a", 0o777), ("", 0o750)] {
        set_mode(&root.join(name), mode);
    }
}

// Spec C26
#[test]
fn a_folder_arrives_with_modes_times_and_links() {
    let dir = tempfile::tempdir().unwrap();
    let (root, out) = (dir.path().join("root"), dir.path().join("out"));
    rich_folder(&root);
    let source = share(&dir.path().join("data"), &[&root]).unwrap();
    let target = open(&out, &source);
    carry_all(&source, &target);
    assert_eq!(target.files(), 6);
    assert!(!out.exists());
    target.finish().unwrap();
    assert_eq!(picture(&root), picture(&out));
    assert_eq!(names(dir.path()), ["data", "out", "root"]);
    let shape = source.contents().unwrap();
    for index in 0..shape.chunks {
        let at = chunk(Space::Contents, index);
        assert_eq!(read_back(&target, at).unwrap(), read(&source, at).unwrap());
    }
    let whole = Target::open(&out, source.descriptor(), false, &mut |_| {}).unwrap();
    assert!(matches!(whole, Opened::Whole(_)));
    // One bit of time or mode more or less, and it is something else.
    set_mode(&out.join("a"), 0o776);
    let error = Target::open(&out, source.descriptor(), false, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind, "exists");
    // With force the old folder gives way at the end.
    let opened = Target::open(&out, source.descriptor(), true, &mut |_| {}).unwrap();
    let Opened::Partial(target) = opened else { panic!("it is not the same") };
    carry_all(&source, &target);
    assert_eq!(std::fs::metadata(out.join("a")).unwrap().mode() & 0o777, 0o776);
    target.finish().unwrap();
    assert_eq!(picture(&root), picture(&out));
    assert_eq!(names(dir.path()), ["data", "out", "root"]);
}

#[test]
fn an_empty_folder_and_several_paths_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(dir.path().join("void")).unwrap();
    let source = share(&data, &[&dir.path().join("void")]).unwrap();
    let target = open(&dir.path().join("out"), &source);
    assert_eq!(carry_space(&source, &target, Space::Root), 1);
    assert_eq!(carry_space(&source, &target, Space::Contents), 0);
    target.finish().unwrap();
    assert_eq!(picture(&dir.path().join("void")), picture(&dir.path().join("out")));

    write(dir.path().join("one"), b"one");
    write(dir.path().join("d/two"), b"two");
    let source = share(&data, &[&dir.path().join("d"), &dir.path().join("one")]).unwrap();
    let target = open(&dir.path().join("both"), &source);
    carry_all(&source, &target);
    target.finish().unwrap();
    let both = dir.path().join("both");
    assert_eq!(names(&both), ["d", "one"]);
    assert_eq!(picture(&dir.path().join("d")), picture(&both.join("d")));
    // As any new folder.
    std::fs::create_dir(dir.path().join("new")).unwrap();
    let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().mode();
    assert_eq!(mode("both"), mode("new"));
}

#[test]
fn a_folder_goes_on_after_any_end() {
    let dir = tempfile::tempdir().unwrap();
    let (root, out) = (dir.path().join("root"), dir.path().join("out"));
    rich_folder(&root);
    let source = share(&dir.path().join("data"), &[&root]).unwrap();
    let chunks = source.contents().unwrap().chunks;
    for round in 0..chunks {
        let target = open(&out, &source);
        carry_space(&source, &target, Space::Root);
        let (_, have) = target.begin(Space::Contents, &mut |_| {}).unwrap();
        let missing: Vec<u64> = (0..chunks).filter(|i| !has(&have, *i)).collect();
        assert_eq!(missing.len() as u64, chunks - round);
        let at = chunk(Space::Contents, missing[(round as usize * 5) % missing.len()]);
        assert_eq!(carry(&source, &target, at), StoreResult::Written);
        if round % 2 == 0 { kill(target) } else { drop(target) }
    }
    let target = open(&out, &source);
    assert_eq!(carry_all(&source, &target), 0);
    target.finish().unwrap();
    assert_eq!(picture(&root), picture(&out));
}

#[test]
fn what_somebody_broke_meanwhile_is_fetched_again() {
    let dir = tempfile::tempdir().unwrap();
    let (root, out) = (dir.path().join("root"), dir.path().join("out"));
    rich_folder(&root);
    let source = share(&dir.path().join("data"), &[&root]).unwrap();
    let target = open(&out, &source);
    carry_all(&source, &target);
    drop(target);
    let contents = hidden(dir.path()).join("contents");
    std::fs::remove_file(contents.join("a/b/small")).unwrap();
    std::fs::remove_file(contents.join("a.txt")).unwrap();
    symlink("/etc/passwd", contents.join("a.txt")).unwrap();
    std::fs::hard_link(contents.join("a/large"), dir.path().join("copy")).unwrap();
    let target = open(&out, &source);
    // Both small ones, and the six chunks of the one that has two names now.
    assert_eq!(carry_all(&source, &target), 8);
    target.finish().unwrap();
    assert_eq!(picture(&root), picture(&out));

    // After a kill bytes that are not what they were are seen, too.
    let out = dir.path().join("again");
    let target = open(&out, &source);
    carry_all(&source, &target);
    kill(target);
    let contents = hidden(dir.path()).join("contents");
    std::fs::write(contents.join("odd \n\"name"), b"ODD").unwrap();
    let large = File::options().write(true).open(contents.join("a/large")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&large, b"X", 3 * CHUNK as u64).unwrap();
    drop(large);
    let target = open(&out, &source);
    assert_eq!(carry_all(&source, &target), 2);
    target.finish().unwrap();
    assert_eq!(picture(&root), picture(&out));
}

#[test]
fn a_death_between_the_links_and_the_rename_is_mended() {
    let dir = tempfile::tempdir().unwrap();
    let (root, out) = (dir.path().join("root"), dir.path().join("out"));
    rich_folder(&root);
    let source = share(&dir.path().join("data"), &[&root]).unwrap();
    let target = open(&out, &source);
    carry_all(&source, &target);
    // The rename fails, when all folders have their final modes and all links are there.
    std::fs::create_dir(&out).unwrap();
    assert_eq!(target.finish().unwrap_err().kind, "exists");
    kill(target);
    std::fs::remove_dir(&out).unwrap();
    let target = open(&out, &source);
    assert_eq!(carry_all(&source, &target), 0);
    target.finish().unwrap();
    assert_eq!(picture(&root), picture(&out));
}

// Spec C26
#[test]
fn a_link_planted_on_the_way_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (root, out) = (dir.path().join("root"), dir.path().join("out"));
    let outside = dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    write(outside.join("kept"), b"kept");
    for n in 0..4 {
        write(root.join(format!("d{n}/small")), b"small");
        write(root.join(format!("d{n}/large")), &noise(n, 2 * CHUNK));
    }
    let source = share(&dir.path().join("data"), &[&root]).unwrap();
    let target = open(&out, &source);
    carry_space(&source, &target, Space::Root);
    target.begin(Space::Contents, &mut |_| {}).unwrap();
    let contents = hidden(dir.path()).join("contents");
    // In place of a folder that is to be opened.
    std::fs::remove_dir(contents.join("d0")).unwrap();
    symlink(&outside, contents.join("d0")).unwrap();
    // In place of files that are to be made.
    symlink(outside.join("kept"), contents.join("d1/small")).unwrap();
    symlink(outside.join("kept"), contents.join("d1/large")).unwrap();
    // In place of a folder that is open already.
    let first_of = |n: u64| 3 * n;
    assert_eq!(carry(&source, &target, chunk(Space::Contents, first_of(2))), StoreResult::Written);
    std::fs::rename(contents.join("d2"), contents.join("moved")).unwrap();
    symlink(&outside, contents.join("d2")).unwrap();
    let mut failed = 0;
    for index in 0..source.contents().unwrap().chunks {
        match carry(&source, &target, chunk(Space::Contents, index)) {
            StoreResult::Written => {}
            StoreResult::Failed(sentence) => {
                assert!(sentence.starts_with("cannot write to"), "{sentence}");
                failed += 1;
            }
            StoreResult::False => panic!("chunk {index} is good"),
        }
    }
    assert_eq!(failed, 3);
    assert_eq!(names(&outside), ["kept"]);
    assert_eq!(std::fs::read(outside.join("kept")).unwrap(), b"kept");
    drop(target);
    // The next run puts folders where links were, and fetches what is not there.
    let target = open(&out, &source);
    assert_eq!(carry_all(&source, &target), 6);
    std::fs::remove_dir_all(contents.join("moved")).unwrap();
    target.finish().unwrap();
    assert_eq!(picture(&root).len(), picture(&out).len());
    assert_eq!(names(&outside), ["kept"]);
}

/// Begins a download of these manifest bytes.
fn begin_manifest(dir: &Path, bytes: &[u8]) -> Result<(Target, ContentsShape), Error> {
    let length_bytes = bytes.len() as u64;
    let root = chunk_hash(length_bytes, bytes);
    let descriptor = Descriptor { kind: Kind::Manifest, length_bytes, root };
    let opened = Target::open(&dir.join("out"), descriptor, false, &mut |_| {})?;
    let Opened::Partial(target) = opened else { panic!("nothing is there") };
    let error = target.begin(Space::Contents, &mut |_| {}).unwrap_err();
    assert_eq!(error.kind, "manifest", "not there yet");
    target.begin(Space::Root, &mut |_| {})?;
    assert_eq!(bytes.len(), chunk_length(length_bytes, 0), "one chunk is enough for a test");
    let stored = target.store_chunk(chunk(Space::Root, 0), &[], bytes);
    assert_eq!(stored, StoreResult::Written);
    let (shape, _) = target.begin(Space::Contents, &mut |_| {})?;
    Ok((target, shape))
}

fn raw(kind: u8, path: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(0o644_u16.to_be_bytes());
    bytes.extend([0; 12]);
    bytes.extend((path.len() as u16).to_be_bytes());
    bytes.extend(path);
    bytes.extend(rest);
    bytes
}

fn raw_link(path: &[u8], target: &[u8]) -> Vec<u8> {
    raw(2, path, &[&(target.len() as u16).to_be_bytes(), target].concat())
}

// Spec C26, C25c
#[test]
fn hostile_manifests_write_nothing_outside() {
    let file = [0; 40];
    let long = [b'n'; 300];
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("absolute", vec![raw(1, b"/tmp/evil", &file)]),
        ("dot dot", vec![raw(1, b"../evil", &file)]),
        ("dot dot inside", vec![raw(0, b"a", &[]), raw(1, b"a/../../evil", &file)]),
        ("NUL", vec![raw(1, b"a\0b", &file)]),
        ("empty name", vec![raw(1, b"a//b", &file)]),
        ("long name", vec![raw(1, &long, &file)]),
        ("link as parent", vec![raw_link(b"a", b"/tmp"), raw(1, b"a/evil", &file)]),
        ("link out", vec![raw_link(b"a", b"../..")]),
        ("absolute link", vec![raw_link(b"a", b"/etc/passwd")]),
        ("dangling link", vec![raw_link(b"a", b"nothing")]),
        (
            "link out over a link",
            vec![raw(0, b"a", &[]), raw_link(b"a/up", b".."), raw_link(b"out", b"a/up/..")],
        ),
        ("link to nothing over a link", vec![raw_link(b"a", b"."), raw_link(b"b", b"a/x")]),
        ("duplicate", vec![raw(1, b"a", &file), raw(1, b"a", &file)]),
        ("duplicate of other kind", vec![raw(0, b"a", &[]), raw_link(b"a", b".")]),
        ("missing parent", vec![raw(1, b"a/b", &file)]),
        ("wrong order", vec![raw(1, b"b", &file), raw(1, b"a", &file)]),
        ("unknown kind", vec![raw(7, b"a", &file)]),
        ("cut", vec![raw(1, b"a", &file[..20])]),
        ("endless file", vec![raw(1, b"a", &[[0xFF; 8].as_slice(), &file[8..]].concat())]),
    ];
    for (name, entries) in cases {
        let dir = tempfile::tempdir().unwrap();
        let bytes = [Encoder::new().header(), entries.concat()].concat();
        let error = begin_manifest(dir.path(), &bytes).map(drop).expect_err(name);
        assert_eq!(error.kind, "manifest", "{name}: {error}");
        // The hidden folder holds the manifest, which is whole; nothing was made of it.
        assert_eq!(names(dir.path()).len(), 1, "{name}");
        assert!(!hidden(dir.path()).join("contents").exists(), "{name}");
    }
}

// Spec C9
#[test]
fn files_of_a_hostile_sender_are_verified() {
    let dir = tempfile::tempdir().unwrap();
    let mut encoder = Encoder::new();
    let mut bytes = encoder.header();
    let what = What::File { length_bytes: 5, root: chunk_hash(5, b"right") };
    let entry = Entry { path: b"file".to_vec(), mode: 0o600, mtime: (1, 2), what };
    encoder.entry(&entry, &mut bytes).unwrap();
    let (target, shape) = begin_manifest(dir.path(), &bytes).unwrap();
    assert_eq!(shape, ContentsShape { chunks: 1, bytes: 5 });
    let at = chunk(Space::Contents, 0);
    assert_eq!(target.store_chunk(at, &[], b"wrong"), StoreResult::False);
    assert_eq!(target.store_chunk(chunk(Space::Contents, 1), &[], b"right"), StoreResult::False);
    assert!(!hidden(dir.path()).join("contents/file").exists());
    assert_eq!(target.store_chunk(at, &[], b"right"), StoreResult::Written);
    target.finish().unwrap();
    assert_eq!(std::fs::read(dir.path().join("out/file")).unwrap(), b"right");
}

#[test]
fn more_than_the_disk_holds_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let mut encoder = Encoder::new();
    let mut bytes = encoder.header();
    let what = What::File { length_bytes: 1 << 43, root: Hash([1; 32]) };
    let entry = Entry { path: b"file".to_vec(), mode: 0o600, mtime: (1, 2), what };
    encoder.entry(&entry, &mut bytes).unwrap();
    let error = begin_manifest(dir.path(), &bytes).map(drop).unwrap_err();
    assert_eq!(error.kind, "disk_full");
    assert!(error.message.starts_with("disk full: need 8.8 TB in "), "{error}");
}

#[test]
fn twenty_thousand_small_files_arrive_by_two_threads() {
    let dir = roomy_folder();
    let (root, out) = (dir.path().join("root"), dir.path().join("out"));
    for folder in 0..100 {
        std::fs::create_dir_all(root.join(format!("{folder}"))).unwrap();
        for n in 0..200_u64 {
            let bytes = noise(n, (n * 7 % 300) as usize);
            std::fs::write(root.join(format!("{folder}/{n}")), bytes).unwrap();
        }
    }
    let source = share(&dir.path().join("data"), &[&root]).unwrap();
    let target = open(&out, &source);
    carry_space(&source, &target, Space::Root);
    let (shape, _) = target.begin(Space::Contents, &mut |_| {}).unwrap();
    assert_eq!((source.files(), target.files()), (20_000, 20_000));
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (source, target) = (&source, &target);
            scope.spawn(move || {
                for index in (thread..shape.chunks).step_by(2) {
                    let stored = carry(source, target, chunk(Space::Contents, index));
                    assert_eq!(stored, StoreResult::Written);
                }
            });
        }
    });
    target.finish().unwrap();
    assert_eq!(picture(&root), picture(&out));
}
