//! The cache of a share, as somebody left it: it may be useless, it does no harm.

use std::path::PathBuf;

use towpath_core::id::{ChunkRef, Space};
use towpath_core::wire::RequestId;
use towpath_store::Source;

use super::{Scratch, buffer, content, parts};
use crate::targets::feed::Feed;

/// Changes of the file in which a share of a folder, or of a file, is remembered.
pub fn share_cache(data: &[u8]) {
    let mut feed = Feed::new(data);
    let scratch = Scratch::new();
    let (root, store) = (scratch.at("root"), scratch.at("data"));
    std::fs::create_dir_all(root.join("d")).expect("it is new");
    std::fs::write(root.join("a"), content(300_000)).expect("it is new");
    std::fs::write(root.join("d/b"), content(9)).expect("it is new");
    let path = if feed.bool() { root } else { root.join("a") };
    let prepare = || Source::prepare(&store, std::slice::from_ref(&path), &mut |_| {});
    let first = prepare().expect("a new share");
    let cached = cached(&store);
    let before = std::fs::read(&cached).expect("it was just written");
    let mut bytes = before.clone();
    while !feed.is_empty() {
        let at = usize::from(feed.u16()) % bytes.len().max(1);
        match feed.u8() % 6 {
            0 if !bytes.is_empty() => bytes[at] ^= feed.u8(),
            1 => bytes.truncate(at),
            2 => {
                let new = feed.bytes8();
                bytes.splice(at.min(bytes.len())..at.min(bytes.len()), new.iter().copied());
            }
            3 => {
                let new = feed.bytes8();
                let end = (at + new.len()).min(bytes.len());
                let fits = end - at.min(end);
                bytes[at.min(end)..end].copy_from_slice(&new[..fits]);
            }
            4 => bytes.extend_from_slice(feed.bytes8()),
            _ => {}
        }
    }
    std::fs::write(&cached, &bytes).expect("it is there");
    let Ok(again) = prepare() else { return };
    if bytes == before || again.hashed_bytes() == again.length_bytes() {
        assert_eq!(again.descriptor(), first.descriptor());
    }
    // What is false there is found out by whoever fetches it; here it only must not hurt.
    for (space, most) in [(Space::Root, 4), (Space::Contents, 5)] {
        for index in 0..most {
            let chunk = ChunkRef { space, index };
            if let Ok(frame) = again.read_chunk(RequestId(1), chunk, buffer()) {
                let (_, data) = parts(frame);
                assert!(!data.is_empty());
            }
        }
    }
}

/// The one file of the cache.
fn cached(store: &std::path::Path) -> PathBuf {
    let entries = std::fs::read_dir(store.join("cache")).expect("it was just made");
    let mut files = entries.map(|entry| entry.expect("it is readable").path());
    let is_share = |path: &PathBuf| path.extension().is_some_and(|end| end == "share");
    files.find(is_share).expect("the share is remembered")
}

pub(in crate::targets) fn seeds() -> Vec<Vec<u8>> {
    let flip = |at: u16| [&at.to_be_bytes()[..], &[0, 255]].concat();
    let mut seeds = vec![vec![0], vec![1], vec![1, 0, 100, 1], vec![0, 1, 0, 2, 3, 0, 0, 0]];
    // Header length, magic, kind, length, root, sums, sections, paths, and beyond.
    for at in [3, 7, 10, 24, 30, 40, 66, 74, 90, 100, 108, 120, 140, 160, 200, 300, 400] {
        seeds.push([&[1], &flip(at)[..]].concat());
        seeds.push([&[0], &flip(at)[..]].concat());
    }
    seeds
}
