//! What a download does, one behaviour a test.

use alloc::vec;

use super::*;
use crate::rng::Rng;

pub(super) const ONE: LinkId = LinkId(1);
pub(super) const TWO: LinkId = LinkId(2);

/// A download under a test's own hand.
pub(super) struct Hand {
    pub(super) download: Download,
    pub(super) now: Instant,
}

impl Hand {
    pub(super) fn new(chunks: u64, order: Order) -> Self {
        let download = Download::beginning_at(Instant::ZERO, 0, config(chunks, order));
        Self { download, now: Instant::ZERO }
    }

    pub(super) fn put(&mut self, input: Input) -> (Vec<Transmit>, Vec<Event>) {
        self.download.handle_input(self.now, input);
        let (mut transmits, mut events) = (Vec::new(), Vec::new());
        loop {
            match self.download.poll_output() {
                Output::Transmit(transmit) => transmits.push(transmit),
                Output::Event(event) => events.push(event),
                Output::Timeout(_) => return (transmits, events),
            }
        }
    }

    pub(super) fn requests(&mut self, input: Input) -> Vec<(u64, u64)> {
        let requests = self.put(input).0.into_iter();
        requests
            .filter_map(|transmit| match transmit {
                Transmit::Request(link, chunk) => Some((link.0, chunk)),
                Transmit::Cancel(..) | Transmit::TakeBack(..) => None,
            })
            .collect()
    }

    pub(super) fn join(&mut self, link: LinkId) -> Vec<(u64, u64)> {
        self.put(Input::PeerJoined(link));
        self.requests(Input::PeerHasAll(link))
    }

    /// A seeder that has proven itself with this chunk, which it was asked for.
    pub(super) fn prove(&mut self, link: LinkId, chunk: u64) -> Vec<(u64, u64)> {
        self.now = self.now + Duration::from_millis(10);
        self.put(Input::Arrived(link, chunk, CHUNK_BYTES));
        self.requests(Input::Stored(link, chunk))
    }

    pub(super) fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }
}

#[test]
fn an_empty_share_and_a_whole_one_are_complete_at_once() {
    let mut hand = Hand::new(0, Order::Rarest);
    assert_eq!(hand.put(Input::Tick).1, [Event::Complete]);
    assert_eq!(hand.join(ONE), []);
    let mut download = Download::new(Instant::ZERO, Rng::new([0; 32]), config(0, Order::Rarest));
    assert_eq!(download.poll_output(), Output::Event(Event::Complete));
    let whole = Config { chunks: 9, have: ChunkSet::full(9), order: Order::Rarest };
    let mut download = Download::new(Instant::ZERO, Rng::new([0; 32]), whole);
    assert_eq!(download.poll_output(), Output::Event(Event::Complete));
    assert_eq!(download.poll_output(), Output::Timeout(Instant::NEVER));
}

// Spec P10
#[test]
fn a_new_peer_is_asked_for_one_chunk_until_it_has_proven_it() {
    let mut hand = Hand::new(100, Order::Rarest);
    assert_eq!(hand.join(ONE), [(1, 0)]);
    hand.now = Instant::from_nanos(10 * MILLI);
    assert_eq!(hand.requests(Input::Arrived(ONE, 0, CHUNK_BYTES)), []);
    let (transmits, events) = hand.put(Input::Stored(ONE, 0));
    assert_eq!(events, [Event::Got(0)]);
    assert_eq!(transmits.len(), INITIAL_PIPELINE_CHUNKS);
}

// Spec P8
#[test]
fn the_rarest_comes_first_and_seeders_do_not_count() {
    let mut hand = Hand::new(6, Order::Rarest);
    hand.put(Input::PeerJoined(ONE));
    hand.put(Input::PeerJoined(TWO));
    hand.put(Input::Allowed(false));
    hand.put(Input::PeerHas(ONE, 0, vec![0b1110_0000]));
    hand.put(Input::PeerHas(TWO, 1, vec![0b1110_0000]));
    hand.put(Input::PeerJoined(LinkId(3)));
    hand.put(Input::PeerHasAll(LinkId(3)));
    let requests = hand.requests(Input::Allowed(true));
    // Chunks 4 and 5 are had by the seeder alone, 0 by one more, 1 and 2 by two more, 3 by one
    // more.
    assert_eq!(requests, [(1, 0), (2, 3), (3, 4)]);
}

// Spec P8
#[test]
fn equally_rare_chunks_are_asked_for_round_from_one_that_is_drawn() {
    let firsts = |seed| {
        let rng = Rng::new([seed; 32]);
        let download = Download::new(Instant::ZERO, rng, config(100, Order::Rarest));
        let mut hand = Hand { download, now: Instant::ZERO };
        let first = hand.join(ONE)[0].1;
        let mut all: Vec<u64> = hand.prove(ONE, first).iter().map(|(_, chunk)| *chunk).collect();
        let expected: Vec<u64> = (1..=all.len() as u64).map(|n| (first + n) % 100).collect();
        assert_eq!(all, expected);
        all.insert(0, first);
        all
    };
    assert_ne!(firsts(1), firsts(2), "two requesters that begin together can help each other");
}

// Spec P9
#[test]
fn a_sequential_download_stays_within_its_window() {
    let mut hand = Hand::new(100, Order::Sequential { window: 3 });
    assert_eq!(hand.join(ONE), [(1, 0)]);
    assert_eq!(hand.prove(ONE, 0), [(1, 1), (1, 2)]);
    assert_eq!(hand.prove(ONE, 2), []);
    assert_eq!(hand.requests(Input::Consumed(0)), [(1, 3)]);
    assert_eq!(hand.prove(ONE, 1), []);
    assert_eq!(hand.requests(Input::Consumed(2)), [(1, 4), (1, 5)]);
}

// Spec P15, P15b
#[test]
fn a_false_chunk_drops_its_sender_and_is_asked_elsewhere_at_once() {
    let mut hand = Hand::new(100, Order::Rarest);
    hand.join(ONE);
    hand.prove(ONE, 0);
    assert_eq!(hand.join(TWO), [(2, 9)]);
    hand.prove(TWO, 9);
    hand.put(Input::Arrived(ONE, 1, CHUNK_BYTES));
    hand.put(Input::Arrived(ONE, 2, CHUNK_BYTES));
    let (transmits, events) = hand.put(Input::False(ONE, 1, CHUNK_BYTES));
    assert_eq!(events, [Event::Dropped(ONE, DropReason::FalseChunk)]);
    assert!(transmits.contains(&Transmit::Cancel(ONE, 3)));
    assert!(!transmits.iter().any(|one| matches!(one, Transmit::Request(ONE, _))));
    // What it had sent before is good if it is good, and blamed on nobody again if not.
    assert_eq!(hand.put(Input::Stored(ONE, 2)).1, [Event::Got(2)]);
    assert_eq!(hand.join(ONE), [], "never again");
    assert_eq!(hand.requests(Input::Arrived(TWO, 10, CHUNK_BYTES)), [(2, 1)]);
}

// Spec P16
#[test]
fn a_lone_silent_peer_is_asked_again() {
    let mut hand = Hand::new(1, Order::Rarest);
    assert_eq!(hand.join(ONE), [(1, 0)]);
    hand.pass(29);
    assert_eq!(hand.put(Input::Progress(ONE, 0)).0, []);
    hand.pass(29);
    assert_eq!(hand.put(Input::Tick).0, []);
    hand.pass(1);
    let (transmits, events) = hand.put(Input::Tick);
    assert_eq!(transmits, [Transmit::TakeBack(ONE, 0), Transmit::Request(ONE, 0)]);
    assert_eq!(events, []);
}

// Spec P16
#[test]
fn a_peer_is_not_silent_while_our_own_limit_holds_requests_back() {
    let mut hand = Hand::new(2, Order::Rarest);
    hand.join(ONE);
    hand.put(Input::Allowed(false));
    for _ in 0..9 {
        hand.pass(30);
        assert_eq!(hand.put(Input::Tick), (vec![], vec![]));
    }
    hand.pass(30);
    assert_eq!(hand.put(Input::Tick).0, [Transmit::TakeBack(ONE, 0)]);
    assert_eq!(hand.requests(Input::Allowed(true)), [(1, 0)]);
}

// Spec P16, P16b
#[test]
fn a_silent_peer_among_others_rests_and_is_dropped_in_the_end() {
    let mut hand = Hand::new(1_000, Order::Rarest);
    hand.join(ONE);
    hand.prove(ONE, 0);
    assert_eq!(hand.join(TWO).len(), 1);
    let mut dropped = Vec::new();
    for second in 0..200 {
        hand.pass(1);
        let (_, events) = hand.put(Input::Tick);
        dropped.extend(events.into_iter().map(|event| (second, event)));
        let chunk = hand.download.peers[&ONE].requests.values().next().map(|one| one.chunk);
        if let Some(chunk) = chunk {
            hand.put(Input::Arrived(ONE, chunk, CHUNK_BYTES));
            hand.put(Input::Stored(ONE, chunk));
        }
    }
    // 30 s, 5 s of rest, 30 s, 10 s of rest, 30 s.
    let end = Event::Dropped(TWO, DropReason::Silent);
    assert_eq!(dropped, [(104, end)]);
}

// Spec P17
#[test]
fn a_request_that_is_passed_over_is_asked_elsewhere() {
    let mut hand = Hand::new(1_000, Order::Rarest);
    hand.join(ONE);
    hand.prove(ONE, 0);
    hand.put(Input::PeerJoined(TWO));
    for chunk in 2..40 {
        hand.pass(1);
        let (transmits, _) = hand.put(Input::Arrived(ONE, chunk, CHUNK_BYTES));
        if transmits.contains(&Transmit::TakeBack(ONE, 1)) {
            assert!(chunk >= 31, "{chunk}");
            assert!(!transmits.contains(&Transmit::Request(ONE, 1)));
            return;
        }
        hand.put(Input::Stored(ONE, chunk));
    }
    panic!("chunk 1 was never taken from the peer that ignores it");
}

// Spec P19
#[test]
fn what_a_peer_does_not_have_is_asked_elsewhere_and_later_of_it_if_it_says_so() {
    let mut hand = Hand::new(1, Order::Rarest);
    hand.join(ONE);
    assert_eq!(hand.requests(Input::Unavailable(ONE, 0, Unavailable::NotHad)), []);
    assert_eq!(hand.join(TWO), [(2, 0)]);
    hand.put(Input::PeerLeft(TWO));
    assert_eq!(hand.requests(Input::PeerHas(ONE, 0, vec![0x80])), [(1, 0)]);
    assert_eq!(hand.requests(Input::Unavailable(ONE, 0, Unavailable::ReadFailed)), []);
    hand.pass(10);
    assert_eq!(hand.requests(Input::Tick), [(1, 0)]);
    assert_eq!(hand.requests(Input::Unavailable(ONE, 0, Unavailable::Withdrawn)), []);
    assert_eq!(hand.requests(Input::PeerHasAll(ONE)), [(1, 0)]);
    let (_, events) = hand.put(Input::Unavailable(ONE, 0, Unavailable::SourceChanged));
    assert_eq!(events, [Event::Dropped(ONE, DropReason::SourceChanged)]);
}

// Spec P18
#[test]
fn a_chunk_that_comes_after_its_cancel_is_taken() {
    let mut hand = Hand::new(1, Order::Rarest);
    hand.join(ONE);
    hand.put(Input::PeerJoined(TWO));
    hand.pass(30);
    assert_eq!(hand.put(Input::Tick).0, [Transmit::TakeBack(ONE, 0)]);
    assert_eq!(hand.download.peers[&ONE].strikes, 1);
    hand.put(Input::Arrived(ONE, 0, CHUNK_BYTES));
    assert_eq!(hand.download.peers[&ONE].strikes, 0, "it was slow and not silent");
    assert_eq!(hand.put(Input::Stored(ONE, 0)).1, [Event::Got(0), Event::Complete]);
}

// Spec P19
#[test]
fn a_peer_that_has_nothing_of_what_it_claims_rests() {
    let mut hand = Hand::new(1_000, Order::Rarest);
    let mut asked = hand.join(ONE);
    let mut requests = 0;
    while let [(_, chunk)] = asked[..] {
        requests += 1;
        asked = hand.requests(Input::Unavailable(ONE, chunk, Unavailable::NotHad));
    }
    assert_eq!(requests, 64);
    hand.pass(10);
    assert_eq!(hand.requests(Input::Tick).len(), 1);
}

// Spec P20
#[test]
fn what_our_disk_refused_is_asked_again_later() {
    let mut hand = Hand::new(1, Order::Rarest);
    hand.join(ONE);
    hand.put(Input::Arrived(ONE, 0, CHUNK_BYTES));
    assert_eq!(hand.put(Input::StoreFailed(ONE, 0)), (vec![], vec![]));
    hand.pass(4);
    assert_eq!(hand.requests(Input::Tick), []);
    hand.pass(1);
    assert_eq!(hand.requests(Input::Tick), [(1, 0)]);
}

#[test]
fn nothing_is_asked_while_it_is_not_allowed() {
    let mut hand = Hand::new(10, Order::Rarest);
    hand.put(Input::Allowed(false));
    assert_eq!(hand.join(ONE), []);
    assert_eq!(hand.requests(Input::Allowed(true)), [(1, 0)]);
}

// Spec P22, P23
#[test]
fn the_last_chunk_of_a_peer_that_hangs_is_asked_of_another_and_cancelled() {
    let mut hand = Hand::new(2, Order::Rarest);
    assert_eq!(hand.join(ONE), [(1, 0)]);
    assert_eq!(hand.join(TWO), [(2, 1)]);
    assert_eq!(hand.prove(TWO, 1), []);
    hand.pass(2);
    assert_eq!(hand.requests(Input::Tick), [(2, 0)]);
    let (transmits, _) = hand.put(Input::Arrived(TWO, 0, CHUNK_BYTES));
    assert_eq!(transmits, [Transmit::Cancel(ONE, 0)]);
    let (_, events) = hand.put(Input::Stored(TWO, 0));
    assert_eq!(events, [Event::Got(0), Event::Complete]);
}

// Spec P22b
#[test]
fn a_crowd_that_says_nothing_does_not_hold_the_last_chunk_for_long() {
    let crowd = 40;
    let honest = LinkId(crowd);
    let mut hand = Hand::new(1, Order::Rarest);
    let mut asked = Vec::new();
    for link in 0..=crowd {
        asked.extend(hand.join(LinkId(link)));
    }
    let mut seconds = 0;
    while !asked.contains(&(honest.0, 0)) {
        hand.pass(1);
        seconds += 1;
        asked.extend(hand.requests(Input::Tick));
        assert!(hand.download.flights[&0].askers.len() <= 2);
        assert!(seconds < 120, "the last one is not asked");
    }
    // Everybody else has had its turn, two at a time, once.
    assert_eq!(asked.len() as u64, crowd + 1);
    assert!(seconds >= 19 * 5, "{seconds} s");
    let (_, events) = hand.put(Input::Arrived(honest, 0, CHUNK_BYTES));
    assert_eq!(events, []);
    assert_eq!(hand.put(Input::Stored(honest, 0)).1, [Event::Got(0), Event::Complete]);
}

// Spec P16
#[test]
fn whoever_sends_only_what_is_there_already_is_silent_all_the_same() {
    let mut hand = Hand::new(2, Order::Rarest);
    assert_eq!(hand.join(ONE), [(1, 0)]);
    hand.put(Input::PeerJoined(TWO));
    hand.pass(30);
    assert_eq!(hand.put(Input::Tick).0, [Transmit::TakeBack(ONE, 0)]);
    assert_eq!(hand.requests(Input::PeerHasAll(TWO)), [(2, 0)]);
    hand.prove(TWO, 0);
    hand.put(Input::Arrived(ONE, 0, CHUNK_BYTES));
    assert_eq!(hand.download.peers[&ONE].strikes, 1);
}

// Spec P22b
#[test]
fn nobody_makes_way_while_something_comes_or_our_own_limit_holds_requests_back() {
    let mut hand = Hand::new(1, Order::Rarest);
    let mut requests = hand.join(ONE);
    requests.extend(hand.join(TWO));
    hand.pass(2);
    requests.extend(hand.requests(Input::Tick));
    assert_eq!(requests, [(1, 0), (2, 0)]);
    hand.join(LinkId(3));
    for _ in 0..10 {
        hand.pass(4);
        hand.put(Input::Progress(ONE, 0));
        assert_eq!(hand.put(Input::Progress(TWO, 0)).0, []);
    }
    hand.put(Input::Allowed(false));
    hand.pass(20);
    assert_eq!(hand.put(Input::Allowed(true)).0, []);
    hand.pass(4);
    assert_eq!(hand.put(Input::Tick).0, []);
    hand.pass(1);
    assert_eq!(
        hand.put(Input::Tick).0,
        [Transmit::Cancel(ONE, 0), Transmit::Request(LinkId(3), 0)]
    );
}

// Spec P13
#[test]
fn a_slow_disk_stops_the_requests() {
    let mut world =
        World::new(config(2_000, Order::Rarest), CHUNK, vec![Profile::honest(1 << 30, MILLI / 2)]);
    world.store_time = 200 * MILLI;
    world.run(Duration::from_secs(600));
    let most = world.max_open as u64 * CHUNK;
    assert!(most <= 6 << 20, "{most} bytes on their way for nothing");
}

// Spec P12
#[test]
fn one_far_peer_carries_a_gigabit() {
    let rate = 125_000_000;
    let chunks = 8_192;
    let far = Profile::honest(rate, 100 * MILLI);
    let mut world = World::new(config(chunks, Order::Rarest), CHUNK, vec![far]);
    let nanos = world.run(Duration::from_secs(60));
    let bits = u128::from(chunks * CHUNK * 8) * u128::from(SECOND) / u128::from(nanos);
    assert!(bits >= 950_000_000, "{bits} bit/s of 1,000,000,000");
    assert_eq!(world.duplicates, 0);
}

#[test]
fn one_near_peer_carries_all_it_can_with_a_short_pipeline() {
    let rate = 1_500_000_000;
    let mut world =
        World::new(config(8_192, Order::Rarest), CHUNK, vec![Profile::honest(rate, MILLI / 5)]);
    let nanos = world.run(Duration::from_secs(60));
    let carried = u128::from(8_192 * CHUNK) * u128::from(SECOND) / u128::from(nanos);
    assert!(carried >= 1_450_000_000, "{carried}");
    assert!(world.max_open <= 20, "{}", world.max_open);
}

#[test]
fn many_small_files_keep_a_far_peer_busy() {
    let rate = 125_000_000;
    let far = Profile::honest(rate, 50 * MILLI);
    let mut world = World::new(config(20_000, Order::Rarest), 34_000, vec![far]);
    let nanos = world.run(Duration::from_secs(60));
    let carried = u128::from(20_000 * 34_000_u64) * u128::from(SECOND) / u128::from(nanos);
    assert!(carried >= 100_000_000, "{carried}");
}

#[test]
fn peers_share_the_work_by_what_they_deliver() {
    let rates = [80_000_000_u64, 20_000_000, 1_000_000];
    let profiles = rates.map(|rate| Profile::honest(rate, 30 * MILLI)).to_vec();
    let mut world = World::new(config(4_000, Order::Rarest), CHUNK, profiles);
    let nanos = world.run(Duration::from_secs(60));
    let ideal = 4_000 * CHUNK * SECOND / rates.iter().sum::<u64>() * 100;
    assert!(nanos < ideal / 100 * 108 / 100, "{nanos} ns, ideal {}", ideal / 100);
    let delivered: Vec<_> = world.peers.iter().map(|peer| peer.delivered).collect();
    assert!(delivered[0] > 3 * delivered[1] && delivered[1] > 10 * delivered[2], "{delivered:?}");
    assert!(world.duplicates <= MAX_ENDGAME_COPIES as u64, "{}", world.duplicates);
}

#[test]
fn half_a_million_chunks_cost_little() {
    let chunks = 500_000;
    let mut hand = Hand::new(chunks, Order::Rarest);
    let every_third: Vec<u8> =
        (0..chunks.div_ceil(8)).map(|at| [0x92, 0x49, 0x24][at as usize % 3]).collect();
    hand.put(Input::PeerJoined(TWO));
    for (number, bits) in every_third.chunks(4_096).enumerate() {
        hand.put(Input::PeerHas(TWO, number as u64 * 32_768, bits.to_vec()));
    }
    hand.join(ONE);
    for _ in 0..20_000 {
        hand.now = hand.now + Duration::from_micros(100);
        for link in [ONE, TWO] {
            let next = hand.download.peers[&link].requests.values().next().map(|one| one.chunk);
            let Some(chunk) = next else { continue };
            hand.put(Input::Arrived(link, chunk, CHUNK_BYTES));
            hand.put(Input::Stored(link, chunk));
        }
    }
    assert_eq!(hand.download.had_count, 40_000);
}

// Spec P26
#[test]
fn what_another_peer_has_now_does_not_wait_for_the_seeder() {
    let mut hand = Hand::new(100, Order::Rarest);
    hand.join(ONE);
    // A chunk in half a second: the seeder has much to do.
    for chunk in 0..4 {
        hand.now = hand.now + Duration::from_millis(490);
        hand.prove(ONE, chunk);
    }
    hand.put(Input::PeerJoined(TWO));
    let asked = hand.requests(Input::PeerHas(TWO, 40, vec![0b1110_0000]));
    let [(2, first)] = asked[..] else { panic!("{asked:?}") };
    hand.now = hand.now + Duration::from_millis(1);
    hand.prove(TWO, first);
    let cancels = |hand: &mut Hand, bits: u8| {
        let (transmits, _) = hand.put(Input::PeerHas(TWO, 0, vec![bits]));
        let cancelled = |transmit: &Transmit| matches!(transmit, Transmit::Cancel(ONE, _));
        (transmits.iter().any(cancelled), transmits)
    };
    // 4 is next in turn there: it stays. 6 is last, and moves.
    assert!(!cancels(&mut hand, 0b0000_1000).0);
    let (moved, transmits) = cancels(&mut hand, 0b0000_0010);
    assert!(moved && transmits.contains(&Transmit::Request(TWO, 6)), "{transmits:?}");
    // Once some of it has come it is worth waiting for.
    hand.put(Input::Progress(ONE, 5));
    assert!(!cancels(&mut hand, 0b0000_0100).0);
}
