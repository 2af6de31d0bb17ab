//! From a manifest to files: hostile manifests, hands in the way, and nothing outside is touched.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use towpath_core::id::{ChunkRef, Kind, Space};
use towpath_core::manifest::{Decoder, Encoder, Entry, What, compare_paths};
use towpath_core::merkle::chunk_count;
use towpath_core::node::StoreResult;
use towpath_store::{Opened, Target};

use super::{Blob, Scratch, content, has};
use crate::targets::feed::Feed;

const NAMES: &[&[u8]] = &[b"a", b"b", b"c.txt", b"..", b".", b"", b"d\0", b"a\n\xFF", b"long name"];
const LENGTHS: &[usize] = &[0, 1, 5, 70_000, 300_000];
const KEPT: &[u8] = b"nobody may touch this";

/// Entries, or the bytes of a manifest; what somebody put in the way; then the download.
pub fn manifest_to_disk(data: &[u8]) {
    let mut feed = Feed::new(data);
    let (raw, hands) = (feed.u8() == 255, feed.u8());
    let manifest = if raw {
        [Encoder::new().header(), feed.rest().to_vec()].concat()
    } else {
        drawn(&mut feed)
    };
    let manifest = Blob::new(manifest);
    let scratch = Scratch::new();
    let (inside, outside) = (scratch.at("in"), scratch.at("outside"));
    std::fs::create_dir(&inside).expect("it is new");
    std::fs::create_dir(&outside).expect("it is new");
    std::fs::write(outside.join("kept"), KEPT).expect("it is new");
    std::fs::write(scratch.at("kept"), KEPT).expect("it is new");

    let out = inside.join("out");
    download(&manifest, &out, hands, &outside);

    assert_eq!(names(&scratch.0), ["in", "kept", "outside"]);
    assert_eq!(names(&outside), ["kept"]);
    for kept in [outside.join("kept"), scratch.at("kept")] {
        assert_eq!(std::fs::read(kept).expect("it is there"), KEPT);
    }
    let left = names(&inside);
    assert!(left.iter().all(|name| name == "out" || name.ends_with(".towpath")), "{left:?}");
    if out.symlink_metadata().is_ok_and(|there| there.is_dir()) {
        assert_eq!(left, ["out"], "what is finished leaves nothing behind");
        // A link that somebody put into the hidden folder stays there: it is his.
        if hands == 0 {
            let root = out.canonicalize().expect("it is there");
            look(&out, &root);
        }
    }
}

/// The bytes of a manifest: of entries that may stand there, or of whatever was drawn.
fn drawn(feed: &mut Feed<'_>) -> Vec<u8> {
    let mut entries = Vec::new();
    for _ in 0..feed.u8() % 24 {
        entries.push(entry(feed));
    }
    entries.sort_by(|a, b| compare_paths(&a.path, &b.path));
    let mut encoder = Encoder::new();
    let mut bytes = encoder.header();
    for entry in &entries {
        // What no encoder writes is left out; raw manifests try it.
        let _ = encoder.entry(entry, &mut bytes);
    }
    bytes
}

fn entry(feed: &mut Feed<'_>) -> Entry {
    let shape = feed.u8();
    let path = path(feed, usize::from(shape % 4));
    let what = match shape >> 2 & 3 {
        0 | 1 => What::Folder,
        2 => {
            let length = feed.pick(LENGTHS);
            let root = Blob::new(content(length)).root;
            What::File { length_bytes: length as u64, root }
        }
        _ => {
            let names = 1 + usize::from(feed.u8() % 4);
            What::Link { target: self::path(feed, names) }
        }
    };
    let mode = if shape & 128 == 0 { 0o755 } else { feed.u16() % 0o1100 };
    let seconds = if shape & 64 == 0 { 1_700_000_000 } else { feed.u64().cast_signed() };
    Entry { path, mode, mtime: (seconds, 7), what }
}

fn path(feed: &mut Feed<'_>, names: usize) -> Vec<u8> {
    let names: Vec<&[u8]> = (0..names).map(|_| feed.pick(NAMES)).collect();
    names.join(&b'/')
}

/// Fetches it as far as it goes.
fn download(manifest: &Blob, out: &Path, hands: u8, outside: &Path) {
    let descriptor = manifest.descriptor(Kind::Manifest);
    let opened = Target::open(out, descriptor, false, &mut |_| {}).expect("nothing is there");
    let Opened::Partial(target) = opened else { panic!("nothing is there") };
    let (shape, _) = target.begin(Space::Root, &mut |_| {}).expect("there is room");
    assert_eq!(shape.chunks, 1);
    let (data, proof) = manifest.chunk(0);
    let chunk = ChunkRef { space: Space::Root, index: 0 };
    assert_eq!(target.store_chunk(chunk, &proof, &data[1..]), StoreResult::False);
    assert_eq!(target.store_chunk(chunk, &proof, data), StoreResult::Written);
    let parent = out.parent().expect("it has one");
    plant(hands & 7, parent, outside);
    let Ok((shape, have)) = target.begin(Space::Contents, &mut |_| {}) else { return };
    let entries = decode(&manifest.bytes);
    plant(hands >> 3 & 7, parent, outside);
    let mut first = 0;
    let mut complete = true;
    for entry in &entries {
        let What::File { length_bytes, root } = entry.what else { continue };
        let known = LENGTHS.iter().find(|known| **known as u64 == length_bytes);
        for number in 0..chunk_count(length_bytes) {
            let chunk = ChunkRef { space: Space::Contents, index: first + number };
            let Some(known) = known else {
                assert_eq!(target.store_chunk(chunk, &[], b"what"), StoreResult::False);
                complete = false;
                break;
            };
            let blob = Blob::new(content(*known));
            let (data, proof) = blob.chunk(number);
            let mut lie = data.to_vec();
            lie[0] ^= 1;
            assert_eq!(target.store_chunk(chunk, &proof, &lie), StoreResult::False);
            match target.store_chunk(chunk, &proof, data) {
                StoreResult::Written => assert_eq!(blob.root, root),
                StoreResult::False => {
                    assert_ne!(blob.root, root);
                    complete = false;
                }
                StoreResult::Failed(why) => {
                    assert!(hands != 0, "{why}");
                    complete = false;
                }
            }
        }
        first += chunk_count(length_bytes);
    }
    assert_eq!(first, shape.chunks);
    assert!((0..shape.chunks).all(|index| !has(&have, index)), "it began with nothing");
    plant(hands >> 6, parent, outside);
    match target.finish() {
        Ok(path) => {
            assert!(complete && path.ends_with("out"));
            if hands == 0 {
                arrived(out, &entries);
            }
        }
        Err(error) => assert!(!complete || hands != 0, "{error}"),
    }
}

fn decode(bytes: &[u8]) -> Vec<Entry> {
    let mut decoder = Decoder::new(bytes.len() as u64).expect("it is short");
    decoder.push(bytes);
    let mut all = Vec::new();
    while let Some((_, _, entry)) = decoder.next_entry().expect("the store read it too") {
        all.push(entry);
    }
    all
}

/// Somebody puts a link to the outside where the store works.
fn plant(which: u8, parent: &Path, outside: &Path) {
    let hidden = names(parent).into_iter().find(|name| name.ends_with(".towpath"));
    let Some(hidden) = hidden.map(|name| parent.join(name)) else { return };
    let at = match which {
        1 => hidden.join("contents"),
        2 => hidden.join("contents/a"),
        3 => hidden.join("contents/b"),
        4 => hidden.join("contents/a/b"),
        5 => hidden.join("contents.tree"),
        6 => hidden.join("contents/c.txt"),
        7 => parent.join("out"),
        _ => return,
    };
    // Not where the whole hidden folder would go: that is the next run's matter.
    if at.symlink_metadata().is_ok_and(|there| there.is_dir()) && which == 1 {
        return;
    }
    let _ = std::fs::remove_dir_all(&at).or_else(|_| std::fs::remove_file(&at));
    let _ = symlink(if which == 5 { outside.join("kept") } else { outside.to_path_buf() }, at);
}

/// Everything arrived as it was described.
fn arrived(out: &Path, entries: &[Entry]) {
    for entry in entries {
        let at = out.join(std::ffi::OsStr::from_bytes(&entry.path));
        let there = at.symlink_metadata().expect("it is there");
        match &entry.what {
            What::Folder => assert!(there.is_dir()),
            What::File { length_bytes, .. } => {
                assert!(there.is_file() && there.len() == *length_bytes);
                if let Ok(bytes) = std::fs::read(&at) {
                    assert_eq!(bytes, content(*length_bytes as usize));
                }
            }
            What::Link { target } => {
                assert_eq!(
                    std::fs::read_link(&at).expect("it is one").as_os_str().as_bytes(),
                    target
                );
            }
        }
    }
}

/// Every link leads to something inside.
fn look(at: &Path, root: &Path) {
    for entry in std::fs::read_dir(at).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("it is there");
        if kind.is_dir() {
            look(&path, root);
        } else if kind.is_symlink() {
            match path.canonicalize() {
                Ok(goal) => assert!(goal.starts_with(root), "{} leads out", path.display()),
                Err(error) => assert_ne!(error.kind(), io::ErrorKind::NotFound, "it leads nowhere"),
            }
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

pub(in crate::targets) fn seeds() -> Vec<Vec<u8>> {
    // a, a/b (300,000 bytes), a/c.txt -> ../c.txt, b/.. , c.txt, a link to a link.
    let tree = [
        &[6, 0x01, 0][..],
        &[0x0A, 0, 1, 4],
        &[0x0E, 0, 2, 1, 3, 2],
        &[0x09, 2, 2],
        &[0x0D, 1, 1, 0, 2],
        &[0x89, 8, 1, 0x01, 0x24],
    ]
    .concat();
    let story = |hands: u8| [&[0, hands], &tree[..]].concat();
    let mut seeds: Vec<Vec<u8>> = [0, 1, 2, 4, 8 + 16, 40, 56, 64, 192].map(story).to_vec();
    let mut raw = vec![255, 0];
    let mut encoder = Encoder::new();
    for entry in super::super::formats::entries() {
        encoder.entry(&entry, &mut raw).expect("they obey the rules");
    }
    seeds.push(raw);
    seeds.push(vec![255, 0, 2, 0, 0]);
    seeds.push(vec![0, 0, 0]);
    seeds
}
