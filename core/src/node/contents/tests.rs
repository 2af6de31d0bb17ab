//! Lengths of chunks, and how much is there already.

use super::*;
use crate::id::{Hash, PeerId};
use crate::limits::{MAX_FILE_BYTES, MAX_MANIFEST_BYTES, MAX_SHARE_CHUNKS};

const CHUNK: u64 = CHUNK_BYTES as u64;
const KEY: ContentKey = ContentKey(1);

fn descriptor(kind: Kind, length_bytes: u64) -> Descriptor {
    Descriptor { kind, length_bytes, root: Hash([5; 32]) }
}

/// A node with nothing to do.
fn idle(me: u8) -> Node {
    let config = crate::node::Config {
        me: Instance { peer: PeerId([me; 32]), number: me.into() },
        prefer_aes: false,
        accept_strangers: false,
        limit_up_bytes_per_second: None,
        limit_down_bytes_per_second: None,
    };
    Node::new(crate::time::Instant::ZERO, crate::rng::Rng::new([0; 32]), config)
}

/// A node that fetches something, and serves what it has of it.
pub(in super::super) fn getting(policy: Policy) -> Node {
    let mut node = idle(200);
    let get = crate::node::Input::Get {
        content: KEY,
        locator: Locator([2; 32]),
        secret: None,
        policy,
        sink: Sink::Store,
        serve: true,
        timeout: None,
    };
    node.handle_input(crate::time::Instant::ZERO, get);
    node
}

/// A node that shares something, with contents of this shape if it is a folder.
pub(in super::super) fn sharing(length_bytes: u64, contents: Option<ContentsShape>) -> Node {
    let mut node = idle(1);
    let kind = if contents.is_some() { Kind::Manifest } else { Kind::File };
    let descriptor = descriptor(kind, length_bytes);
    let (secret, name) = (None, String::new());
    let share = crate::node::Input::Share { content: KEY, descriptor, secret, name, contents };
    node.handle_input(crate::time::Instant::ZERO, share);
    node
}

#[test]
fn the_length_of_a_chunk_is_exact_for_files_and_the_mean_for_folders() {
    let at = |space, index| ChunkRef { space, index };
    let node = sharing(2 * CHUNK + 9, Some(ContentsShape { chunks: 3, bytes: 700 }));
    let content = &node.contents[&KEY];
    let lengths = [0, 1, 2, 3].map(|index| content.chunk_bytes(at(Space::Root, index)));
    assert_eq!(lengths, [CHUNK, CHUNK, 9, 0]);
    assert_eq!(content.chunk_bytes(at(Space::Contents, 0)), 233);
    let node = sharing(9, None);
    assert_eq!(node.contents[&KEY].chunk_bytes(at(Space::Contents, 0)), CHUNK);
    for (chunks, bytes, mean) in [(0, 0, 1), (4, 3, 1), (4, 100, 25), (1, 2 * CHUNK, CHUNK)] {
        assert_eq!(mean_chunk_bytes(ContentsShape { chunks, bytes }), mean);
    }
}

#[test]
fn what_is_there_already_is_counted_in_bytes() {
    let bytes = |have: &[u64], space| {
        let mut set = ChunkSet::empty(3);
        have.iter().for_each(|chunk| assert!(set.insert(*chunk)));
        let shape = ContentsShape { chunks: 3, bytes: 2 * CHUNK + 9 };
        had_bytes(&have::fitted(set, 3), have.len() as u64, shape, space)
    };
    assert_eq!(bytes(&[], Space::Root), 0);
    assert_eq!(bytes(&[1], Space::Root), CHUNK);
    assert_eq!(bytes(&[2], Space::Root), 9, "the last one is short");
    assert_eq!(bytes(&[0, 2], Space::Root), CHUNK + 9);
    assert_eq!(bytes(&[0, 1, 2], Space::Root), 2 * CHUNK + 9);
    assert_eq!(bytes(&[2], Space::Contents), (2 * CHUNK + 9) / 3, "in proportion");
    assert_eq!(bytes(&[0, 1, 2], Space::Contents), 2 * CHUNK + 9);
}

#[test]
fn what_may_be_fetched_is_bounded_by_length_and_chunks() {
    let longest = MAX_FILE_BYTES.min(MAX_SHARE_CHUNKS * CHUNK);
    assert!(is_fetchable(&descriptor(Kind::File, longest)));
    assert!(!is_fetchable(&descriptor(Kind::File, longest + 1)));
    assert!(!is_fetchable(&descriptor(Kind::File, MAX_FILE_BYTES + 1)));
    assert!(is_fetchable(&descriptor(Kind::Manifest, MAX_MANIFEST_BYTES)));
    assert!(!is_fetchable(&descriptor(Kind::Manifest, MAX_MANIFEST_BYTES + 1)));
}

#[test]
fn when_all_were_sent_the_round_begins_anew() {
    let mut node = sharing(2 * CHUNK, None);
    let content = node.contents.get_mut(&KEY).unwrap();
    let [first, second] = [0, 1].map(|index| ChunkRef { space: Space::Root, index });
    content.note_sent(first);
    content.note_sent(first);
    assert!(content.was_sent(first) && !content.was_sent(second));
    content.note_sent(second);
    assert!(content.was_sent(first) && content.was_sent(second));
    content.note_sent(second);
    assert!(!content.was_sent(first) && content.was_sent(second));
}

#[test]
fn one_process_shares_and_fetches_so_many_things() {
    let mut node = sharing(9, None);
    let mut failed = 0;
    for number in 2..=MAX_CONTENTS as u32 + 1 {
        let (secret, name) = (None, String::new());
        let (content, descriptor) = (ContentKey(number), descriptor(Kind::File, 9));
        let share = crate::node::Input::Share { content, descriptor, secret, name, contents: None };
        node.handle_input(crate::time::Instant::ZERO, share);
        while let output = node.poll_output()
            && !matches!(output, crate::output::Output::Timeout(_))
        {
            failed += u32::from(matches!(output, crate::output::Output::Event(Event::Failed(..))));
        }
    }
    assert_eq!((node.contents.len(), failed), (MAX_CONTENTS, 1));
}
