//! Where exactly one behaviour ends and the next begins: times, counts and sums.

use alloc::vec;

use super::behaviour::{Hand, ONE, TWO};
use super::*;
use crate::download::peers::{Has, Peer};
use crate::limits::{
    ENDGAME_INTERVAL, MAX_DROPPED_LINKS, MAX_LACKING_CHUNKS, MAX_PEERS_PER_DOWNLOAD,
    MAX_SILENT_STRIKES, SILENT_REST, STORE_BACKLOG_BYTES,
};

const MIB: u64 = 1 << 20;

fn deadline(hand: &Hand, wake: Wake) -> Option<Duration> {
    Some(hand.download.deadlines.get(&wake)?.since(hand.now))
}

fn peer(hand: &mut Hand, link: LinkId) -> &mut Peer {
    hand.download.peers.get_mut(&link).unwrap()
}

#[test]
fn the_size_of_chunks_rises_at_once_and_sinks_by_a_sixteenth() {
    let mut hand = Hand::new(100, Order::Rarest);
    hand.put(Input::MeanChunkBytes(1_000));
    assert_eq!(hand.download.chunk_bytes(), 1_000);
    hand.join(ONE);
    for (bytes, expected) in [(1_600, 1_600), (3_200, 3_200), (0, 3_200 - 199), (9, 3_001 - 187)] {
        hand.put(Input::Arrived(ONE, 7, bytes));
        assert_eq!(hand.download.chunk_bytes(), expected);
    }
    hand.put(Input::MeanChunkBytes(0));
    assert_eq!(hand.download.chunk_bytes(), 1);
    hand.put(Input::MeanChunkBytes(u64::MAX));
    assert_eq!(hand.download.chunk_bytes(), CHUNK);
}

#[test]
fn an_answer_renews_the_patience_and_a_cancel_does_not() {
    let mut hand = Hand::new(100, Order::Rarest);
    hand.join(ONE);
    hand.prove(ONE, 0);
    assert_eq!(deadline(&hand, Wake::Silent(ONE)), Some(REQUEST_TIMEOUT));
    hand.pass(20);
    hand.put(Input::Unavailable(ONE, 1, Unavailable::NotHad));
    assert_eq!(deadline(&hand, Wake::Silent(ONE)), Some(REQUEST_TIMEOUT));
    hand.pass(20);
    hand.put(Input::Tick);
    let number = hand.download.request_of(ONE, 2).unwrap();
    hand.download.end_request(ONE, number, End::Cancelled);
    assert_eq!(deadline(&hand, Wake::Silent(ONE)), Some(Duration::from_secs(10)));
    hand.put(Input::Progress(ONE, 3));
    assert_eq!(deadline(&hand, Wake::Silent(ONE)), Some(REQUEST_TIMEOUT));
    hand.put(Input::PeerHas(ONE, 0, vec![]));
    hand.put(Input::Unavailable(ONE, 0, Unavailable::Withdrawn));
    assert_eq!(deadline(&hand, Wake::Silent(ONE)), None, "nothing is open");
}

#[test]
fn books_are_even_when_nothing_is_open() {
    let mut hand = Hand::new(100, Order::Rarest);
    hand.join(ONE);
    hand.prove(ONE, 0);
    let open = peer(&mut hand, ONE).requests.len() as u64;
    assert_eq!(hand.download.requested_bytes, open * CHUNK);
    hand.put(Input::Arrived(ONE, 1, CHUNK_BYTES));
    hand.put(Input::Arrived(ONE, 1, CHUNK_BYTES));
    assert_eq!((hand.download.storing_bytes, peer(&mut hand, ONE).storing), (CHUNK, 1));
    hand.put(Input::StoreFailed(ONE, 1));
    hand.put(Input::StoreFailed(ONE, 1));
    assert_eq!((hand.download.storing_bytes, peer(&mut hand, ONE).storing), (0, 0));
    hand.put(Input::PeerLeft(ONE));
    assert_eq!((hand.download.requested_bytes, hand.download.storing_bytes), (0, 0));
    assert!(hand.download.flights.values().all(|flight| flight.askers.is_empty()));
}

#[test]
fn one_request_more_fits_exactly_or_waits() {
    let mut hand = Hand::new(100, Order::Rarest);
    hand.join(ONE);
    let most = MAX_OUTSTANDING_BYTES;
    let room = [(0, 0, true), (most - CHUNK, 0, true), (most - CHUNK + 1, 0, false)];
    let slow_disk = [(0, STORE_BACKLOG_BYTES, true), (0, STORE_BACKLOG_BYTES + 1, false)];
    let busy = [(5 * MIB, 5 * MIB, true), (5 * MIB, 5 * MIB + 1, false)];
    for (requested, storing, fits) in room.into_iter().chain(slow_disk).chain(busy) {
        hand.download.requested_bytes = requested;
        hand.download.storing_bytes = storing;
        assert_eq!(hand.download.has_room(CHUNK), fits, "{requested} {storing}");
    }
    (hand.download.requested_bytes, hand.download.storing_bytes) = (0, 0);
    assert!(hand.download.has_room(2 * most), "one is always asked for");
}

#[test]
fn how_many_requests_a_peer_may_have() {
    let mut one = Peer::new(Instant::ZERO, 9);
    assert_eq!(one.limit(CHUNK), 1);
    one.storing = 1;
    assert_eq!(one.limit(CHUNK), 0, "what it sent is not proven yet");
    one.proven = true;
    one.delivered(Instant::from_nanos(1), None);
    assert_eq!(one.limit(CHUNK), one.pipeline.window(CHUNK));
    let mark = one.pipeline.ask(Instant::ZERO, 0, CHUNK);
    one.delivered(Instant::from_nanos(10 * MILLI), Some(mark));
    assert!(one.limit(CHUNK) > 1);
    one.strikes = 1;
    assert_eq!(one.limit(CHUNK), 1);
    one.resting = true;
    assert_eq!(one.limit(CHUNK), 0);
    one.delivered(Instant::from_nanos(20 * MILLI), None);
    assert_eq!((one.strikes, one.progress_at), (0, Instant::from_nanos(20 * MILLI)));
    assert_eq!(one.queue_time(Instant::from_nanos(20 * MILLI)), 10 * MILLI, "its delay");
    assert_eq!(one.queue_time(Instant::from_nanos(70 * MILLI)), 50 * MILLI, "its silence");
}

#[test]
fn who_lacks_too_much_rests_and_is_asked_again() {
    let mut hand = Hand::new(1_000, Order::Rarest);
    hand.join(ONE);
    let most = MAX_LACKING_CHUNKS as u64;
    let now = hand.now;
    (1..most).for_each(|chunk| hand.download.lacks(ONE, chunk, now + REQUEST_TIMEOUT));
    assert!(!peer(&mut hand, ONE).resting);
    assert!(!peer(&mut hand, ONE).offers(1) && peer(&mut hand, ONE).offers(most));
    hand.download.lacks(ONE, most, Instant::NEVER);
    assert!(peer(&mut hand, ONE).resting);
    assert_eq!(deadline(&hand, Wake::Rested(ONE)), Some(UNAVAILABLE_RETRY));
    hand.pass(5);
    hand.download.lacks(ONE, most + 1, Instant::NEVER);
    let left = UNAVAILABLE_RETRY.saturating_sub(Duration::from_secs(5));
    assert_eq!(deadline(&hand, Wake::Rested(ONE)), Some(left), "no longer than it was");
    hand.pass(5);
    hand.put(Input::Tick);
    assert!(!peer(&mut hand, ONE).resting && peer(&mut hand, ONE).lacking.is_empty());
    assert_eq!(deadline(&hand, Wake::Lacking(ONE, 1)), None);
}

#[test]
fn a_request_is_passed_over_after_thirty_seconds_and_by_a_later_one_alone() {
    for (seconds, asked_later, taken) in [(29, true, false), (30, true, true), (30, false, false)] {
        let mut hand = Hand::new(100, Order::Rarest);
        hand.join(ONE);
        hand.put(Input::PeerJoined(TWO));
        hand.prove(ONE, 0);
        let asked_at = hand.now + Duration::from_nanos(u64::from(asked_later));
        hand.pass(seconds);
        hand.download.now = hand.now;
        hand.download.take_overtaken(ONE, asked_at);
        assert_eq!(hand.download.request_of(ONE, 1).is_none(), taken, "{seconds} {asked_later}");
        assert_eq!(peer(&mut hand, ONE).lacking.contains(&1), taken);
        let lacks = taken.then_some(REQUEST_TIMEOUT);
        assert_eq!(deadline(&hand, Wake::Lacking(ONE, 1)), lacks);
    }
}

#[test]
fn peers_and_dropped_links_are_bounded() {
    let mut hand = Hand::new(9, Order::Rarest);
    for link in 0..=MAX_PEERS_PER_DOWNLOAD as u64 {
        hand.put(Input::PeerJoined(LinkId(link)));
    }
    assert_eq!(hand.download.peers.len(), MAX_PEERS_PER_DOWNLOAD);
    for link in 0..=MAX_DROPPED_LINKS as u64 {
        hand.download.drop_peer(LinkId(link), DropReason::Silent);
    }
    assert!(hand.download.dropped.iter().copied().eq((1..=1_024).map(LinkId)), "the oldest goes");
    assert!(hand.put(Input::PeerJoined(ONE)).0.is_empty() && hand.download.peers.is_empty());
}

#[test]
fn a_have_set_counts_each_chunk_once_and_stops_counting_when_it_goes() {
    let mut hand = Hand::new(16, Order::Rarest);
    hand.put(Input::Allowed(false));
    hand.put(Input::PeerJoined(ONE));
    hand.put(Input::PeerJoined(TWO));
    for bits in [vec![0b1010_0000], vec![0b1000_0000]] {
        hand.put(Input::PeerHas(ONE, 8, bits));
    }
    hand.put(Input::PeerHas(TWO, 8, vec![0b1000_0000]));
    let keys = |hand: &Hand| [8, 9, 10].map(|chunk| hand.download.wanted.key(chunk));
    assert_eq!(keys(&hand), [Some(2), Some(0), Some(1)]);
    hand.put(Input::PeerHasAll(TWO));
    assert_eq!(keys(&hand), [Some(1), Some(0), Some(1)]);
    hand.put(Input::Unavailable(ONE, 0, Unavailable::Withdrawn));
    assert_eq!(keys(&hand), [Some(0), Some(0), Some(0)]);
    hand.put(Input::PeerHas(ONE, 0, vec![0xFF, 0xFE]));
    assert!(matches!(peer(&mut hand, ONE).has, Has::Some(_, 15, _)));
    hand.put(Input::PeerHas(ONE, 15, vec![0x80]));
    assert!(matches!(peer(&mut hand, ONE).has, Has::All), "as good as a seeder");
    assert_eq!(keys(&hand), [Some(0), Some(0), Some(0)]);
}

#[test]
fn a_copy_is_asked_for_when_it_comes_clearly_sooner_and_else_later() {
    for (silent_millis, copied) in [(1_250, false), (1_251, true)] {
        let mut hand = Hand::new(1, Order::Rarest);
        assert_eq!(hand.join(ONE), [(1, 0)]);
        hand.now = Instant::from_nanos(silent_millis * MILLI);
        let copies = if copied { vec![(2, 0)] } else { vec![] };
        assert_eq!(hand.join(TWO), copies, "an unknown peer is thought to take a second");
        let look = (!copied).then_some(ENDGAME_INTERVAL);
        assert_eq!(deadline(&hand, Wake::Endgame), look);
        assert_eq!(hand.download.copies, usize::from(copied));
        hand.put(Input::PeerLeft(TWO));
        assert_eq!(hand.download.copies, 0);
    }
}

#[test]
fn copies_are_bounded_at_once_and_in_all() {
    for (open, made, copied) in [(15, 0, true), (16, 0, false), (0, 17, true), (0, 18, false)] {
        let mut hand = Hand::new(128, Order::Rarest);
        let all_but_last = Config {
            chunks: 128,
            have: ChunkSet { bits: vec![0xFF; 15].into_iter().chain([0xFE]).collect(), len: 128 },
            order: Order::Rarest,
        };
        hand.download = Download::beginning_at(Instant::ZERO, 0, all_but_last);
        assert_eq!(hand.join(ONE), [(1, 127)]);
        hand.pass(2);
        hand.download.copies = open;
        hand.download.copies_made = made;
        let copies = if copied { vec![(2, 127)] } else { vec![] };
        assert_eq!(hand.join(TWO), copies, "{open} {made}");
    }
}

#[test]
fn what_our_disk_refused_is_tried_again_if_it_is_due_and_nobody_else_brings_it() {
    let mut hand = Hand::new(100, Order::Sequential { window: 3 });
    hand.join(ONE);
    hand.put(Input::Arrived(ONE, 2, CHUNK_BYTES));
    hand.put(Input::StoreFailed(ONE, 2));
    assert_eq!(deadline(&hand, Wake::Retry(2)), Some(STORE_RETRY));
    hand.put(Input::Unavailable(ONE, 2, Unavailable::NotHad));
    assert_eq!(hand.download.wanted.key(2), None, "not before its time");
    assert!(peer(&mut hand, ONE).lacking.is_empty(), "it was not asked");
    hand.download.release(3);
    assert_eq!(hand.download.wanted.key(3), None);
    // Somebody else is at it.
    let mut hand = Hand::new(1, Order::Rarest);
    hand.join(ONE);
    hand.put(Input::PeerJoined(TWO));
    hand.put(Input::Arrived(TWO, 0, CHUNK_BYTES));
    hand.put(Input::StoreFailed(TWO, 0));
    assert_eq!(deadline(&hand, Wake::Retry(0)), None);
    assert!(hand.download.flights.contains_key(&0));
}

#[test]
fn a_chunk_that_is_wanted_again_is_as_rare_as_before() {
    for (order, key) in [(Order::Rarest, 2), (Order::Sequential { window: 9 }, 0)] {
        let mut hand = Hand::new(8, order);
        hand.put(Input::Allowed(false));
        for link in [ONE, TWO] {
            hand.put(Input::PeerJoined(link));
            hand.put(Input::PeerHas(link, 0, vec![0x80]));
        }
        hand.put(Input::PeerJoined(LinkId(3)));
        hand.put(Input::PeerHas(LinkId(3), 0, vec![0x40]));
        hand.download.wanted.unwant(0);
        hand.download.want(0);
        assert_eq!(hand.download.wanted.key(0), Some(key));
    }
}

#[test]
fn a_silent_peer_is_dropped_only_where_a_proven_one_is_left() {
    for (proven, strikes, drops) in [(false, 0, false), (true, 1, false), (true, 0, true)] {
        let mut hand = Hand::new(9, Order::Rarest);
        hand.join(ONE);
        hand.put(Input::PeerJoined(TWO));
        let other = peer(&mut hand, TWO);
        (other.proven, other.strikes) = (proven, strikes);
        peer(&mut hand, ONE).strikes = MAX_SILENT_STRIKES - 1;
        hand.download.silent(ONE);
        assert_eq!(hand.download.dropped.contains(&ONE), drops, "{proven} {strikes}");
        let rest = SILENT_REST * MAX_SILENT_STRIKES;
        assert_eq!(deadline(&hand, Wake::Rested(ONE)), (!drops).then_some(rest));
    }
}

#[test]
fn a_lone_peer_that_passed_a_request_over_is_asked_again() {
    let mut hand = Hand::new(100, Order::Rarest);
    hand.join(ONE);
    hand.prove(ONE, 0);
    hand.pass(30);
    hand.download.now = hand.now;
    let later = hand.now;
    hand.download.take_overtaken(ONE, later);
    assert!(peer(&mut hand, ONE).lacking.is_empty());
    assert_eq!(hand.download.wanted.key(1), Some(0));
}
