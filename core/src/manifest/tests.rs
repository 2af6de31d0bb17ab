//! Manifests there and back, in pieces of any size, and every hostile one refused by its rule.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::limits::{
    MAX_FILE_BYTES, MAX_MANIFEST_ENTRY_BYTES, MAX_NAME_BYTES, MAX_PATH_DEPTH, MAX_SHARE_CHUNKS,
};
use crate::merkle::chunk_count;

fn folder(path: &str) -> Entry {
    Entry { path: path.into(), mode: 0o755, mtime: (1_700_000_000, 5), what: What::Folder }
}

fn file(path: &str, length_bytes: u64) -> Entry {
    let root = Hash([u8::from(length_bytes > 0); 32]);
    Entry { what: What::File { length_bytes, root }, mode: 0o644, ..folder(path) }
}

fn link(path: &str, target: &str) -> Entry {
    Entry { what: What::Link { target: target.into() }, mode: 0o777, ..folder(path) }
}

/// The bytes of any entries, good or bad.
fn raw(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Encoder::new().header();
    for entry in entries {
        View::of(entry).encode(&mut bytes);
    }
    bytes
}

type Decoded = (Vec<(u64, u64, Entry)>, (u64, u64));

fn decode(bytes: &[u8], piece: usize) -> Result<Decoded, DecodeError> {
    let mut decoder = Decoder::new(bytes.len() as u64)?;
    let mut entries = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.push(piece);
        while let Some(entry) = decoder.next_entry()? {
            entries.push(entry);
        }
    }
    Ok((entries, decoder.finish()?))
}

/// The rule by which both sides refuse the last of these entries.
fn refused(entries: &[Entry]) -> &'static str {
    let (bad, good) = entries.split_last().expect("a bad entry");
    let mut encoder = Encoder::new();
    let mut out = encoder.header();
    for entry in good {
        encoder.entry(entry, &mut out).expect("only the last one is bad");
    }
    let before = out.clone();
    let error = encoder.entry(bad, &mut out).expect_err("it is bad");
    assert_eq!(out, before, "a refused entry leaves no bytes");
    assert_eq!(decode(&raw(entries), usize::MAX).expect_err("it is bad"), error);
    assert_eq!(decode(&raw(entries), 7).expect_err("it is bad"), error);
    error.0
}

fn a_tree() -> Vec<Entry> {
    vec![
        folder(""),
        file("0", 0),
        folder("a"),
        file("a/1", 300_000),
        folder("a/b"),
        link("a/b/up", "../1"),
        file("a/b2", 1),
        file("a.txt", 12),
        folder("empty"),
        link("home", "."),
        link("z", "a/b/up"),
    ]
}

#[test]
fn a_tree_goes_there_and_back() {
    let tree = a_tree();
    let mut encoder = Encoder::new();
    let mut bytes = encoder.header();
    for entry in &tree {
        encoder.entry(entry, &mut bytes).expect("it is good");
    }
    assert_eq!(encoder.sums(), (4, 300_013));
    for piece in [1, 2, 17, 18, 100, usize::MAX] {
        let (entries, sums) = decode(&bytes, piece).expect("it is good");
        assert_eq!(sums, (4, 300_013));
        assert_eq!(
            entries.iter().map(|e| &e.2).collect::<Vec<_>>(),
            tree.iter().collect::<Vec<_>>()
        );
        let first: Vec<u64> = entries.iter().map(|e| e.1).collect();
        assert_eq!(first, [0, 0, 0, 0, 2, 2, 2, 3, 4, 4, 4]);
        for (offset, _, entry) in &entries {
            let (length, alone) = decode_entry(&bytes[*offset as usize..]).expect("it is there");
            assert_eq!((&alone, length as u64), (entry, View::of(entry).encoded_bytes()));
        }
    }
}

#[test]
fn an_empty_manifest_is_an_empty_folder() {
    assert_eq!(decode(&raw(&[]), 1), Ok((vec![], (0, 0))));
    assert_eq!(decode(&raw(&[folder("")]), 1).map(|d| d.1), Ok((0, 0)));
}

#[test]
fn the_header_is_checked() {
    let good = raw(&a_tree());
    let mut other = good.clone();
    other[3] ^= 1;
    assert_eq!(decode(&other, 1), Err(DecodeError("not_a_manifest")));
    let mut newer = good.clone();
    newer[16] = 2;
    assert_eq!(decode(&newer, 100), Err(DecodeError("unknown_manifest_version")));
    assert_eq!(decode(&good[..16], 100), Err(DecodeError("truncated")));
    assert_eq!(decode(&[], 1), Err(DecodeError("truncated")));
    assert_eq!(Decoder::new((1 << 31) + 1).err(), Some(DecodeError("manifest_too_long")));
}

#[test]
fn a_length_that_lies_is_found() {
    let bytes = raw(&a_tree());
    let mut decoder = Decoder::new(bytes.len() as u64 + 1).expect("short enough");
    decoder.push(&bytes);
    while decoder.next_entry().expect("all good").is_some() {}
    assert_eq!(decoder.finish(), Err(DecodeError("truncated")));

    let mut decoder = Decoder::new(bytes.len() as u64 - 1).expect("short enough");
    decoder.push(&bytes);
    for _ in 0..2 {
        assert_eq!(decoder.next_entry(), Err(DecodeError("trailing_bytes")));
    }
    assert_eq!(decoder.finish(), Err(DecodeError("trailing_bytes")));

    let (most, last) = bytes.split_at(bytes.len() - 1);
    let mut decoder = Decoder::new(most.len() as u64).expect("short enough");
    decoder.push(most);
    decoder.push(last);
    assert_eq!(decoder.next_entry(), Err(DecodeError("trailing_bytes")));
}

// Spec C15c, C27
#[test]
fn every_cut_is_found() {
    let bytes = raw(&a_tree());
    let whole = decode(&bytes, usize::MAX).expect("it is good").0;
    for cut in 0..bytes.len() {
        let at_the_end_of_an_entry = cut == HEADER_BYTES || whole.iter().any(|e| e.0 == cut as u64);
        let result = decode(&bytes[..cut], usize::MAX);
        assert_eq!(result.is_ok(), at_the_end_of_an_entry, "{cut}");
        if cut > HEADER_BYTES {
            assert_eq!(decode_entry(&bytes[HEADER_BYTES..cut]).is_ok(), cut >= HEADER_BYTES + 17);
        }
    }
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    assert_eq!(refused(&[file("", 1)]), "path_empty");
    assert_eq!(refused(&[link("", "a")]), "path_empty");
    assert_eq!(refused(&[file("/etc/passwd", 1)]), "path_absolute");
    assert_eq!(refused(&[folder("/")]), "path_absolute");
    assert_eq!(refused(&[folder("a"), file("a//b", 1)]), "path_empty_component");
    assert_eq!(refused(&[folder("a/")]), "path_empty_component");
    for path in [".", "..", "a/..", "a/.", "../a", "a/../../b"] {
        assert_eq!(refused(&[folder("a"), file(path, 1)]), "path_dot_component", "{path}");
    }
    assert_eq!(refused(&[file("a\0b", 1)]), "path_nul");
    let odd = [file("\u{1}\\\u{ff}", 1), file("...", 1), file("..a", 1)];
    assert!(decode(&raw(&odd), 9).is_ok());
}

#[test]
fn paths_have_limits() {
    assert_eq!(refused(&[file(&"n".repeat(MAX_NAME_BYTES + 1), 1)]), "name_too_long");
    assert!(decode(&raw(&[file(&"n".repeat(MAX_NAME_BYTES), 1)]), 9).is_ok());

    let chain: Vec<Entry> =
        (0..=MAX_PATH_DEPTH).map(|n| folder(&["d"; 200][..=n].join("/"))).collect();
    assert!(decode(&raw(&chain[..MAX_PATH_DEPTH]), 99).is_ok());
    assert_eq!(refused(&chain), "path_too_deep");

    let deep: Vec<Entry> =
        (0..13).map(|n| folder(&["n"; 13].map(|n| n.repeat(255))[..=n].join("/"))).collect();
    assert_eq!(deep[11].path.len(), MAX_PATH_BYTES - 1);
    assert!(decode(&raw(&deep[..12]), 99).is_ok());
    assert_eq!(refused(&deep), "path_too_long");
    let mut longest = deep[..11].to_vec();
    for rest in ["n".repeat(100), "n".repeat(155)] {
        let above = core::str::from_utf8(&longest[longest.len() - 1].path).unwrap();
        longest.push(folder(&[above, &rest].join("/")));
    }
    assert_eq!(longest[12].path.len(), MAX_PATH_BYTES);
    assert!(decode(&raw(&longest), 99).is_ok());
    assert_eq!(refused(&[link("a", &"x".repeat(MAX_PATH_BYTES + 1))]), "link_too_long");
    assert!(decode(&raw(&[link("a", &"x".repeat(MAX_PATH_BYTES))]), 99).is_ok());
    let mut longest = Vec::new();
    let path = "p".repeat(MAX_PATH_BYTES);
    View::of(&link(&path, &path)).encode(&mut longest);
    assert_eq!(longest.len(), MAX_MANIFEST_ENTRY_BYTES);
}

#[test]
fn order_and_parents_are_checked() {
    assert_eq!(refused(&[file("a", 1), file("a", 1)]), "duplicate");
    assert_eq!(refused(&[folder(""), folder("")]), "duplicate");
    assert_eq!(refused(&[file("a", 1), folder("")]), "wrong_order");
    assert_eq!(refused(&[file("b", 1), file("a", 1)]), "wrong_order");
    assert_eq!(refused(&[folder("a"), file("a/b", 1), folder("a")]), "wrong_order");
    assert_eq!(refused(&[folder("a"), file("a.b", 1), file("a/b", 1)]), "wrong_order");
    assert_eq!(refused(&[folder("a"), file("b", 1), file("a/b", 1)]), "wrong_order");
    assert_eq!(refused(&[file("a/b", 1)]), "parent_missing");
    assert_eq!(refused(&[folder("a"), file("a/b/c", 1)]), "parent_missing");
    assert_eq!(refused(&[folder("a"), file("ab/c", 1)]), "parent_missing");
    assert_eq!(refused(&[folder("a"), folder("a/b"), file("a/c/d", 1)]), "parent_missing");
    assert_eq!(refused(&[folder("ab"), file("abc/d", 1)]), "parent_missing");
    assert_eq!(refused(&[file("a", 1), file("b/c", 1)]), "parent_missing");
    assert_eq!(refused(&[folder(""), file("b/c", 1)]), "parent_missing");
    assert_eq!(refused(&[file("a", 1), file("a/b", 1)]), "parent_not_folder");
    assert_eq!(refused(&[link("a", "."), file("a/b", 1)]), "parent_not_folder");
    assert_eq!(refused(&[link("a", "."), file("a/b/c", 1)]), "parent_not_folder");
    assert_eq!(refused(&[folder("a"), file("a/b", 1), file("a/b/c", 1)]), "parent_not_folder");
}

#[test]
fn numbers_are_checked() {
    assert_eq!(refused(&[Entry { mode: 0o1000, ..folder("a") }]), "bad_mode");
    assert_eq!(refused(&[Entry { mtime: (0, 1_000_000_000), ..folder("a") }]), "bad_nanoseconds");
    assert!(decode(&raw(&[Entry { mtime: (i64::MIN, 999_999_999), ..folder("a") }]), 9).is_ok());
    assert_eq!(refused(&[file("a", MAX_FILE_BYTES + 1)]), "file_too_long");
    assert_eq!(refused(&[file("a", u64::MAX)]), "file_too_long");
    let mut rooted = file("a", 0);
    rooted.what = What::File { length_bytes: 0, root: Hash([1; 32]) };
    assert_eq!(refused(&[rooted]), "root_of_empty_file");
    let most = MAX_SHARE_CHUNKS << 18;
    assert_eq!(refused(&[file("a", most), file("b", 1)]), "too_many_chunks");
    assert!(decode(&raw(&[file("a", most), file("b", 0)]), 9).is_ok());
    let mut unknown = raw(&[folder("a")]);
    unknown[HEADER_BYTES] = 3;
    assert_eq!(decode(&unknown, 9), Err(DecodeError("unknown_entry_kind")));
}

// Spec C22b
#[test]
fn a_refused_entry_can_be_left_out() {
    let mut encoder = Encoder::new();
    let mut bytes = encoder.header();
    for entry in [folder("a"), link("a/b", "/etc"), folder("a/c"), file("a/c/d", 3)] {
        let _ = encoder.entry(&entry, &mut bytes);
    }
    assert_eq!(decode(&bytes, 9).expect("it is good").0.len(), 3);
}

// Spec C15b
#[test]
fn too_many_entries_are_refused() {
    let entries = crate::limits::MAX_MANIFEST_ENTRIES - 1;
    let mut rules = Rules { entries, last: b"a".to_vec(), ..Rules::default() };
    assert_eq!(rules.take(&View::of(&file("b", 0))), Ok(0));
    assert_eq!(rules.take(&View::of(&file("c", 0))), Err(DecodeError("too_many_entries")));
}

// Spec C15c, C27
#[test]
fn an_entry_that_is_cut_by_the_end_is_refused_for_ever() {
    let mut bytes = raw(&[folder("a")]);
    bytes.pop();
    let (most, last) = bytes.split_at(bytes.len() - 1);
    let mut decoder = Decoder::new(bytes.len() as u64).expect("short enough");
    decoder.push(most);
    assert_eq!(decoder.next_entry(), Ok(None), "more may come");
    decoder.push(last);
    for _ in 0..2 {
        assert_eq!(decoder.next_entry(), Err(DecodeError("truncated")));
    }
}

// Spec C22b, C15b
#[test]
fn the_longest_manifest_is_written_and_read_and_no_longer_one() {
    let entry = link("a", "b");
    let bytes = 17 + 1 + 2 + 1;
    for (room, written) in [(bytes, true), (bytes - 1, false)] {
        let entry_bytes = MAX_MANIFEST_BYTES - HEADER_BYTES as u64 - room;
        let mut encoder = Encoder { entry_bytes, ..Encoder::new() };
        let mut out = Vec::new();
        let result = encoder.entry(&entry, &mut out);
        assert_eq!(result.is_ok(), written);
        assert_eq!(out.len() as u64, if written { bytes } else { 0 });
        if !written {
            assert_eq!(result, Err(DecodeError("manifest_too_long")));
        }
    }
    assert!(Decoder::new(MAX_MANIFEST_BYTES).is_ok());
    assert!(Decoder::new(MAX_MANIFEST_BYTES + 1).is_err());
}

#[test]
fn the_length_of_an_entry_is_known_before_it_is_encoded() {
    for entry in [folder(""), folder("a/b"), file("c", 7), link("d", "a/b")] {
        let view = View::of(&entry);
        let mut out = Vec::new();
        view.encode(&mut out);
        assert_eq!(view.encoded_bytes(), out.len() as u64);
    }
}

#[test]
fn links_stay_inside() {
    for (target, rule) in [
        ("", "link_empty"),
        ("/", "link_absolute"),
        ("/etc/passwd", "link_absolute"),
        ("a\0", "link_nul"),
        ("../../..", "link_leaves_share"),
        ("../../../x", "link_leaves_share"),
        (".././../../x", "link_leaves_share"),
        ("x/..", "link_dot_dot_after_name"),
        ("../x/../../y", "link_dot_dot_after_name"),
    ] {
        assert_eq!(refused(&[folder("a"), folder("a/b"), link("a/b/c", target)]), rule, "{target}");
        assert_eq!(resolve_link(b"a/b/c", target.as_bytes()), None);
    }
    let long = "n/".repeat(MAX_PATH_BYTES);
    assert_eq!(resolve_link(b"a", long.as_bytes()), None);
    assert_eq!(refused(&[link("a", "..")]), "link_leaves_share");
    let resolved = |path: &str, target: &str| resolve_link(path.as_bytes(), target.as_bytes());
    for (path, target, named) in [
        ("a", "b", "b"),
        ("a", ".", ""),
        ("a", "./b//c/", "b/c"),
        ("a/b/c", "d", "a/b/d"),
        ("a/b/c", "../d", "a/d"),
        ("a/b/c", "../../d/e", "d/e"),
        ("a/b/c", "../..", ""),
        ("a/b/c", "..", "a"),
        ("a/b/c", "...", "a/b/..."),
    ] {
        assert_eq!(resolved(path, target), Some(named.into()), "{path} -> {target}");
    }
}

/// Any tree: nested names out of a small alphabet, so that collisions and prefixes are common.
fn tree() -> impl Strategy<Value = Vec<Entry>> {
    let name = prop::sample::select(vec!["a", "a.", "a0", "ab", "b", "\u{e9}", ".x", "~"]);
    let path = prop::collection::vec(name, 1..5);
    prop::collection::vec((path, 0u8..4, 0u64..1 << 20), 0..40).prop_map(|picks| {
        let mut entries = vec![folder("")];
        for (path, kind, length) in picks {
            for n in 1..path.len() {
                entries.push(folder(&path[..n].join("/")));
            }
            let whole = path.join("/");
            entries.push(match kind {
                0 => folder(&whole),
                1 => link(&whole, &"../".repeat(path.len() - 1)),
                _ => file(&whole, length),
            });
        }
        // Folders first among equal paths, so that what has children is a folder.
        let kind = |entry: &Entry| !matches!(entry.what, What::Folder);
        entries.sort_by(|a, b| compare_paths(&a.path, &b.path).then(kind(a).cmp(&kind(b))));
        entries.dedup_by(|a, b| a.path == b.path);
        entries.retain(|e| !matches!(&e.what, What::Link { target } if target.is_empty()));
        entries
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_tree_goes_there_and_back_in_pieces(tree in tree(), piece in 1usize..300) {
        let mut encoder = Encoder::new();
        let mut bytes = encoder.header();
        for entry in &tree {
            encoder.entry(entry, &mut bytes).expect("it is good");
        }
        let (entries, sums) = decode(&bytes, piece).expect("it is good");
        prop_assert_eq!(sums, encoder.sums());
        let mut chunks = 0;
        for ((_, first, entry), expected) in entries.iter().zip(&tree) {
            prop_assert_eq!((first, entry), (&chunks, expected));
            if let What::File { length_bytes, .. } = entry.what {
                chunks += chunk_count(length_bytes);
            }
        }
        prop_assert_eq!(entries.len(), tree.len());
    }

    #[test]
    fn entries_out_of_place_are_refused(
        tree in tree(),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
    ) {
        prop_assume!(tree.len() > 1);
        let mut moved = tree.clone();
        let entry = moved.remove(from.index(tree.len()));
        moved.insert(to.index(tree.len()), entry);
        prop_assert_eq!(decode(&raw(&moved), 50).is_ok(), moved == tree);
    }

    // Spec C22, C22b
    #[test]
    fn no_bytes_panic_and_all_that_is_accepted_is_canonical(
        tree in tree(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = raw(&tree);
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok((entries, _)) = decode(&bytes, 64) {
            let entries: Vec<Entry> = entries.into_iter().map(|entry| entry.2).collect();
            prop_assert_eq!(raw(&entries), bytes);
        }
    }

    #[test]
    fn links_resolve_without_leaving(
        path in "[ab]{1,2}(/[ab]{1,2}){0,3}",
        target in "(\\.\\./|\\./|/|[ab]/){0,6}(\\.\\.|\\.|[ab])?",
    ) {
        if let Some(resolved) = resolve_link(path.as_bytes(), target.as_bytes()) {
            // The walk that a kernel does, where no component is a link.
            let mut walk: Vec<&str> = path.split('/').collect();
            walk.pop();
            for name in target.split('/') {
                match name {
                    "" | "." => {}
                    ".." => prop_assert!(walk.pop().is_some(), "left the share"),
                    name => walk.push(name),
                }
            }
            prop_assert_eq!(resolved, walk.join("/").into_bytes());
        }
    }
}
