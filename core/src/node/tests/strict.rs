//! One node under a test's own hand: its books to the letter, where whole worlds are content with
//! the outcome.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bytes::BytesMut;

use super::super::*;
use super::hostile::{HASH, Hand, KEY, SECRET, descriptor, instance, locator, misbehaved, proof};
use crate::crypto::proof::{REQUESTER, SEEDER};
use crate::download::ChunkSet;
use crate::id::{ChunkRef, Descriptor, Hash, Kind, Secret, Space};
use crate::limits::{
    CHUNK_BYTES, MAX_INCOMING_REQUESTS, MAX_OPEN_SHARES_PER_SESSION, MAX_REFUSED_OPENS_PER_SESSION,
    MAX_SERVES_PER_LINK, MAX_WASTED_BYTES_PER_PEER, REQUEST_TIMEOUT,
};
use crate::path::Policy;
use crate::session::{Command, Event as SessionEvent};
use crate::tracker_api::{CallError, Request};
use crate::wire::{Handle, Message, RequestId, Unavailable};

pub(super) const FIRST: ChunkRef = ChunkRef { space: Space::Root, index: 0 };

fn open(handle: u32) -> Message {
    let proof = proof(SECRET, REQUESTER, locator(), HASH);
    Message::Open { handle: Handle(handle), locator: locator(), proof }
}

fn request(number: u32, index: u64) -> Message {
    let chunk = ChunkRef { index, ..FIRST };
    Message::Request { request: RequestId(number), handle: Handle(1), chunk }
}

/// Chunks that sessions were told to serve: request and index.
fn serves(hand: &Hand) -> Vec<(u32, u64)> {
    let serves = hand.transmits.iter().filter_map(|transmit| match transmit {
        Transmit::Session { command: Command::Serve { request, chunk, .. }, .. } => {
            Some((request.0, chunk.index))
        }
        _ => None,
    });
    serves.collect()
}

/// Chunks that the peer of a link was asked for: request and index.
pub(super) fn asked(hand: &Hand) -> Vec<(RequestId, u64)> {
    let asked = hand.transmits.iter().filter_map(|transmit| match transmit {
        Transmit::Session { command: Command::Request { request, chunk, .. }, .. } => {
            Some((*request, chunk.index))
        }
        _ => None,
    });
    asked.collect()
}

fn recycled(hand: &Hand) -> bool {
    let recycles = |transmit: &Transmit| {
        matches!(transmit, Transmit::Session { command: Command::Recycle(_), .. })
    };
    hand.transmits.iter().any(recycles)
}

/// A node that shares so many chunks, to a link on which that is open.
fn sharing(chunks: u64) -> (Hand, LinkId) {
    let mut hand = Hand::new();
    let length_bytes = chunks * CHUNK_BYTES as u64;
    let descriptor = Descriptor { kind: Kind::File, length_bytes, root: Hash([5; 32]) };
    let secret = Secret::new(SECRET);
    let locator = descriptor.locator(Some(&secret));
    let (secret, name) = (Some(secret), String::from("name"));
    hand.put(Input::Share { content: KEY, descriptor, secret, name, contents: None });
    let link = hand.link(1, 9);
    let proof = proof(SECRET, REQUESTER, locator, HASH);
    hand.hear(link, Message::Open { handle: Handle(1), locator, proof });
    (hand, link)
}

/// A node that was told of so many chunks by a link on which they are open.
pub(super) fn described(chunks: u64) -> (Hand, LinkId, Handle) {
    let length_bytes = chunks * CHUNK_BYTES as u64;
    let descriptor = Descriptor { kind: Kind::File, length_bytes, root: Hash([5; 32]) };
    let locator = descriptor.locator(Some(&Secret::new(SECRET)));
    let (mut hand, link, _) = Hand::getter_of(locator);
    hand.established(link, instance(2));
    let said = hand.said();
    let [Message::Open { handle, .. }] = said[..] else { panic!("{said:?}") };
    let proof = proof(SECRET, SEEDER, locator, HASH);
    hand.hear(link, Message::Opened { handle, proof, descriptor, name: String::from("name") });
    (hand, link, handle)
}

pub(super) fn begin(hand: &mut Hand, space: Space, chunks: u64, have: ChunkSet) {
    let shape = ContentsShape { chunks, bytes: chunks * CHUNK_BYTES as u64 };
    hand.put(Input::Begin { content: KEY, space, shape, have });
}

/// A node that fetches so many chunks from a link on which they are open.
pub(super) fn fetching(chunks: u64) -> (Hand, LinkId, Handle) {
    let (mut hand, link, handle) = described(chunks);
    begin(&mut hand, Space::Root, chunks, ChunkSet::default());
    (hand, link, handle)
}

pub(super) fn chunk_came(hand: &mut Hand, link: LinkId, request: RequestId) {
    let data = BytesMut::zeroed(CHUNK_BYTES);
    let event = SessionEvent::Chunk { request, proof: Vec::new(), data };
    hand.put(Input::Session { link, event });
}

pub(super) fn stored(hand: &mut Hand, link: LinkId, index: u64) {
    let (chunk, result) = (ChunkRef { index, ..FIRST }, StoreResult::Written);
    let buffer = BytesMut::zeroed(CHUNK_BYTES);
    hand.put(Input::ChunkStored { content: KEY, chunk, link, result, buffer });
}

#[test]
fn every_call_has_a_number_of_its_own() {
    let mut hand = Hand::new();
    let mut calls = Vec::new();
    for key in 1..=3 {
        hand.put(Input::Get {
            content: ContentKey(key),
            locator: locator(),
            secret: Some(Secret::new(SECRET)),
            policy: Policy::Direct,
            sink: Sink::Store,
            serve: false,
            timeout: None,
        });
        calls.extend(hand.transmits.iter().filter_map(|transmit| match transmit {
            Transmit::Call { call, request: Request::Lookup { .. }, .. } => Some(*call),
            _ => None,
        }));
    }
    assert_eq!(calls, [CallId(0), CallId(1), CallId(2)]);
}

#[test]
fn every_child_draws_numbers_of_its_own() {
    let mut node = Hand::new().node;
    let drawn = [0, 1, 2].map(|_| node.child_rng("path").next_u64());
    assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2] && drawn[2] != drawn[0], "{drawn:?}");
}

#[test]
fn a_link_may_guess_so_often_and_no_more() {
    let mut hand = Hand::seeder();
    assert_eq!(hand.node.link_count(), 0);
    let link = hand.link(1, 9);
    assert_eq!(hand.node.link_count(), 1);
    let guess = |handle| Message::Open { handle, locator: Locator([1; 32]), proof: [0; 32] };
    for number in 0..MAX_REFUSED_OPENS_PER_SESSION {
        hand.hear(link, guess(Handle(number)));
        assert_eq!(hand.said(), [Message::Refused { handle: Handle(number) }]);
    }
    hand.hear(link, guess(Handle(0)));
    assert_eq!(hand.closed(), Some(&misbehaved("too_many_refused_opens")));
    assert_eq!(hand.node.counters().get("too_many_refused_opens"), 1);
}

#[test]
fn shares_that_are_over_make_room_for_others() {
    let mut hand = Hand::seeder();
    let link = hand.link(1, 9);
    let is_opened = |hand: &Hand| matches!(hand.said()[0], Message::Opened { .. });
    let most = MAX_OPEN_SHARES_PER_SESSION as u32;
    for number in 0..most {
        hand.hear(link, open(number));
        assert!(is_opened(&hand), "{number}");
    }
    hand.hear(link, open(most));
    assert_eq!(hand.said(), [Message::Refused { handle: Handle(most) }]);
    hand.hear(link, Message::Complete { handle: Handle(3) });
    hand.hear(link, open(most + 1));
    assert!(is_opened(&hand));
    hand.hear(link, open(most + 2));
    assert_eq!(hand.said(), [Message::Refused { handle: Handle(most + 2) }]);
}

#[test]
fn a_request_has_a_number_of_its_own_and_names_what_is_there() {
    let (mut hand, link) = sharing(3);
    hand.hear(link, request(7, 3));
    let why = Unavailable::NotHad;
    assert_eq!(hand.said(), [Message::Unavailable { request: RequestId(7), why }]);
    hand.hear(link, request(7, 2));
    assert_eq!(serves(&hand), [(7, 2)]);
    hand.hear(link, request(7, 1));
    assert_eq!(hand.closed(), Some(&misbehaved("request_used_twice")), "it is being served");

    let (mut hand, link) = sharing(3);
    let most = MAX_SERVES_PER_LINK as u32;
    (0..=most).for_each(|number| hand.hear(link, request(number, 0)));
    assert!(serves(&hand).is_empty() && hand.closed().is_none());
    hand.hear(link, request(most, 1));
    assert_eq!(hand.closed(), Some(&misbehaved("request_used_twice")), "it waits");

    let (mut hand, link) = sharing(3);
    (0..MAX_INCOMING_REQUESTS as u32).for_each(|number| hand.hear(link, request(number, 0)));
    assert_eq!(hand.closed(), None);
    hand.hear(link, request(MAX_INCOMING_REQUESTS as u32, 0));
    assert_eq!(hand.closed(), Some(&misbehaved("too_many_requests")));
}

#[test]
fn what_nobody_was_sent_yet_goes_first_and_what_is_cancelled_not_at_all() {
    let (mut hand, link) = sharing(3);
    let most = MAX_SERVES_PER_LINK as u32;
    for number in 0..most {
        hand.hear(link, request(number, 0));
        assert_eq!(serves(&hand), [(number, 0)]);
    }
    for (number, index) in [(100, 0), (101, 0), (102, 1), (103, 2)] {
        hand.hear(link, request(number, index));
        assert_eq!(serves(&hand), []);
    }
    hand.hear(link, Message::Cancel { request: RequestId(100) });
    let mut served = Vec::new();
    for number in 0..4 {
        let (request, result) = (RequestId(number), Ok(CHUNK_BYTES));
        hand.put(Input::Session { link, event: SessionEvent::Served { request, result } });
        served.extend(serves(&hand));
    }
    assert_eq!(served, [(102, 1), (103, 2), (101, 0)]);
}

#[test]
fn what_is_taken_back_is_refused_and_forgotten() {
    let (mut hand, link) = sharing(3);
    let most = MAX_SERVES_PER_LINK as u32;
    (0..=most).for_each(|number| hand.hear(link, request(number, 0)));
    hand.put(Input::Stop(KEY));
    let why = Unavailable::Withdrawn;
    assert_eq!(hand.said(), [Message::Unavailable { request: RequestId(most), why }]);
    let forgets = |transmit: &&Transmit| {
        matches!(transmit, Transmit::Session { command: Command::Forget { .. }, .. })
    };
    assert_eq!(hand.transmits.iter().filter(forgets).count() as u32, most);
    hand.hear(link, request(most + 1, 0));
    let request = RequestId(most + 1);
    assert_eq!(hand.said(), [Message::Unavailable { request, why }]);
}

#[test]
fn a_receiver_is_reported_now_and_then_and_when_it_is_through() {
    let (mut hand, link) = sharing(3);
    hand.hear(link, request(1, 0));
    let served = |hand: &mut Hand, bytes| {
        let event = SessionEvent::Served { request: RequestId(1), result: Ok(bytes) };
        hand.put(Input::Session { link, event });
        hand.hear(link, request(1, 0));
    };
    let reports = |hand: &Hand| -> Vec<(u64, bool)> {
        let reports = hand.events.iter().filter_map(|event| match event {
            Event::Receiver { sent_bytes, done, .. } => Some((*sent_bytes, *done)),
            _ => None,
        });
        reports.collect()
    };
    served(&mut hand, 1_000);
    served(&mut hand, 2_000);
    assert_eq!(reports(&hand), []);
    hand.now = hand.now + crate::limits::TELL_INTERVAL;
    hand.put(Input::Tick);
    assert_eq!(reports(&hand), [(3_000, false)]);
    hand.now = hand.now + crate::limits::TELL_INTERVAL;
    hand.put(Input::Tick);
    assert_eq!(reports(&hand), [], "nothing new");
    served(&mut hand, 500);
    hand.hear(link, Message::Complete { handle: Handle(1) });
    assert_eq!(reports(&hand), [(3_500, true)]);
    hand.hear(link, Message::Complete { handle: Handle(1) });
    assert_eq!(reports(&hand), [], "once");
}

#[test]
fn what_a_peer_claims_behind_the_end_is_nothing() {
    for (first, bits) in [(0, vec![0, 0xFF, 0xFF]), (8, vec![0xFF]), (8, vec![0xC0, 0xFF])] {
        let (mut hand, link, handle) = fetching(10);
        hand.hear(link, Message::HaveBits { handle, space: Space::Root, first, bits });
        let (request, one) = asked(&hand)[0];
        chunk_came(&mut hand, link, request);
        stored(&mut hand, link, one);
        let (_, other) = asked(&hand)[0];
        assert_eq!((one.min(other), one.max(other)), (8, 9));
        assert_eq!(asked(&hand).len(), 1);
    }
    let (mut hand, link, handle) = fetching(10);
    hand.hear(link, Message::HaveBits { handle, space: Space::Root, first: 16, bits: vec![0xFF] });
    assert_eq!(asked(&hand), []);
    let chunk = ChunkRef { index: 9, ..FIRST };
    hand.hear(link, Message::HaveChunk { handle, chunk });
    assert_eq!(asked(&hand).len(), 1);
    hand.hear(link, Message::HaveBits { handle, space: Space::Root, first: 4, bits: vec![1] });
    assert_eq!(hand.closed(), Some(&misbehaved("have_out_of_range")));
}

#[test]
fn a_chunk_goes_to_the_store_once_and_its_buffer_back() {
    let (mut hand, link, handle) = fetching(4);
    hand.hear(link, Message::HaveAll { handle, space: Space::Root });
    let (request, index) = asked(&hand)[0];
    chunk_came(&mut hand, link, request);
    let stores = |transmit: &Transmit| match transmit {
        Transmit::StoreChunk { link: of, .. } => *of == link,
        _ => false,
    };
    assert!(hand.transmits.iter().any(stores) && !recycled(&hand));
    chunk_came(&mut hand, link, request);
    assert!(!hand.transmits.iter().any(stores), "an answer is taken once");
    assert_eq!(hand.node.counters().get("chunk_for_no_request"), 1);
    assert_eq!(hand.node.progress(KEY).verified_bytes, 0);
    stored(&mut hand, link, index);
    assert!(recycled(&hand));
    let progress = hand.node.progress(KEY);
    let bytes = CHUNK_BYTES as u64;
    assert_eq!((progress.verified_bytes, progress.received_bytes), (bytes, bytes));
    assert_eq!((progress.by_path_bytes, progress.peers), ([bytes, 0, 0], 1));
    stored(&mut hand, link, index);
    assert!(recycled(&hand), "a verdict that nobody waits for");
    assert_eq!(hand.node.progress(KEY).verified_bytes, bytes);
}

#[test]
fn what_comes_too_late_is_waste_and_what_crossed_a_cancel_is_not() {
    for silent in [true, false] {
        let (mut hand, link, handle) = fetching(4);
        let peer = instance(2).peer;
        hand.node.wasted(peer, None, MAX_WASTED_BYTES_PER_PEER as usize - CHUNK_BYTES);
        hand.hear(link, Message::HaveAll { handle, space: Space::Root });
        let [(request, index)] = asked(&hand)[..] else { panic!("{:?}", hand.transmits) };
        if silent {
            hand.now = hand.now + REQUEST_TIMEOUT;
            hand.put(Input::Tick);
            assert_eq!(hand.said(), [Message::Cancel { request }]);
        } else {
            hand.node.cancel_all(link, KEY);
        }
        // Somebody else brings it.
        hand.node.contents.get_mut(&KEY).unwrap().holding_mut(Space::Root).insert(index);
        chunk_came(&mut hand, link, request);
        assert!(recycled(&hand));
        assert_eq!(hand.node.counters().get("chunk_not_wanted_any_more"), 1);
        assert_eq!(hand.node.counters().get("chunk_too_late"), u64::from(silent));
        assert_eq!(hand.node.is_left_alone(&peer, None), silent);
        assert_eq!(hand.closed().is_some(), silent);
    }
}

#[test]
fn words_that_fit_to_nothing_are_counted() {
    let (mut hand, link, handle) = fetching(4);
    hand.hear(link, Message::HaveAll { handle, space: Space::Root });
    let why = Unavailable::NotHad;
    hand.hear(link, Message::Unavailable { request: RequestId(99), why });
    hand.put(Input::Finished(KEY));
    let (have, shape) = (ChunkSet::default(), ContentsShape { chunks: 4, bytes: 9 });
    hand.put(Input::Begin { content: KEY, space: Space::Root, shape, have });
    hand.put(Input::Delivered { content: KEY, chunk: FIRST, buffer: BytesMut::new() });
    hand.put(Input::Reply { call: CallId(99), result: Err(CallError::Unauthorized) });
    hand.hear(link, Message::Bye);
    let said = descriptor();
    let (secret, name) = (None, String::new());
    hand.put(Input::Share { content: KEY, descriptor: said, secret, name, contents: None });
    for reason in [
        "refusal_of_no_request",
        "finished_out_of_turn",
        "begin_out_of_turn",
        "delivered_out_of_turn",
        "reply_to_no_call",
        "message_of_the_session",
        "content_key_used_twice",
    ] {
        assert_eq!(hand.node.counters().get(reason), 1, "{reason}");
    }
}

#[test]
fn an_answer_is_awaited_until_it_has_come() {
    let (mut hand, link, handle) = fetching(1);
    assert_eq!(hand.node.timers.get(&Timer::Answer(link)), None);
    hand.hear(link, Message::HaveAll { handle, space: Space::Root });
    let [(request, 0)] = asked(&hand)[..] else { panic!("{:?}", hand.transmits) };
    let almost = REQUEST_TIMEOUT.saturating_sub(Duration::from_secs(1));
    hand.now = hand.now + almost;
    hand.put(Input::Session { link, event: SessionEvent::Progress { request, bytes: 1 } });
    hand.now = hand.now + almost;
    hand.put(Input::Tick);
    assert_eq!(hand.said(), [], "a slow chunk is not given up while some of it comes");
    hand.now = hand.now + REQUEST_TIMEOUT;
    hand.put(Input::Tick);
    assert_eq!(hand.said(), [Message::Cancel { request }]);
}

#[test]
fn a_liar_is_remembered_beside_the_others() {
    let (mut hand, link, handle) = fetching(4);
    hand.node.banned.insert(instance(9));
    hand.hear(link, Message::HaveAll { handle, space: Space::Root });
    let (request, index) = asked(&hand)[0];
    chunk_came(&mut hand, link, request);
    let (chunk, result) = (ChunkRef { index, ..FIRST }, StoreResult::False);
    let buffer = BytesMut::zeroed(CHUNK_BYTES);
    hand.put(Input::ChunkStored { content: KEY, chunk, link, result, buffer });
    assert!(hand.node.banned.iter().copied().eq([instance(2), instance(9)]));
    assert!(hand.closed().is_some());
}
