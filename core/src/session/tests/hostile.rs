//! What one session does about a peer that breaks the protocol.

use alloc::vec;
use alloc::vec::Vec;

use bytes::BytesMut;
use proptest::prelude::*;

use super::pipe::*;
use crate::close::{CloseReason, Incompatibility, LocalClose, Misbehaviour};
use crate::codec::Write;
use crate::crypto::noise::{Finished, Handshake, Pattern};
use crate::id::Space;
use crate::limits::{CHUNK_BYTES, MAX_INCOMING_REQUESTS};
use crate::rng::Rng;
use crate::session::preamble::{Preamble, refusal};
use crate::session::{Command, Event, Input, Session, Suite};
use crate::time::Instant;
use crate::wire::{Handle, Message, RequestId, Unavailable};

/// An initiator made by hand, against a session that responds.
struct Hand {
    peer: Peer,
    keys: Finished,
}

impl Hand {
    fn new() -> Self {
        let preamble = Preamble { version: 1, pattern: Pattern::Ik, suite: Suite::AesGcm }.encode();
        let remote = Some(responder_id());
        let suite = Suite::AesGcm;
        let mut noise =
            Handshake::new(Pattern::Ik, suite, true, &preamble, INITIATOR_KEY, [3; 32], remote);
        let message = noise.write_message().unwrap();
        let mut peer = Peer::new(responder(true, true));
        peer.receive(&[&preamble[..], &[0, 96], &message].concat());
        let answer = peer.take_sent();
        noise.read_message(&answer[2..50]).unwrap();
        Self { peer, keys: noise.finish() }
    }

    /// The same, after both `Hello`s.
    fn established() -> Self {
        let mut this = Self::new();
        this.say(&Message::Hello { version_min: 1, version_max: 1, instance: 5 });
        assert!(this.peer.is_established());
        this
    }

    fn record(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut record = plain.to_vec();
        let tag = self.keys.send.seal(&mut record);
        record.extend_from_slice(&tag);
        let mut out = (record.len() as u16).to_be_bytes().to_vec();
        out.extend_from_slice(&record);
        out
    }

    fn plain(&mut self, plain: &[u8]) {
        let record = self.record(plain);
        self.peer.receive(&record);
    }

    fn say(&mut self, message: &Message) {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        self.plain(&frame);
    }

    fn blamed(&self, rule: &'static str) {
        assert_eq!(self.peer.closed(), Some(&CloseReason::Misbehaved(Misbehaviour(rule))));
    }
}

fn header(frame_type: u8, length: u32) -> Vec<u8> {
    let mut out = vec![frame_type];
    out.put_u32(length);
    out
}

fn chunk_head(request: u32, hashes: u8, body: u32) -> Vec<u8> {
    let mut out = header(15, 5 + 32 * u32::from(hashes) + body);
    out.put_u32(request);
    out.put_u8(hashes);
    out.put(&vec![1; 32 * usize::from(hashes)]);
    out
}

// Spec S25, M1, M1b
#[test]
fn frames_that_cannot_be_are_refused_at_their_header() {
    for (frame, rule) in [
        (header(0, 0), "unknown_frame_type"),
        (header(16, 5), "unknown_frame_type"),
        (header(255, u32::MAX), "unknown_frame_type"),
        (header(12, 16 * 1024 + 1), "frame_too_long"),
        (header(12, u32::MAX), "frame_too_long"),
        (header(15, u32::MAX), "frame_too_long"),
        (header(15, 5 + 30 * 32 + CHUNK_BYTES as u32 + 1), "frame_too_long"),
        (header(12, 0), "truncated"),
        (chunk_head(1, 0, 10), "unexpected_chunk"),
    ] {
        let mut hand = Hand::established();
        hand.plain(&frame);
        hand.blamed(rule);
    }
}

// Spec M1b
#[test]
fn the_longest_frames_are_not_refused_at_their_header() {
    for header in [
        header(12, 16 * 1024),
        header(15, 5 + 30 * 32 + CHUNK_BYTES as u32),
        chunk_head(1, 30, CHUNK_BYTES as u32),
        chunk_head(1, 30, 1),
    ] {
        let mut hand = Hand::established();
        hand.peer.request(1, 0);
        hand.plain(&header);
        assert_eq!(hand.peer.closed(), None);
    }
}

// Spec S21
#[test]
fn a_frame_may_be_cut_into_records_anywhere() {
    let handle = Handle(7);
    let messages = [
        Message::Complete { handle },
        Message::HaveBits { handle, space: Space::Root, first: 8, bits: vec![1, 2, 3] },
        Message::Complete { handle },
    ];
    let mut frames = Vec::new();
    messages.iter().for_each(|message| message.encode(&mut frames));
    for cut in 1..frames.len() {
        let mut hand = Hand::established();
        hand.peer.events.clear();
        hand.plain(&frames[..cut]);
        hand.plain(&frames[cut..]);
        let heard = hand.peer.events.iter().map(|event| match event {
            Event::Message(message) => message,
            other => panic!("{other:?}"),
        });
        assert!(heard.eq(&messages), "{cut}");
    }
}

// Spec M14b, M17
#[test]
fn chunks_are_checked_against_what_was_asked() {
    for (frame, rule) in [
        (chunk_head(2, 0, 10), "unexpected_chunk"),
        (chunk_head(1, 31, 10), "proof_too_long"),
        (chunk_head(1, 3, 0), "chunk_too_short"),
        (chunk_head(1, 3, CHUNK_BYTES as u32 + 1), "chunk_too_long"),
    ] {
        let mut hand = Hand::established();
        hand.peer.request(1, 0);
        hand.plain(&frame);
        hand.blamed(rule);
    }
    let mut hand = Hand::established();
    hand.peer.request(1, 0);
    let mut frame = chunk_head(1, 2, 3);
    frame.extend_from_slice(b"abc");
    hand.plain(&frame);
    assert!(
        matches!(&hand.peer.events[..], [.., Event::Chunk { data, .. }] if &data[..] == b"abc")
    );
    hand.plain(&frame);
    hand.blamed("unexpected_chunk");
}

// Spec S21
#[test]
fn a_record_may_end_a_chunk_and_go_on_with_another_frame() {
    let mut hand = Hand::established();
    hand.peer.request(1, 0);
    hand.plain(&[&chunk_head(1, 0, 10)[..], b"abc"].concat());
    let mut rest = b"defghij".to_vec();
    Message::Complete { handle: Handle(7) }.encode(&mut rest);
    hand.plain(&rest);
    let [.., Event::Chunk { data, .. }, Event::Message(message)] = &hand.peer.events[..] else {
        panic!("{:?}", hand.peer.events)
    };
    assert_eq!(&data[..], b"abcdefghij");
    assert_eq!(*message, Message::Complete { handle: Handle(7) });
}

// Spec M3, M13, M14b
#[test]
fn messages_out_of_place_are_refused() {
    let hello = Message::Hello { version_min: 1, version_max: 1, instance: 5 };
    let mut hand = Hand::new();
    hand.say(&Message::Ping { token: 1 });
    hand.blamed("hello_first");
    let mut hand = Hand::established();
    hand.say(&hello);
    hand.blamed("hello_twice");
    let mut hand = Hand::established();
    hand.say(&Message::Unavailable { request: RequestId(1), why: Unavailable::NotHad });
    hand.blamed("unexpected_unavailable");
    let request = Message::Request { request: RequestId(1), handle: Handle(0), chunk: chunk(0) };
    let mut hand = Hand::established();
    hand.say(&request);
    hand.say(&request);
    hand.blamed("duplicate_request");
}

// Spec M3b, M4
#[test]
fn the_versions_are_compared_again_inside() {
    for (version_min, version_max, fits) in [(2, 3, false), (1, 9, true), (0, 0, false)] {
        let mut hand = Hand::new();
        hand.say(&Message::Hello { version_min, version_max, instance: 5 });
        assert_eq!(hand.peer.is_established(), fits);
        let reason = CloseReason::Incompatible(Incompatibility::Version);
        assert_eq!(hand.peer.closed(), (!fits).then_some(&reason));
    }
}

#[test]
#[should_panic(expected = "commands wait for `Established`")]
fn nothing_is_said_to_a_peer_that_has_not_said_hello() {
    let mut hand = Hand::new();
    hand.peer.command(Command::Send(Message::Complete { handle: Handle(0) }));
}

#[test]
fn what_comes_back_before_hello_is_swallowed() {
    let mut hand = Hand::new();
    hand.peer.command(Command::Recycle(BytesMut::zeroed(CHUNK_BYTES)));
    hand.peer.command(Command::Forget { request: RequestId(1) });
    assert!(hand.peer.closed().is_none() && hand.peer.events.is_empty());
    hand.peer.command(Command::Close(CloseReason::Local(LocalClose::Done)));
    assert_eq!(hand.peer.closed(), Some(&CloseReason::Local(LocalClose::Done)));
}

// Spec M15, P11
#[test]
fn too_many_requests_are_refused() {
    let mut hand = Hand::established();
    for number in 0..=MAX_INCOMING_REQUESTS as u32 {
        let (request, handle) = (RequestId(number), Handle(0));
        hand.say(&Message::Request { request, handle, chunk: chunk(0) });
    }
    hand.blamed("too_many_requests");
}

// Spec S18, S19, K13
#[test]
fn records_are_refused_when_forged_short_or_replayed() {
    let mut hand = Hand::established();
    let record = hand.record(&header(14, 0));
    for at in 2..record.len() {
        let mut hand = Hand::established();
        let mut bad = record.clone();
        bad[at] ^= 0x10;
        hand.peer.receive(&bad);
        hand.blamed("record_forged");
    }
    for length in 0..=16_u8 {
        let mut hand = Hand::established();
        hand.peer.receive(&[0, length]);
        hand.blamed("record_too_short");
    }
    let mut frame = Vec::new();
    Message::Complete { handle: Handle(1) }.encode(&mut frame);
    let record = hand.record(&frame);
    let mut hand = Hand::established();
    let _ = hand.record(b"skipped");
    hand.peer.receive(&record);
    hand.blamed("record_forged");
}

// Spec K12
#[test]
fn a_replayed_first_message_makes_no_session() {
    let mut first = Peer::new(initiator(Some(responder_id()), Suite::ChaChaPoly));
    let recorded = first.take_sent();
    // Another run of the responder: other ephemeral bytes.
    let mut config = config(responder(true, true));
    config.ephemeral = [5; 32];
    let session = Session::new(Instant::ZERO, Rng::new([0; 32]), config);
    let mut peer = Peer::with(session);
    peer.receive(&recorded);
    let answer = peer.take_sent();
    assert_eq!(answer[..2], [0, 48], "it cannot know that this is old");
    // What the replayer could send next is a record under a key that it does not have.
    peer.receive(&[&[0, 50][..], &[7; 50]].concat());
    assert_eq!(peer.closed(), Some(&CloseReason::Misbehaved(Misbehaviour("record_forged"))));
    assert!(!peer.is_established());
    // Only who sent it first can read the answer.
    first.receive(&answer);
    assert!(first.closed().is_none());
}

// Spec S19
#[test]
fn a_chunk_that_is_forged_half_way_is_not_handed_out() {
    let mut hand = Hand::established();
    hand.peer.request(1, 0);
    let head = chunk_head(1, 0, 100);
    hand.plain(&head);
    hand.plain(&[7; 60]);
    let mut last = hand.record(&[7; 40]);
    last[10] ^= 1;
    hand.peer.receive(&last);
    hand.blamed("record_forged");
    assert!(!hand.peer.events.iter().any(|event| matches!(event, Event::Chunk { .. })));
}

// Spec S23b
#[test]
fn one_that_pings_and_never_reads_is_dropped() {
    let mut hand = Hand::established();
    hand.peer.eager = false;
    let mut frames = Vec::new();
    for token in 0..1_000 {
        Message::Ping { token }.encode(&mut frames);
    }
    let mut rounds = 0;
    while hand.peer.closed().is_none() && rounds < 100 {
        let record = hand.record(&frames);
        for part in record.chunks(10_000) {
            hand.peer.receive(part);
        }
        rounds += 1;
    }
    let limit = LocalClose::Limit("MAX_ANSWER_BACKLOG_BYTES");
    assert_eq!(hand.peer.closed(), Some(&CloseReason::Local(limit)));
    assert!((15..30).contains(&rounds), "{rounds}");
    let mut hand = Hand::established();
    for _ in 0..100 {
        hand.plain(&frames);
    }
    assert_eq!(hand.peer.closed(), None, "one that reads may ping");
}

// Spec S6
#[test]
fn strangers_are_closed_at_the_first_byte_without_an_answer() {
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\x02\x00", b"SSH-2.0", b"\x8EToo"] {
        let mut peer = Peer::new(responder(true, true));
        for byte in bytes {
            peer.receive(&[*byte]);
        }
        let magic = CloseReason::Incompatible(Incompatibility::Magic);
        assert_eq!(peer.closed(), Some(&magic));
        assert!(peer.take_sent().is_empty());
    }
    for answer in [&b"HTTP/1.1 400 Bad Request"[..], b"SSH-2.0", b"\x15\x03\x01", &[0, 0, 1]] {
        let mut peer = Peer::new(initiator(Some(responder_id()), Suite::ChaChaPoly));
        for byte in answer {
            peer.receive(&[*byte]);
        }
        let magic = CloseReason::Incompatible(Incompatibility::Magic);
        assert_eq!(peer.closed(), Some(&magic), "{answer:?}");
    }
}

// Spec S8, S9b
#[test]
fn a_version_of_tomorrow_is_refused_and_the_refusal_understood() {
    let mut peer = Peer::new(responder(true, true));
    peer.receive(&[0x8E, b'T', b'o', b'w', 0, 2, 0, 0, 1, 2, 3]);
    let version = CloseReason::Incompatible(Incompatibility::Version);
    assert_eq!(peer.closed(), Some(&version));
    let answer = peer.take_sent();
    assert_eq!(answer, refusal(Incompatibility::Version).unwrap());
    let mut peer = Peer::new(initiator(None, Suite::ChaChaPoly));
    peer.receive(&answer);
    assert_eq!(peer.closed(), Some(&version));
}

// Spec S9
#[test]
fn a_refusal_after_the_handshake_means_nothing() {
    let (mut a, _) = usual();
    a.receive(&refusal(Incompatibility::Suite).unwrap());
    let short = CloseReason::Misbehaved(Misbehaviour("record_too_short"));
    assert_eq!(a.closed(), Some(&short));
}

// Spec S9, S13
#[test]
fn a_refusal_in_place_of_a_later_message_is_a_wrong_length() {
    let mut a = Peer::new(initiator(None, Suite::ChaChaPoly));
    let mut b = Peer::new(responder(true, true));
    b.receive(&a.take_sent());
    assert_eq!(b.take_sent().len(), 98);
    b.receive(&refusal(Incompatibility::Suite).unwrap());
    let length = CloseReason::Misbehaved(Misbehaviour("handshake_length"));
    assert_eq!(b.closed(), Some(&length));
}

// Spec S10, S13, S14
#[test]
fn tampered_handshakes_fail_on_the_side_that_notices() {
    let mut a = Peer::new(initiator(None, Suite::ChaChaPoly));
    let first = a.take_sent();
    for at in 0..first.len() {
        let mut b = Peer::new(responder(true, true));
        let mut bad = first.clone();
        bad[at] ^= 1;
        b.receive(&bad);
        // A changed ephemeral key is noticed by the initiator, when it reads the answer.
        if b.closed().is_none() {
            let mut a = Peer::new(initiator(None, Suite::ChaChaPoly));
            a.receive(&b.take_sent());
            assert!(matches!(a.closed(), Some(CloseReason::Misbehaved(_))), "byte {at}");
        }
    }
    let mut b = Peer::new(responder(true, true));
    b.receive(&first);
    let second = b.take_sent();
    for at in 0..second.len() {
        let mut a = Peer::new(initiator(None, Suite::ChaChaPoly));
        let mut bad = second.clone();
        bad[at] ^= 1;
        a.receive(&bad);
        assert!(a.closed().is_some(), "byte {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_a_session_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        magic in any::<bool>(),
        responds in any::<bool>(),
    ) {
        let mut peer = if responds {
            Peer::new(responder(true, true))
        } else {
            Peer::new(initiator(Some(responder_id()), Suite::ChaChaPoly))
        };
        if magic && responds {
            peer.receive(&[0x8E, b'T', b'o', b'w', 0, 1, 0, 0]);
        }
        if peer.closed().is_none() {
            peer.receive(&bytes);
        }
        peer.input(Input::Ended(None));
        prop_assert!(peer.closed().is_some());
    }

    #[test]
    fn no_plaintext_makes_a_session_panic(
        kind in 0_u8..18,
        body in prop::collection::vec(any::<u8>(), 0..100),
        length in prop::option::of(any::<u32>()),
    ) {
        let mut hand = Hand::established();
        hand.peer.request(1, 0);
        let mut plain = header(kind, length.unwrap_or(body.len() as u32));
        plain.extend_from_slice(&body);
        hand.plain(&plain);
        hand.peer.input(Input::Ended(None));
        prop_assert!(hand.peer.closed().is_some());
    }
}
