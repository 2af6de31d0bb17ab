//! What two honest sessions do.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bytes::BytesMut;
use proptest::prelude::*;

use super::pipe::*;
use crate::close::{CloseReason, Incompatibility, LocalClose, Misbehaviour, RemoteClose};
use crate::crypto::public_key;
use crate::id::{ContentKey, Descriptor, Hash, Kind, Locator, PeerId};
use crate::limits::{CHUNK_BYTES, IDLE_READ_BYTES, MAX_INCOMING_REQUESTS};
use crate::limits::{MAX_SEND_BACKLOG_BYTES, READ_BYTES};
use crate::output::Output;
use crate::rng::Rng;
use crate::session::preamble::refusal;
use crate::session::{Command, Event, Input, Session, Suite};
use crate::time::Instant;
use crate::wire::{Handle, Message, RequestId, Unavailable};

const SUITES: [Suite; 2] = [Suite::ChaChaPoly, Suite::AesGcm];

fn chunks(peer: &Peer) -> Vec<(RequestId, Vec<Hash>, &[u8])> {
    let chunks = peer.events.iter().filter_map(|event| match event {
        Event::Chunk { request, proof, data } => Some((*request, proof.clone(), &data[..])),
        _ => None,
    });
    chunks.collect()
}

fn messages(peer: &Peer) -> Vec<&Message> {
    let messages = peer.events.iter().filter_map(|event| match event {
        Event::Message(message) => Some(message),
        _ => None,
    });
    messages.collect()
}

fn served(peer: &Peer) -> Vec<(u32, Result<usize, Unavailable>)> {
    let served = |event: &Event| match event {
        Event::Served { request, result } => Some((request.0, *result)),
        _ => None,
    };
    peer.events.iter().filter_map(served).collect()
}

// Spec S1, S4, S15, M5
#[test]
fn both_sides_learn_the_same() {
    for suite in SUITES {
        for remote in [Some(responder_id()), None] {
            let mut a = Peer::new(initiator(remote, suite));
            let mut b = Peer::new(responder(true, true));
            pump(&mut a, &mut b, || usize::MAX);
            let [Event::Established { peer, instance, suite: ours, handshake_hash }] = a.events[..]
            else {
                panic!("{:?}", a.events)
            };
            assert_eq!((peer, instance, ours), (responder_id(), 22, suite));
            let [Event::Established { peer, instance, suite: theirs, handshake_hash: same }] =
                b.events[..]
            else {
                panic!("{:?}", b.events)
            };
            assert_eq!((peer, instance, theirs), (public_key(&INITIATOR_KEY), 11, suite));
            assert_eq!(handshake_hash, same);
        }
    }
}

/// A whole small exchange, each piece cut once; answers all pieces of both directions.
fn small_exchange(suite: Suite, ik: bool, split: usize) -> Vec<Vec<u8>> {
    let mut a = Peer::new(initiator(ik.then(responder_id), suite));
    let mut b = Peer::new(responder(true, true));
    let mut all = Vec::new();
    let mut step = 0;
    loop {
        let (there, back) = (a.take_sent(), b.take_sent());
        all.extend([there.clone(), back.clone()]);
        for (bytes, to) in [(&there, &mut b), (&back, &mut a)] {
            let at = split.min(bytes.len());
            for part in [&bytes[..at], &bytes[at..]] {
                if !part.is_empty() {
                    to.receive(part);
                }
            }
        }
        match step {
            4 => {
                a.command(Command::Send(Message::Refused { handle: Handle(9) }));
                a.request(1, 5);
            }
            6 => b.serve(1, 5),
            7 => b.answer_read(150, 2, BytesMut::new()),
            9 => b.command(Command::Close(CloseReason::Local(LocalClose::Done))),
            11 => break,
            _ => {}
        }
        step += 1;
    }
    assert_eq!(*messages(&b)[0], Message::Refused { handle: Handle(9) });
    assert_eq!(chunks(&a), [(RequestId(1), proof(chunk(5), 2), &content(chunk(5), 150)[..])]);
    assert_eq!(served(&b), [(1, Ok(150))]);
    assert_eq!(a.closed(), Some(&CloseReason::Remote(RemoteClose::Bye)));
    assert_eq!(b.closed(), Some(&CloseReason::Local(LocalClose::Done)));
    all
}

// Spec S21
#[test]
fn a_small_exchange_split_at_every_position_is_the_same_byte_for_byte() {
    for (suite, ik) in [(Suite::ChaChaPoly, true), (Suite::AesGcm, false)] {
        let whole = small_exchange(suite, ik, 0);
        for split in 1..whole.iter().map(Vec::len).max().unwrap() {
            assert_eq!(small_exchange(suite, ik, split), whole, "{suite:?} {ik} {split}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    // Spec S21
    #[test]
    fn chunks_arrive_whole_however_the_stream_is_cut(
        lengths in prop::collection::vec((1..=CHUNK_BYTES, 0..=30_usize), 1..5),
        sizes in prop::collection::vec(1..100_000_usize, 1..20),
        aes in any::<bool>(),
    ) {
        let suite = SUITES[usize::from(aes)];
        let (mut a, mut b) = pair(initiator(Some(responder_id()), suite), responder(false, true));
        for (number, _) in lengths.iter().enumerate() {
            a.request(number as u32, number as u64);
        }
        let mut turn = 0;
        let mut size = || { turn += 1; sizes[turn % sizes.len()] };
        pump(&mut a, &mut b, &mut size);
        for (number, (length, hashes)) in lengths.iter().enumerate() {
            b.serve(number as u32, number as u64);
            b.answer_read(*length, *hashes, BytesMut::new());
        }
        pump(&mut a, &mut b, &mut size);
        let came = chunks(&a);
        prop_assert_eq!(came.len(), lengths.len());
        for (number, (length, hashes)) in lengths.iter().enumerate() {
            let chunk = chunk(number as u64);
            prop_assert_eq!(came[number].0, RequestId(number as u32));
            prop_assert_eq!(&came[number].1, &proof(chunk, *hashes));
            prop_assert!(came[number].2 == content(chunk, *length));
        }
    }
}

// Spec S20
#[test]
fn both_directions_rekey_many_times() {
    for suite in SUITES {
        let new = |role| {
            let mut session = Session::new(Instant::ZERO, Rng::new([0; 32]), config(role));
            session.rekey_every = 3;
            Peer::with(session)
        };
        let mut a = new(initiator(None, suite));
        let mut b = new(responder(true, true));
        pump(&mut a, &mut b, || usize::MAX);
        for number in 0..8 {
            a.request(number, u64::from(number));
            pump(&mut a, &mut b, || 50_000);
            b.serve(number, u64::from(number));
            b.answer_read(CHUNK_BYTES, 4, BytesMut::new());
            pump(&mut a, &mut b, || 50_000);
        }
        assert_eq!(chunks(&a).len(), 8);
        assert!(chunks(&a).iter().all(|(request, _, data)| {
            *data == content(chunk(u64::from(request.0)), CHUNK_BYTES)
        }));
    }
}

// Spec S7, S8
#[test]
fn what_a_responder_does_not_take_is_refused_clearly() {
    for (role, listener, why) in [
        (
            initiator(Some(responder_id()), Suite::AesGcm),
            responder(true, false),
            Incompatibility::Suite,
        ),
        (initiator(None, Suite::ChaChaPoly), responder(false, true), Incompatibility::Pattern),
    ] {
        let (mut a, mut b) = (Peer::new(role), Peer::new(listener));
        pump(&mut a, &mut b, || 1);
        assert_eq!(a.closed(), Some(&CloseReason::Incompatible(why)));
        assert_eq!(b.closed(), Some(&CloseReason::Incompatible(why)));
    }
}

// Spec S4b, S8, S9b
#[test]
fn another_key_than_the_expected_one_is_refused_and_not_answered_as_a_stranger() {
    let other = public_key(&[77; 32]);
    let mut a = Peer::new(initiator(Some(other), Suite::ChaChaPoly));
    let mut b = Peer::new(responder(true, true));
    b.receive(&a.take_sent());
    let answer = b.take_sent();
    assert_eq!(answer, refusal(Incompatibility::Key).unwrap());
    a.receive(&answer);
    let key = CloseReason::Incompatible(Incompatibility::Key);
    assert_eq!((a.closed(), b.closed()), (Some(&key), Some(&key)));
}

// Spec S3
#[test]
fn a_key_that_nobody_can_have_fails_at_once() {
    let a = Peer::new(initiator(Some(PeerId([0; 32])), Suite::ChaChaPoly));
    let key = CloseReason::Misbehaved(Misbehaviour("handshake_key"));
    assert_eq!(a.closed(), Some(&key));
    assert_eq!(a.deadline, Instant::NEVER);
}

// Spec S11
#[test]
fn another_channel_binding_is_noticed() {
    let mut bound = config(initiator(Some(responder_id()), Suite::ChaChaPoly));
    bound.channel_binding = vec![9; 32];
    let mut a = Peer::with(Session::new(Instant::ZERO, Rng::new([0; 32]), bound));
    let mut b = Peer::new(responder(true, true));
    b.receive(&a.take_sent());
    let key = CloseReason::Incompatible(Incompatibility::Key);
    assert_eq!(b.closed(), Some(&key));
}

// Spec M21, P14, M20
#[test]
fn reads_are_few_and_answered_as_they_come_back() {
    let (mut a, mut b) = usual();
    for number in 0..20 {
        a.request(number, u64::from(number));
    }
    pump(&mut a, &mut b, || usize::MAX);
    for number in 0..20 {
        b.serve(number, u64::from(number));
    }
    assert_eq!(b.reads.len(), 4);
    b.eager = false;
    b.reads.swap(0, 2);
    // Nothing is taken by the stream: reading stops at the backlog.
    let mut answered = 0;
    while !b.reads.is_empty() {
        b.answer_read(CHUNK_BYTES, 1, BytesMut::new());
        answered += 1;
    }
    let unsent: usize = b.sent.iter().map(|bytes| bytes.len()).sum();
    assert!(answered < 20 && unsent <= MAX_SEND_BACKLOG_BYTES, "{answered}");
    // A message overtakes what has not been read.
    b.command(Command::Send(Message::Complete { handle: Handle(0) }));
    b.eager = true;
    b.input(Input::Sent { bytes: unsent + b.sent.last().unwrap().len() });
    while !b.reads.is_empty() {
        b.answer_read(CHUNK_BYTES, 1, BytesMut::new());
    }
    pump(&mut a, &mut b, || usize::MAX);
    let order: Vec<u32> = chunks(&a).iter().map(|(request, ..)| request.0).collect();
    assert_eq!(order[..4], [2, 1, 0, 3]);
    assert_eq!(order.len(), 20);
    let place = a.events.iter().position(|event| matches!(event, Event::Message(_))).unwrap();
    assert_eq!(place, answered);
}

// Spec M14, M16, P14b
#[test]
fn every_request_is_answered_once_cancelled_or_not() {
    let (mut a, mut b) = usual();
    for number in 0..7 {
        a.request(number, 0);
    }
    pump(&mut a, &mut b, || usize::MAX);
    for number in 0..6 {
        b.serve(number, 0);
    }
    b.events.clear();
    // 0..4 are being read, 4 and 5 wait, 6 was not served.
    for number in [1, 4, 6] {
        a.command(Command::Send(Message::Cancel { request: RequestId(number) }));
    }
    pump(&mut a, &mut b, || usize::MAX);
    assert_eq!(served(&b), [(4, Err(Unavailable::Withdrawn))]);
    b.command(Command::Forget { request: RequestId(5) });
    b.serve(6, 0);
    b.answer_read(10, 0, BytesMut::new());
    b.answer_read(10, 0, BytesMut::new());
    b.fail_read(Unavailable::ReadFailed);
    b.answer_read(10, 0, BytesMut::new());
    assert!(b.reads.is_empty());
    let gone = Err(Unavailable::Withdrawn);
    let failed = Err(Unavailable::ReadFailed);
    let all = [(4, gone), (5, gone), (6, gone), (0, Ok(10)), (1, gone), (2, failed), (3, Ok(10))];
    assert_eq!(served(&b), all);
    pump(&mut a, &mut b, || usize::MAX);
    let numbers: Vec<u32> = chunks(&a).iter().map(|(request, ..)| request.0).collect();
    assert_eq!(numbers, [0, 3]);
    let unavailable: Vec<_> = messages(&a)
        .into_iter()
        .map(|message| match message {
            Message::Unavailable { request, why } => (request.0, Err(*why)),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(unavailable, [(4, gone), (6, gone), (5, gone), (1, gone), (2, failed)]);
    // All numbers are free again.
    for number in 0..7 {
        a.request(number, 0);
    }
}

#[test]
fn a_node_that_says_unavailable_answers_the_request() {
    let (mut a, mut b) = usual();
    a.request(1, 0);
    pump(&mut a, &mut b, || usize::MAX);
    let no = Message::Unavailable { request: RequestId(1), why: Unavailable::NotHad };
    b.command(Command::Send(no.clone()));
    b.command(Command::Send(no.clone()));
    pump(&mut a, &mut b, || usize::MAX);
    assert_eq!(messages(&a), [&no], "said once: the second would break the protocol");
}

// Spec M15b, P11
#[test]
fn more_requests_than_the_peer_must_take_wait() {
    let (mut a, mut b) = usual();
    let most = MAX_INCOMING_REQUESTS as u32;
    for number in 0..most + 5 {
        a.request(number, 0);
    }
    a.command(Command::Send(Message::Cancel { request: RequestId(most + 1) }));
    let answer = Message::Unavailable { request: RequestId(most + 1), why: Unavailable::Withdrawn };
    assert_eq!(messages(&a), [&answer]);
    pump(&mut a, &mut b, || usize::MAX);
    assert_eq!(messages(&b).len(), MAX_INCOMING_REQUESTS);
    for (answered, come) in [(0..2, 2), (2..10, 4)] {
        for number in answered {
            let why = Unavailable::NotHad;
            b.command(Command::Send(Message::Unavailable { request: RequestId(number), why }));
        }
        pump(&mut a, &mut b, || usize::MAX);
        assert_eq!(messages(&b).len(), MAX_INCOMING_REQUESTS + come);
    }
    let came =
        messages(&b).split_off(MAX_INCOMING_REQUESTS).into_iter().map(|message| match message {
            Message::Request { request, .. } => request.0 - most,
            other => panic!("{other:?}"),
        });
    assert!(came.eq([0, 2, 3, 4]), "in their order");
    assert_eq!((a.closed(), b.closed()), (None, None));
}

#[test]
fn reads_grow_while_chunks_are_awaited() {
    let (mut a, mut b) = usual();
    assert_eq!(a.read, Some(IDLE_READ_BYTES));
    a.request(1, 0);
    b.command(Command::Send(Message::Complete { handle: Handle(0) }));
    pump(&mut a, &mut b, || usize::MAX);
    assert_eq!(a.read, Some(READ_BYTES));
    assert_eq!(b.read, Some(IDLE_READ_BYTES));
}

#[test]
fn a_recycled_buffer_is_filled_again() {
    let (mut a, mut b) = usual();
    let mut place = None;
    for number in 0..3 {
        a.request(number, 1);
        pump(&mut a, &mut b, || usize::MAX);
        b.serve(number, 1);
        b.answer_read(CHUNK_BYTES, 0, BytesMut::new());
        pump(&mut a, &mut b, || usize::MAX);
        let Some(Event::Chunk { mut data, .. }) = a.events.pop() else { panic!() };
        assert!(data[..] == content(chunk(1), CHUNK_BYTES));
        assert!(place.is_none_or(|place| place == data.as_ptr()), "the same buffer");
        place = Some(data.as_ptr());
        data.fill(0xFF);
        a.command(Command::Recycle(data));
    }
}

// Spec S24, S24b, M19
#[test]
fn the_end_is_said_once_and_swallows_everything() {
    let (mut a, mut b) = usual();
    a.command(Command::Close(CloseReason::Local(LocalClose::Superseded)));
    pump(&mut a, &mut b, || usize::MAX);
    assert_eq!(a.closed(), Some(&CloseReason::Local(LocalClose::Superseded)));
    assert_eq!(b.closed(), Some(&CloseReason::Remote(RemoteClose::Bye)));
    for peer in [&mut a, &mut b] {
        let before = peer.events.len();
        peer.receive(&[1; 100]);
        peer.input(Input::Tick);
        peer.input(Input::Sent { bytes: 7 });
        peer.input(Input::Ended(None));
        peer.request(1, 1);
        peer.command(Command::Close(CloseReason::Local(LocalClose::Done)));
        let result = Err(Unavailable::NotHad);
        peer.input(Input::ChunkRead { request: RequestId(1), result });
        assert_eq!(peer.events.len(), before);
        assert!(peer.sent.is_empty() && peer.read.is_none());
        assert_eq!(peer.session.poll_output_timeout(), Instant::NEVER);
    }
}

/// Whether `needle` stands anywhere in what went over the wire.
fn is_on(wire: &[u8], needle: &[u8]) -> bool {
    wire.windows(needle.len()).any(|window| window == needle)
}

// Spec K6
#[test]
fn nothing_of_what_is_said_stands_on_the_wire() {
    for suite in SUITES {
        let mut a = Peer::new(initiator(Some(responder_id()), suite));
        let mut b = Peer::new(responder(true, true));
        let mut wire = Vec::new();
        let mut turn = |a: &mut Peer, b: &mut Peer| {
            for _ in 0..3 {
                let (there, back) = (a.take_sent(), b.take_sent());
                for (bytes, to) in [(there, &mut *b), (back, &mut *a)] {
                    wire.extend_from_slice(&bytes);
                    if !bytes.is_empty() {
                        to.receive(&bytes);
                    }
                }
            }
        };
        turn(&mut a, &mut b);
        let (locator, proof) = (Locator([0xA1; 32]), [0xA2; 32]);
        a.command(Command::Send(Message::Open { handle: Handle(0), locator, proof }));
        let root = Hash([0xA3; 32]);
        let descriptor = Descriptor { kind: Kind::File, length_bytes: 0x1234_5678_9ABC, root };
        let name = String::from("a name");
        let opened = Message::Opened { handle: Handle(0), proof, descriptor, name };
        b.command(Command::Send(opened));
        a.request(1, 0);
        turn(&mut a, &mut b);
        b.serve(1, 0);
        b.answer_read(70_000, 3, BytesMut::new());
        turn(&mut a, &mut b);
        assert_eq!((messages(&a).len(), chunks(&a).len()), (1, 1));
        let (data, proof) = (content(chunk(0), 70_000), super::pipe::proof(chunk(0), 3));
        let keys = [public_key(&INITIATOR_KEY), responder_id()];
        let length = 0x1234_5678_9ABC_u64.to_be_bytes();
        let said: [&[u8]; 9] = [
            &locator.0[..8],
            &[0xA2; 8],
            &root.0[..8],
            &length[2..],
            b"a name",
            &data[1_000..1_008],
            &proof[1].0[..8],
            &keys[0].0[..8],
            &keys[1].0[..8],
        ];
        for needle in said {
            assert!(!is_on(&wire, needle), "{needle:?}");
        }
        assert!(wire.len() > 70_000);
    }
}

// Spec S25
#[test]
fn one_whose_node_found_it_out_of_order_is_closed_without_a_word() {
    let (mut a, b) = usual();
    a.sent.clear();
    let reason = CloseReason::Misbehaved(Misbehaviour("request_of_unopened_share"));
    a.command(Command::Close(reason.clone()));
    assert_eq!(a.closed(), Some(&reason));
    assert!(a.sent.is_empty() && b.closed().is_none());
}

impl Session {
    fn poll_output_timeout(&mut self) -> Instant {
        match self.poll_output() {
            Output::Timeout(at) => at,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_content_key_of_a_serve_reaches_the_store() {
    let (mut a, mut b) = usual();
    a.request(1, 3);
    pump(&mut a, &mut b, || usize::MAX);
    let (request, content) = (RequestId(1), ContentKey(1));
    b.command(Command::Serve { request, content, chunk: chunk(3) });
    assert_eq!(b.reads, [(request, chunk(3))]);
}
