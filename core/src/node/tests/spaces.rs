//! Spaces of a download from their beginning to their end.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use bytes::BytesMut;

use super::super::*;
use super::hostile::{Hand, KEY};
use super::strict::{FIRST, asked, begin, chunk_came, described, stored};
use crate::download::ChunkSet;
use crate::id::{ChunkRef, Space};
use crate::limits::{CHUNK_BYTES, MAX_ORDERED_BYTES};
use crate::wire::Message;

fn wish_order(hand: &mut Hand, sink: Sink) {
    let fetch = hand.node.contents.get_mut(&KEY).unwrap().fetch.as_mut().unwrap();
    fetch.wish.sink = sink;
}

#[test]
fn a_pipe_is_fetched_for_so_many_bytes_ahead_of_its_reader() {
    let window = MAX_ORDERED_BYTES / CHUNK_BYTES as u64;
    let (mut hand, link, handle) = described(100);
    wish_order(&mut hand, Sink::Ordered);
    begin(&mut hand, Space::Root, 100, ChunkSet::default());
    hand.hear(link, Message::HaveAll { handle, space: Space::Root });
    let mut open = asked(&hand);
    let (mut came, mut delivered) = (BTreeSet::new(), Vec::new());
    while let Some((request, index)) = open.pop() {
        assert!(came.insert(index), "{index} comes once");
        hand.now = hand.now + Duration::from_millis(1);
        chunk_came(&mut hand, link, request);
        open.extend(asked(&hand));
        stored(&mut hand, link, index);
        open.extend(asked(&hand));
        delivered.extend(hand.transmits.iter().filter_map(|transmit| match transmit {
            Transmit::Deliver { chunk, .. } => Some(chunk.index),
            _ => None,
        }));
    }
    assert!(came.iter().copied().eq(0..window), "{came:?}");
    assert_eq!(delivered, [0], "one at a time");
    hand.put(Input::Delivered { content: KEY, chunk: FIRST, buffer: BytesMut::new() });
    assert_eq!(asked(&hand).iter().map(|(_, index)| *index).collect::<Vec<_>>(), [window]);
}

#[test]
fn a_pipe_is_complete_when_its_last_byte_has_left() {
    let (mut hand, link, handle) = described(1);
    wish_order(&mut hand, Sink::Ordered);
    begin(&mut hand, Space::Root, 1, ChunkSet::default());
    hand.hear(link, Message::HaveAll { handle, space: Space::Root });
    let [(request, 0)] = asked(&hand)[..] else { panic!("{:?}", hand.transmits) };
    chunk_came(&mut hand, link, request);
    stored(&mut hand, link, 0);
    let complete = Event::SpaceComplete(KEY, Space::Root);
    assert!(!hand.events.contains(&complete), "it is verified, and still here");
    hand.put(Input::Delivered { content: KEY, chunk: FIRST, buffer: BytesMut::new() });
    assert!(hand.events.contains(&complete));
}

#[test]
fn what_is_there_wholly_is_complete_at_once() {
    for (sink, chunks) in [(Sink::Store, 0), (Sink::Store, 9), (Sink::Ordered, 0)] {
        let (mut hand, ..) = described(chunks);
        wish_order(&mut hand, sink);
        begin(&mut hand, Space::Root, chunks, ChunkSet::full(chunks));
        assert!(hand.events.contains(&Event::SpaceComplete(KEY, Space::Root)), "{sink:?}");
    }
}

#[test]
fn the_shape_of_the_contents_is_known_when_they_begin() {
    let (mut hand, ..) = described(1);
    begin(&mut hand, Space::Root, 1, ChunkSet::full(1));
    let shape = |hand: &Hand| hand.node.contents[&KEY].contents_shape;
    assert_eq!(shape(&hand), None);
    begin(&mut hand, Space::Contents, 3, ChunkSet::default());
    let bytes = 3 * CHUNK_BYTES as u64;
    assert_eq!(shape(&hand), Some(ContentsShape { chunks: 3, bytes }));
    let chunk = ChunkRef { space: Space::Contents, index: 0 };
    assert_eq!(hand.node.contents[&KEY].chunk_bytes(chunk), CHUNK_BYTES as u64);
}
