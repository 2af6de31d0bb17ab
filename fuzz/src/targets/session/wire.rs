//! Two honest sessions, and somebody on the wire.

use std::time::Duration;

use bytes::BytesMut;
use towpath_core::close::{CloseReason, LocalClose};
use towpath_core::crypto::public_key;
use towpath_core::session::{Command, Input, Role, Suite};

use super::{ONE, TWO, Watched, config};
use crate::targets::feed::Feed;

/// Where what arrived is first something else than what was sent.
fn spoilt_at(from: &Watched, to: &Watched) -> Option<usize> {
    let sent = from.ever_sent.iter().map(Some).chain(std::iter::repeat(None));
    to.received.iter().map(Some).zip(sent).position(|(is, was)| is != was)
}

/// Two honest sessions, and somebody on the wire who cuts, changes, inserts and drops bytes. Who is
/// established has heard nothing but the truth from the other.
pub fn session_wire(data: &[u8]) {
    let mut feed = Feed::new(data);
    let kinds = feed.u8();
    let suite = if kinds & 1 == 0 { Suite::ChaChaPoly } else { Suite::AesGcm };
    let knows = kinds & 2 == 0;
    let right_key = !knows || kinds & 12 != 12;
    let remote = knows.then(|| public_key(if right_key { &TWO } else { &[9; 32] }));
    let (accept_strangers, accept_aes) = (kinds & 16 == 0, kinds & 32 == 0);
    let same_binding = kinds & 192 != 192;
    let binding: &[u8] = if same_binding { b"tls" } else { b"" };
    let first = Role::Initiator { remote, suite };
    let second = Role::Responder { accept_strangers, accept_aes };
    let mut sides = [
        Watched::new(config(first, 11, ONE, b"tls")),
        Watched::new(config(second, 22, TWO, binding)),
    ];
    let mut quiet = true;
    while !feed.is_empty() {
        let op = feed.u8();
        let from = usize::from(op >> 7);
        quiet &= act(&mut feed, op & 15, &mut sides, from);
    }
    for _ in 0..4 {
        for from in 0..2 {
            carry(&mut sides, from, usize::MAX);
        }
    }
    // Bytes before the end of the handshake, and of the `Hello` behind it.
    let lengths = if knows { [106, 50] } else { [108, 98] };
    let hello = [lengths[0] + 35, lengths[1] + 35];
    let spoilt = [spoilt_at(&sides[0], &sides[1]), spoilt_at(&sides[1], &sides[0])];
    let spoilt_before = |from: usize, end: usize| spoilt[from].is_some_and(|at| at < end);
    let compatible = right_key
        && same_binding
        && (knows || accept_strangers)
        && (suite == Suite::ChaChaPoly || accept_aes);
    let handshake_is_true =
        compatible && !spoilt_before(0, lengths[0]) && !spoilt_before(1, lengths[1]);
    for (side, watched) in sides.iter().enumerate() {
        let other = 1 - side;
        let heard_the_truth = handshake_is_true && !spoilt_before(other, hello[other]);
        assert!(watched.established.is_none() || heard_the_truth, "side {side} was fooled");
    }
    if quiet && compatible && spoilt == [None, None] {
        let met = sides.each_ref().map(|side| side.established.expect("nothing was in the way"));
        assert_eq!((met[0].0, met[1].0), (public_key(&TWO), public_key(&ONE)));
        assert_eq!((met[0].1, met[1].1), (22, 11));
        assert_eq!(met[0].2, met[1].2);
        assert!(sides.iter().all(|side| side.closed.is_none()));
    }
}

/// One thing that happens on the wire; false if it may end a session, or lose the rest.
fn act(feed: &mut Feed<'_>, op: u8, sides: &mut [Watched; 2], from: usize) -> bool {
    let waiting = &mut sides[from].sent;
    match op {
        0 => carry(sides, from, usize::MAX),
        1..=4 => {
            let most = usize::from(feed.u8());
            carry(sides, from, most);
        }
        5 | 6 => {
            let change = feed.u8();
            if let Some(byte) = waiting.front_mut() {
                *byte ^= change;
            }
        }
        7 => {
            let more = feed.bytes8();
            sides[1 - from].receive(more);
        }
        8 => {
            waiting.pop_front();
            return false;
        }
        9 => {
            sides[1 - from].input(Input::Ended(feed.bool().then(|| "cut".into())));
            return false;
        }
        10 | 11 => {
            sides[from].tick(Duration::from_millis(u64::from(feed.u16())));
            return false;
        }
        12 => sides[from].input(Input::Command(Command::Recycle(BytesMut::new()))),
        13 => {
            let reason = CloseReason::Local(LocalClose::Stopped);
            sides[from].input(Input::Command(Command::Close(reason)));
            return false;
        }
        _ => {
            let most = usize::from(feed.u16());
            sides[from].confirm(most);
        }
    }
    true
}

/// Carries what waits to the other side.
fn carry(sides: &mut [Watched; 2], from: usize, most: usize) {
    let count = most.min(sides[from].sent.len());
    let bytes: Vec<u8> = sides[from].sent.drain(..count).collect();
    sides[1 - from].receive(&bytes);
}

pub(in crate::targets) fn seeds() -> Vec<Vec<u8>> {
    vec![
        vec![0, 0, 0x80, 0, 0x80],
        vec![3, 1, 7, 1, 1, 4, 200, 0x81, 1, 0x83, 200],
        vec![0, 5, 1, 0],
        vec![2, 7, 5, 71, 69, 84, 32, 47],
        vec![0x12, 0, 0x80],
        vec![0x21, 0, 0x80],
        vec![0x0C, 0, 0x80],
        vec![0, 0, 0x87, 7, 0, 0, 0x8E, 0x54, 0x6F, 0x77, 3],
        vec![0, 10, 0x13, 0x88, 0x8A, 0xFF, 0xFF],
        vec![2, 0, 0x80, 0, 0x88, 0x80, 0x89, 1],
    ]
}
