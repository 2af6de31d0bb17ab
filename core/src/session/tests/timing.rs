//! What a session does when time passes.

use core::time::Duration;

use alloc::vec::Vec;
use bytes::BytesMut;

use super::pipe::*;
use crate::close::{Awaited, CloseReason};
use crate::limits::{CHUNK_BYTES, HANDSHAKE_TIMEOUT, KEEPALIVE_INTERVAL};
use crate::limits::{LIVENESS_TIMEOUT, READ_BYTES};
use crate::session::{Command, Event, Input, Suite};
use crate::time::Instant;
use crate::wire::{Handle, Message};

const SECOND: Duration = Duration::from_secs(1);

fn timed_out(peer: &Peer, what: Awaited) {
    assert_eq!(peer.closed(), Some(&CloseReason::Timeout(what)));
    assert_eq!(peer.deadline, Instant::NEVER);
}

// Spec S16
#[test]
fn half_a_handshake_and_then_silence_ends() {
    let mut whole = Peer::new(initiator(Some(responder_id()), Suite::ChaChaPoly));
    let bytes = whole.take_sent();
    for length in [0, 1, 8, 50, bytes.len()] {
        let mut peer = Peer::new(responder(true, true));
        if length > 0 {
            peer.receive(&bytes[..length]);
        }
        peer.wait(HANDSHAKE_TIMEOUT - SECOND);
        assert_eq!(peer.closed(), None);
        assert_eq!(peer.deadline, Instant::ZERO + HANDSHAKE_TIMEOUT);
        peer.now = peer.deadline;
        peer.input(Input::Tick);
        timed_out(&peer, Awaited::Handshake);
    }
    whole.now = whole.deadline;
    whole.input(Input::Tick);
    timed_out(&whole, Awaited::Handshake);
}

// Spec S22, M18
#[test]
fn an_idle_pair_lives_on_pings() {
    let (mut a, mut b) = usual();
    for _ in 0..20 {
        a.wait(KEEPALIVE_INTERVAL);
        b.wait(KEEPALIVE_INTERVAL);
        pump(&mut a, &mut b, || usize::MAX);
    }
    assert_eq!((a.closed(), b.closed()), (None, None));
    assert!(a.events.is_empty() && b.events.is_empty(), "{:?}", a.events);
}

// Spec S22, S22b
#[test]
fn a_silent_peer_is_dead() {
    let (mut a, _) = usual();
    let mut ticks = 0;
    while a.closed().is_none() {
        a.now = a.deadline;
        a.input(Input::Tick);
        ticks += 1;
    }
    timed_out(&a, Awaited::Liveness);
    assert_eq!(a.now, Instant::ZERO + LIVENESS_TIMEOUT);
    assert_eq!(ticks, 3, "two pings and the end");
}

// Spec S23
#[test]
fn one_that_takes_nothing_is_dropped() {
    let (mut a, mut b) = usual();
    a.request(1, 0);
    pump(&mut a, &mut b, || usize::MAX);
    b.eager = false;
    b.serve(1, 0);
    b.answer_read(CHUNK_BYTES, 0, BytesMut::new());
    // It still says something now and then, and takes a little once.
    for round in 0..3 {
        a.wait(KEEPALIVE_INTERVAL);
        b.wait(KEEPALIVE_INTERVAL - SECOND);
        let bytes: Vec<u8> = a.take_sent();
        b.now = a.now;
        b.receive(&bytes);
        if round == 0 {
            b.input(Input::Sent { bytes: 10 });
        }
    }
    assert_eq!(b.closed(), None);
    b.now = b.deadline;
    b.input(Input::Tick);
    timed_out(&b, Awaited::Writable);
}

// Spec S23
#[test]
fn what_was_idle_is_given_the_whole_time_for_the_first_that_it_says() {
    let (mut a, mut b) = usual();
    a.wait(KEEPALIVE_INTERVAL - SECOND);
    b.wait(KEEPALIVE_INTERVAL - SECOND);
    a.request(1, 0);
    b.eager = false;
    let bytes = a.take_sent();
    b.receive(&bytes);
    b.command(Command::Send(Message::Complete { handle: Handle(0) }));
    let whole = b.now + LIVENESS_TIMEOUT;
    assert_eq!(b.deadline, whole);
    b.now = b.now + SECOND;
    b.command(Command::Send(Message::Complete { handle: Handle(0) }));
    assert_eq!(b.deadline, whole, "that waits behind it");
}

// Spec S23
#[test]
fn bytes_of_the_handshake_are_not_taken_for_those_behind_them() {
    let mut a = Peer::new(initiator(Some(responder_id()), Suite::ChaChaPoly));
    let mut b = Peer::new(responder(true, true));
    b.eager = false;
    b.receive(&a.take_sent());
    let answer = b.take_sent();
    a.receive(&answer);
    b.receive(&a.take_sent());
    assert!(b.is_established());
    b.input(Input::Sent { bytes: 50 });
    assert_eq!(b.deadline, Instant::ZERO + LIVENESS_TIMEOUT, "its Hello is not taken yet");
    b.input(Input::Sent { bytes: answer.len() - 50 });
    assert_eq!(b.deadline, Instant::ZERO + KEEPALIVE_INTERVAL);
}

#[test]
fn progress_is_told_once_a_second() {
    let (mut a, mut b) = usual();
    a.request(1, 0);
    pump(&mut a, &mut b, || usize::MAX);
    b.serve(1, 0);
    b.answer_read(CHUNK_BYTES, 0, BytesMut::new());
    let bytes = b.take_sent();
    for part in bytes.chunks(bytes.len() / 40) {
        a.receive(part);
        a.now = a.now + SECOND / 4;
    }
    let told: Vec<usize> = a
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Progress { bytes, .. } => Some(*bytes),
            _ => None,
        })
        .collect();
    // Ten seconds pass. Parts of records count: on a slow wire one takes longer than a silence.
    assert!((8..=10).contains(&told.len()), "{told:?}");
    assert!(told.is_sorted() && told[0] < 48 * 1024, "{told:?}");
    assert!(matches!(a.events.last(), Some(Event::Chunk { .. })));
}

#[test]
fn the_first_bytes_of_a_chunk_are_told_at_once_after_a_silence() {
    let (mut a, mut b) = usual();
    a.request(1, 0);
    pump(&mut a, &mut b, || usize::MAX);
    b.serve(1, 0);
    b.answer_read(CHUNK_BYTES, 0, BytesMut::new());
    let mut bytes = b.take_sent();
    // Half a minute passes until the first record and a little more have come, as over a relay
    // whose wire carries a few kB/s; the next record takes as long.
    a.now = a.now + SECOND * 25;
    let rest = bytes.split_off(READ_BYTES / 3);
    a.receive(&bytes);
    let told = |a: &Peer| {
        let is_progress = |event: &&Event| matches!(event, Event::Progress { .. });
        a.events.iter().filter(is_progress).count()
    };
    assert_eq!(told(&a), 1, "slow is not dead");
    a.receive(&rest);
    assert_eq!(told(&a), 1);
    assert!(matches!(a.events.last(), Some(Event::Chunk { .. })));
}

#[test]
fn time_never_goes_backwards() {
    let (mut a, _) = usual();
    a.wait(SECOND * 14);
    let deadline = a.deadline;
    a.now = Instant::ZERO;
    a.input(Input::Tick);
    assert_eq!(a.deadline, deadline);
}
