//! Boundaries between two peers: which of them a chunk is asked of, exactly beside the point at
//! which it changes.

use alloc::vec;

use super::behaviour::{Hand, ONE, TWO};
use super::*;

// Spec P20
#[test]
fn what_our_disk_refused_of_one_peer_may_still_come_from_another() {
    let mut hand = Hand::new(2, Order::Rarest);
    assert_eq!(hand.join(ONE), [(1, 0)]);
    assert_eq!(hand.join(TWO), [(2, 1)]);
    hand.prove(TWO, 1);
    hand.pass(2);
    assert_eq!(hand.requests(Input::Tick), [(2, 0)]);
    hand.put(Input::Arrived(ONE, 0, CHUNK_BYTES));
    assert_eq!(hand.put(Input::StoreFailed(ONE, 0)), (vec![], vec![]));
    assert_eq!(hand.download.deadlines.get(&Wake::Retry(0)), None);
    hand.put(Input::Arrived(TWO, 0, CHUNK_BYTES));
    assert_eq!(hand.put(Input::Stored(TWO, 0)).1, [Event::Got(0), Event::Complete]);
}

// Spec P22
#[test]
fn a_copy_is_asked_for_only_where_it_comes_sooner_by_a_quarter() {
    let at = |millis: u64| Instant::from_nanos(millis * MILLI);
    for (millis, asked) in [(2_500, false), (2_501, true)] {
        let mut hand = Hand::new(3, Order::Rarest);
        assert_eq!(hand.join(ONE), [(1, 0)]);
        assert_eq!(hand.join(TWO), [(2, 1)]);
        hand.now = at(90);
        assert_eq!(hand.prove(TWO, 1), [(2, 2)]);
        // The second one takes two seconds: that is what the next one will take.
        hand.now = at(2_090);
        assert_eq!(hand.prove(TWO, 2), []);
        hand.now = at(millis);
        let requests = hand.requests(Input::Tick);
        assert_eq!(requests == [(2, 0)], asked, "ONE was asked {millis} ms ago");
    }
}

// Spec P8
#[test]
fn a_chunk_that_is_wanted_again_counts_those_who_have_it() {
    let mut hand = Hand::new(1, Order::Rarest);
    assert_eq!(hand.join(ONE), [(1, 0)]);
    hand.put(Input::Allowed(false));
    for link in [TWO, LinkId(3)] {
        hand.put(Input::PeerJoined(link));
    }
    hand.put(Input::PeerHas(TWO, 0, vec![0x80]));
    hand.put(Input::PeerLeft(ONE));
    assert_eq!(hand.download.wanted.key(0), Some(0), "TWO has everything that there is");
    let mut hand = Hand::new(2, Order::Rarest);
    assert_eq!(hand.join(ONE), [(1, 0)]);
    hand.put(Input::Allowed(false));
    for link in [TWO, LinkId(3)] {
        hand.put(Input::PeerJoined(link));
    }
    hand.put(Input::PeerHas(TWO, 0, vec![0x80]));
    hand.put(Input::PeerLeft(ONE));
    assert_eq!(hand.download.wanted.key(0), Some(1));
}

// Spec P16b
#[test]
fn a_silent_peer_is_not_dropped_where_nobody_delivers() {
    for proven in [false, true] {
        let mut hand = Hand::new(9, Order::Rarest);
        hand.join(ONE);
        match proven {
            // Both are silent; the other one has delivered something before.
            true => {
                hand.join(TWO);
                hand.prove(TWO, 1);
            }
            // The other one has nothing, and is never asked.
            false => drop(hand.put(Input::PeerJoined(TWO))),
        }
        for _ in 0..400 {
            hand.pass(1);
            assert_eq!(hand.put(Input::Tick).1, []);
        }
        assert!(hand.download.peers[&ONE].strikes >= 3);
    }
}

/// ONE was asked for the only chunk at 0, and TWO, which has it, is idle and copies nothing.
fn a_silent_peer_and_an_idle_one() -> Hand {
    let mut hand = Hand::new(1, Order::Rarest);
    hand.download.copies_made = 1_000;
    assert_eq!(hand.join(ONE), [(1, 0)]);
    assert_eq!(hand.join(TWO), []);
    hand
}

// Spec P22b
#[test]
fn who_is_silent_makes_way_after_five_seconds_times_one_and_its_strikes() {
    for (silent, idle, millis, makes_way) in [
        (0, 0, 4_999, false),
        (0, 0, 5_000, true),
        (1, 0, 9_999, false),
        (1, 0, 10_000, true),
        (1, 1, 9_999, false),
        (1, 1, 10_000, true),
        (0, 1, 10_000, false),
    ] {
        let mut hand = a_silent_peer_and_an_idle_one();
        hand.download.peers.get_mut(&ONE).unwrap().strikes = silent;
        hand.download.peers.get_mut(&TWO).unwrap().strikes = idle;
        hand.now = Instant::from_nanos(millis * MILLI);
        let (transmits, _) = hand.put(Input::Allowed(true));
        let moved = [Transmit::Cancel(ONE, 0), Transmit::Request(TWO, 0)];
        assert_eq!(transmits == moved, makes_way, "{silent} {idle} {millis}: {transmits:?}");
        assert_eq!(transmits.is_empty(), !makes_way);
    }
}

// Spec P22b
#[test]
fn nobody_makes_way_for_one_that_does_not_help() {
    let mut hand = a_silent_peer_and_an_idle_one();
    hand.pass(20);
    hand.download.flights.get_mut(&0).unwrap().storing = 1;
    assert_eq!(hand.put(Input::Allowed(true)).0, [], "a copy of it has come");
    hand.download.flights.get_mut(&0).unwrap().storing = 0;
    hand.download.peers.get_mut(&TWO).unwrap().lacking.insert(0);
    assert_eq!(hand.put(Input::Allowed(true)).0, [], "it does not have it");
    hand.download.peers.get_mut(&TWO).unwrap().lacking.clear();
    hand.download.flights.get_mut(&0).unwrap().askers.push((TWO, 99));
    assert_eq!(hand.put(Input::Allowed(true)).0, [], "it was asked itself");
    hand.download.flights.get_mut(&0).unwrap().askers.pop();
    assert_eq!(hand.put(Input::Allowed(true)).0.len(), 2);
}

// Spec P22b
#[test]
fn an_idle_peer_looks_again_when_the_first_silence_is_too_long() {
    let mut hand = a_silent_peer_and_an_idle_one();
    let looks = |hand: &Hand| hand.download.deadlines.get(&Wake::Endgame).unwrap().as_nanos();
    assert_eq!(looks(&hand), 5 * SECOND);
    hand.now = Instant::from_nanos(SECOND);
    hand.put(Input::Progress(ONE, 0));
    hand.put(Input::Allowed(true));
    assert_eq!(looks(&hand), 5 * SECOND, "sooner is planned already");
    hand.now = Instant::from_nanos(5 * SECOND);
    assert_eq!(hand.put(Input::Tick).0, []);
    assert_eq!(looks(&hand), 6 * SECOND);
    // What a limit of ours held back counts from when it was lifted.
    hand.put(Input::Allowed(false));
    hand.put(Input::Allowed(true));
    hand.now = Instant::from_nanos(6 * SECOND);
    assert_eq!(hand.put(Input::Tick).0, []);
    assert_eq!(looks(&hand), 10 * SECOND);
    // A struck peer is waited for longer; a new one has to wait no longer than the others.
    hand.download.deadlines.set(Wake::Endgame, Instant::from_nanos(90 * SECOND));
    hand.put(Input::Allowed(true));
    assert_eq!(looks(&hand), 10 * SECOND);
    hand.now = Instant::from_nanos(9_900 * MILLI);
    hand.download.deadlines.set(Wake::Endgame, Instant::from_nanos(90 * SECOND));
    hand.put(Input::Allowed(true));
    assert_eq!(looks(&hand), 10_150 * MILLI, "not more often than four times a second");
}

// Spec P20
#[test]
fn the_pause_after_a_full_disk_is_kept_whatever_else_ends() {
    let mut hand = Hand::new(1, Order::Rarest);
    hand.join(ONE);
    hand.put(Input::Arrived(ONE, 0, CHUNK_BYTES));
    hand.put(Input::StoreFailed(ONE, 0));
    for why in [Unavailable::NotHad, Unavailable::ReadFailed] {
        assert_eq!(hand.requests(Input::Unavailable(TWO, 0, why)), []);
        assert_eq!(hand.download.wanted.key(0), None);
    }
}

// Spec P9, P19
#[test]
fn what_was_not_asked_changes_nothing_when_it_is_not_had() {
    let mut hand = Hand::new(10, Order::Sequential { window: 3 });
    assert_eq!(hand.join(ONE), [(1, 0)]);
    for why in [Unavailable::NotHad, Unavailable::ReadFailed] {
        for chunk in [2, 3, 4, 9, 10, u64::MAX] {
            assert_eq!(hand.put(Input::Unavailable(ONE, chunk, why)), (vec![], vec![]));
            let key = hand.download.wanted.key(chunk);
            assert_eq!(key, (chunk == 2).then_some(0), "{chunk} is not due");
        }
    }
    assert!(hand.download.peers[&ONE].lacking.is_empty());
}

// Spec P17
#[test]
fn a_lone_peer_is_asked_again_for_what_it_passed_over() {
    let mut hand = Hand::new(100, Order::Rarest);
    hand.join(ONE);
    hand.prove(ONE, 0);
    let later = hand.now + Duration::from_nanos(1);
    hand.pass(30);
    hand.download.now = hand.now;
    hand.download.take_overtaken(ONE, later);
    assert_eq!(hand.download.request_of(ONE, 1), None);
    assert_eq!(hand.download.wanted.key(1), Some(0));
    assert!(hand.download.peers[&ONE].lacking.is_empty());
}

/// A seeder that has six requests open and brings two chunks a second, and TWO, which has chunk 40
/// and so many after it, and has needed so long for the first of them.
fn a_seeder_and_a_partial_peer(order: Order, bits: &[u8], millis: u64) -> Hand {
    let mut hand = Hand::new(100, order);
    hand.join(ONE);
    for chunk in 0..4 {
        hand.now = hand.now + Duration::from_millis(490);
        hand.prove(ONE, chunk);
    }
    assert_eq!(hand.download.peers[&ONE].requests.len(), 6);
    hand.put(Input::PeerJoined(TWO));
    let asked = hand.requests(Input::PeerHas(TWO, 40, bits.to_vec()));
    let [(2, first)] = asked[..] else { panic!("{asked:?}") };
    hand.now = hand.now + Duration::from_millis(millis - 10);
    hand.prove(TWO, first);
    hand
}

// Spec P26
#[test]
fn a_chunk_does_not_move_from_a_partial_peer_nor_from_a_seeder_to_itself() {
    let mut hand = a_seeder_and_a_partial_peer(Order::Rarest, &[0xFF], 10);
    let (transmits, _) = hand.put(Input::PeerHas(ONE, 8, vec![0b0100_0000]));
    assert_eq!(transmits, []);
    // ONE has eleven chunks alone.
    let mut hand = Hand::new(100, Order::Rarest);
    hand.put(Input::PeerJoined(ONE));
    assert_eq!(hand.requests(Input::PeerHas(ONE, 0, vec![0xFF, 0xE0])), [(1, 0)]);
    for chunk in 0..4 {
        hand.now = hand.now + Duration::from_millis(490);
        hand.prove(ONE, chunk);
    }
    hand.put(Input::PeerJoined(TWO));
    let asked = hand.requests(Input::PeerHas(TWO, 40, vec![0xFF]));
    hand.prove(TWO, asked[0].1);
    assert!(hand.download.request_of(ONE, 9).is_some());
    let (transmits, _) = hand.put(Input::PeerHas(TWO, 8, vec![0b0100_0000]));
    assert!(!transmits.contains(&Transmit::Cancel(ONE, 9)), "at most a copy: {transmits:?}");
}

// Spec P26
#[test]
fn a_chunk_moves_to_whoever_brings_it_sooner_by_a_quarter_and_has_room() {
    // Chunk 9 is the sixth there: three seconds. TWO has two open: 9 would be its third.
    let cases: [(&[u8], u64, bool); 4] = [
        (&[0b1110_0000], 800, false),
        (&[0b1110_0000], 799, true),
        (&[0xFF], 10, true),
        (&[0xFF, 0xFF], 10, false),
    ];
    for (bits, millis, moves) in cases {
        let mut hand = a_seeder_and_a_partial_peer(Order::Rarest, bits, millis);
        let (transmits, _) = hand.put(Input::PeerHas(TWO, 8, vec![0b0100_0000]));
        assert_eq!(transmits.contains(&Transmit::Cancel(ONE, 9)), moves, "{bits:?} {millis}");
        assert_eq!(transmits.contains(&Transmit::Request(TWO, 9)), moves);
    }
}

// Spec P26
#[test]
fn a_chunk_moves_where_the_rarest_come_first_and_not_where_they_come_in_order() {
    for (order, moves) in [(Order::Rarest, true), (Order::Sequential { window: 100 }, false)] {
        let mut hand = a_seeder_and_a_partial_peer(order, &[0xFF], 10);
        let (transmits, _) = hand.put(Input::PeerHas(TWO, 8, vec![0b0100_0000]));
        assert_eq!(transmits.contains(&Transmit::Cancel(ONE, 9)), moves, "{order:?}");
    }
}
