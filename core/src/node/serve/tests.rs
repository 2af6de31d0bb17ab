//! How the news of chunks are put into messages.

use alloc::vec;

use super::super::contents::tests::sharing;
use super::*;
use crate::download::ChunkSet;
use crate::limits::CHUNK_BYTES;

mod turns;

const HANDLE: Handle = Handle(0);
const SPACE: Space = Space::Root;

fn chunks(indexes: impl IntoIterator<Item = u64>) -> Vec<ChunkRef> {
    indexes.into_iter().map(|index| ChunkRef { space: SPACE, index }).collect()
}

/// What is said of these chunks by one that has some of so many.
fn say(indexes: impl IntoIterator<Item = u64>) -> Vec<Message> {
    let mut node = sharing(100 * CHUNK_BYTES as u64, None);
    let content = node.contents.values_mut().next().unwrap();
    *content.holding_mut(SPACE) = Holding::Some(ChunkSet::empty(1 << 20));
    news(content, &chunks(indexes))
}

fn one(index: u64) -> Message {
    Message::HaveChunk { handle: HANDLE, chunk: ChunkRef { space: SPACE, index } }
}

fn bits(first: u64, bits: Vec<u8>) -> Message {
    Message::HaveBits { handle: HANDLE, space: SPACE, first, bits }
}

#[test]
fn few_chunks_are_named_and_many_are_bits() {
    assert_eq!(say([]), []);
    assert_eq!(say([9]), [one(9)]);
    // Two frames of 18 bytes against one and its bits: 17 bytes of bits are shorter.
    assert_eq!(say([9, 8 * 17 + 7])[0], bits(8, [&[0x40][..], &[0; 15], &[0x01]].concat()));
    assert_eq!(say([9, 8 * 18 + 7]), [one(9), one(8 * 18 + 7)]);
    assert_eq!(say([16, 17, 23]), [bits(16, vec![0xC1])]);
    // A message speaks of one stretch.
    let far = MAX_HAVE_BITS as u64;
    assert_eq!(say([far - 1, far]), [one(far - 1), one(far)]);
    assert_eq!(say([far - 2, far - 1, far]), [bits(far - 8, vec![0x03]), one(far)]);
}

#[test]
fn one_that_has_all_says_so_once() {
    let node = sharing(100 * CHUNK_BYTES as u64, None);
    let content = node.contents.values().next().unwrap();
    let all = Message::HaveAll { handle: HANDLE, space: SPACE };
    assert_eq!(news(content, &chunks([0, 5, MAX_HAVE_BITS as u64])), [all]);
}

#[test]
fn a_whole_set_is_told_in_stretches_without_the_empty_ends() {
    let most = MAX_HAVE_BITS / 8;
    let mut set = vec![0; 3 * most];
    set[1] = 0x0F;
    set[3] = 0x80;
    set[2 * most] = 1;
    set[3 * most - 1] = 2;
    let messages = all_bits(HANDLE, SPACE, &set);
    let last: Vec<u8> = set[2 * most..].to_vec();
    assert_eq!(messages, [bits(8, vec![0x0F, 0, 0x80]), bits(16 * most as u64, last)]);
    assert_eq!(messages.iter().map(have_bytes).collect::<Vec<_>>(), [3, most]);
    assert_eq!(have_bytes(&one(0)), 1);
}

#[test]
fn each_listener_hears_its_own_number() {
    let to = Handle(7);
    for message in [one(1), bits(0, vec![1]), Message::HaveAll { handle: HANDLE, space: SPACE }] {
        let (Message::HaveChunk { handle, .. }
        | Message::HaveBits { handle, .. }
        | Message::HaveAll { handle, .. }) = with_handle(&message, to)
        else {
            panic!("another message")
        };
        assert_eq!(handle, to);
    }
}

#[test]
fn the_table_of_receivers_is_bounded_and_keeps_who_is_there() {
    let mut node = sharing(9, None);
    let key = *node.contents.keys().next().unwrap();
    let who = |number| Instance { peer: crate::id::PeerId([2; 32]), number };
    let most = MAX_RECEIVERS_PER_SHARE as u64;
    for number in (0..most).chain([5]) {
        node.count_sent(key, who(number), PathKind::Direct, 1);
    }
    let receivers = &node.contents[&key].receivers;
    assert_eq!((receivers.len() as u64, receivers[&who(5)].sent_bytes), (most, 2));
    assert!(receivers.contains_key(&who(0)));
    node.count_sent(key, who(most), PathKind::Direct, 1);
    let receivers = &node.contents[&key].receivers;
    assert_eq!(receivers.len() as u64, most);
    assert!(!receivers.contains_key(&who(0)) && receivers.contains_key(&who(most)));
}
