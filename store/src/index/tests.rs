//! Looking up chunks in the index of a manifest.

use std::os::unix::fs::FileExt;

use towpath_core::limits::CHUNK_BYTES;
use towpath_core::manifest::Encoder;

use super::*;

pub(crate) fn section(bytes: &[u8]) -> Section {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    Section::whole(Arc::new(file), bytes.len() as u64)
}

fn entry(path: &str, what: What) -> Entry {
    Entry { path: path.into(), mode: 0o644, mtime: (5, 6), what }
}

fn file(path: &str, length_bytes: u64) -> Entry {
    let root = if length_bytes == 0 { Hash([0; 32]) } else { Hash([9; 32]) };
    entry(path, What::File { length_bytes, root })
}

fn link(path: &str, target: &str) -> Entry {
    entry(path, What::Link { target: target.into() })
}

fn encode(entries: &[Entry]) -> Section {
    let mut encoder = Encoder::new();
    let mut bytes = encoder.header();
    for entry in entries {
        encoder.entry(entry, &mut bytes).unwrap();
    }
    section(&bytes)
}

#[test]
fn every_chunk_finds_its_file() {
    let mut entries = Vec::new();
    let mut expected = Vec::new();
    for n in 0..1_000_u64 {
        let chunks = [0, 1, 0, 3, 1][n as usize % 5];
        let path = format!("f{n:04}");
        entries.push(file(&path, chunks * CHUNK_BYTES as u64));
        expected.extend((0..chunks).map(|_| (n, path.clone())));
    }
    let index = Index::build(encode(&entries)).unwrap();
    assert_eq!(index.sums().files, 1_000);
    assert_eq!(index.sums().chunks, expected.len() as u64);
    let mut node = 0;
    for (chunk, (ordinal, path)) in expected.iter().enumerate().rev() {
        let found = index.file_of(chunk as u64).unwrap().unwrap();
        assert_eq!((found.ordinal, &found.path[..]), (*ordinal, path.as_bytes()));
        assert!((found.first_chunk..found.first_chunk + found.chunks()).contains(&(chunk as u64)));
        node = node.max(found.first_node + TreeLayout::new(found.length_bytes).nodes());
    }
    assert_eq!(node, index.sums().nodes);
    assert!(index.file_of(expected.len() as u64).unwrap().is_none());
    assert!(lock(&index.decoded).len() <= INDEX_CACHE_BLOCKS);
}

#[test]
fn every_path_is_found_and_no_other() {
    let mut entries = vec![entry("", What::Folder), entry("d", What::Folder)];
    entries.extend((0..300).map(|n| file(&format!("d/{n:03}"), 1)));
    entries.push(file("d.txt", 1));
    let index = Index::build(encode(&entries)).unwrap();
    for entry in &entries {
        assert_eq!(index.find(&entry.path).unwrap().as_ref(), Some(entry));
    }
    for path in ["a", "d/", "d/0000", "d/300", "d.tx", "z"] {
        assert_eq!(index.find(path.as_bytes()).unwrap(), None, "{path}");
    }
}

// Spec C25b, C25c
#[test]
fn links_must_lead_to_an_entry() {
    let check = |links: &[Entry]| {
        let mut entries = vec![
            entry("a", What::Folder),
            entry("a/b", What::Folder),
            file("a/b/c", 1),
            link("a/current", "b"),
        ];
        entries.extend_from_slice(links);
        Index::build(encode(&entries)).map(drop)
    };
    for good in ["a", "a/b/c", "a/current", "a/current/c", ".", "a//b/", "./a"] {
        check(&[link("z", good)]).unwrap_or_else(|e| panic!("{good}: {e:?}"));
    }
    for bad in ["x", "a/x", "a/b/c/d", "a/current/x", "z/x"] {
        let error = check(&[link("z", bad)]).unwrap_err();
        assert!(matches!(error, ReadError::Rule(DecodeError("link_target_missing"))), "{bad}");
    }
    // A circle of links names entries and harms nobody; a way through it leads nowhere.
    check(&[link("y", "z"), link("z", "y")]).unwrap();
    assert!(check(&[link("x", "y/c"), link("y", "z"), link("z", "y")]).is_err());
}

// Spec C25, C25b, C25c
#[test]
fn targets_lead_where_the_vectors_say() {
    let file = include_str!("../../../spec/vectors/manifest.json");
    let file: serde_json::Value = serde_json::from_str(file).unwrap();
    let targets = file["targets"].as_array().unwrap();
    assert!(targets.len() > 10);
    for vector in targets {
        let text = vector["bytes"].as_str().unwrap();
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..text.len()).step_by(2).map(byte).collect();
        let error = match Index::build(section(&bytes)) {
            Ok(_) => None,
            Err(ReadError::Rule(rule)) => Some(rule.0),
            Err(ReadError::Io(error)) => panic!("{error}"),
        };
        assert_eq!(error, vector["error"].as_str(), "{text}");
    }
}

// Spec C25c
#[test]
fn links_that_take_many_looks_are_given_up() {
    // Each link leads up to the top and down again through many folders to the link before it.
    let deep = vec!["d"; 60].join("/");
    let mut entries: Vec<Entry> =
        (1..=60).map(|depth| entry(&deep[..2 * depth - 1], What::Folder)).collect();
    entries.push(link(&format!("{deep}/x00"), &"../".repeat(60)));
    for n in 1..20 {
        let target = format!("x00/{deep}/x{:02}", n - 1);
        entries.push(link(&format!("{deep}/x{n:02}"), &target));
    }
    entries.sort_by(|a, b| compare_paths(&a.path, &b.path));
    let index = Index::build(encode(&entries)).unwrap();
    index.check_links(LINK_LOOKS).unwrap();
    let error = index.check_links(200).unwrap_err();
    assert!(matches!(error, ReadError::Rule(DecodeError("too_many_link_steps"))), "{error:?}");
}

#[test]
fn the_index_of_many_entries_is_small() {
    let mut encoder = Encoder::new();
    let mut bytes = encoder.header();
    for n in 0..50_000 {
        encoder.entry(&file(&format!("file-{n:06}"), 1), &mut bytes).unwrap();
    }
    let index = Index::build(section(&bytes)).unwrap();
    assert_eq!(index.points.len(), 50_000_usize.div_ceil(INDEX_STRIDE as usize));
    assert!(size_of::<Point>() * index.points.len() * 20 < 1 << 20, "a million entries: 1 MiB");
    assert_eq!(index.file_of(49_999).unwrap().unwrap().path, b"file-049999");
}
