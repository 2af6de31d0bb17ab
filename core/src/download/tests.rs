//! Downloads from simulated peers: fast, slow, far, lying, silent, leaving, partial.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::limits::{
    INITIAL_PIPELINE_CHUNKS, MAX_ENDGAME_COPIES, MAX_INCOMING_REQUESTS, MAX_OUTSTANDING_BYTES,
};
use crate::rng::Rng;

mod behaviour;
mod boundaries;
mod thresholds;

const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLI;

/// How a simulated peer behaves.
#[derive(Debug, Clone)]
struct Profile {
    /// `None`: everything.
    has: Option<BTreeSet<u64>>,
    bytes_per_second: u64,
    /// There and back, in nanoseconds.
    round_trip: u64,
    /// Every n-th chunk is false.
    lies: Option<u64>,
    /// Answers nothing after so many chunks.
    silent_after: Option<u64>,
    /// Leaves after so many chunks.
    leaves_after: Option<u64>,
    /// Every n-th request is answered with this.
    unavailable: Option<(u64, Unavailable)>,
}

impl Profile {
    fn honest(bytes_per_second: u64, round_trip: u64) -> Self {
        Self {
            has: None,
            bytes_per_second,
            round_trip,
            lies: None,
            silent_after: None,
            leaves_after: None,
            unavailable: None,
        }
    }
}

#[derive(Debug)]
struct SimPeer {
    profile: Profile,
    queue: VecDeque<u64>,
    busy: bool,
    served: u64,
    asked: u64,
    gone: bool,
    /// Requests that we have open there.
    open: BTreeSet<u64>,
    delivered: u64,
}

#[derive(Debug)]
enum Happening {
    Asked(usize, u64),
    Cancelled(usize, u64),
    Free(usize),
    Arrives(usize, u64, bool),
    Refused(usize, u64, Unavailable),
    Stored(usize, u64, bool),
    Leaves(usize),
}

/// One download, its peers, and the clock.
struct World {
    download: Download,
    now: u64,
    happenings: BTreeMap<(u64, u64), Happening>,
    sequence: u64,
    peers: Vec<SimPeer>,
    chunk_bytes: u64,
    store_time: u64,
    storing: BTreeMap<u64, u32>,
    stored: BTreeSet<u64>,
    /// Chunks that came although they were there or on their way to the disk.
    duplicates: u64,
    arrivals: u64,
    consumes: bool,
    consumed: u64,
    dropped: Vec<(LinkId, DropReason)>,
    complete: bool,
    max_open: usize,
}

impl World {
    fn new(config: Config, chunk_bytes: u64, profiles: Vec<Profile>) -> Self {
        let mut world = Self {
            stored: config.have.iter().collect(),
            consumes: config.order != Order::Rarest,
            download: Download::new(Instant::ZERO, Rng::new([0; 32]), config),
            now: 0,
            happenings: BTreeMap::new(),
            sequence: 0,
            peers: Vec::new(),
            chunk_bytes,
            store_time: MILLI,
            storing: BTreeMap::new(),
            duplicates: 0,
            arrivals: 0,
            consumed: 0,
            dropped: Vec::new(),
            complete: false,
            max_open: 0,
        };
        world.put(Input::MeanChunkBytes(chunk_bytes));
        for profile in profiles {
            world.join(profile);
        }
        world
    }

    fn join(&mut self, profile: Profile) {
        let link = LinkId(self.peers.len() as u64);
        let has = profile.has.clone();
        self.peers.push(SimPeer {
            profile,
            queue: VecDeque::new(),
            busy: false,
            served: 0,
            asked: 0,
            gone: false,
            open: BTreeSet::new(),
            delivered: 0,
        });
        self.put(Input::PeerJoined(link));
        match has {
            None => self.put(Input::PeerHasAll(link)),
            Some(has) => {
                let mut set = ChunkSet::empty(self.download.chunks);
                has.iter().for_each(|chunk| {
                    set.insert(*chunk);
                });
                self.put(Input::PeerHas(link, 0, set.bits));
            }
        }
    }

    fn at(&mut self, time: u64, happening: Happening) {
        self.sequence += 1;
        self.happenings.insert((time, self.sequence), happening);
    }

    fn put(&mut self, input: Input) {
        self.download.handle_input(Instant::from_nanos(self.now), input);
        loop {
            match self.download.poll_output() {
                Output::Transmit(Transmit::Request(link, chunk)) => {
                    let peer = &mut self.peers[link.0 as usize];
                    assert!(!peer.gone, "a peer that is gone is asked");
                    let had = peer.profile.has.as_ref().is_none_or(|has| has.contains(&chunk));
                    assert!(had, "P6: asked for what it does not have");
                    assert!(peer.open.insert(chunk), "asked twice for {chunk}");
                    let delay = peer.profile.round_trip / 2;
                    self.at(self.now + delay, Happening::Asked(link.0 as usize, chunk));
                }
                Output::Transmit(
                    Transmit::Cancel(link, chunk) | Transmit::TakeBack(link, chunk),
                ) => {
                    let peer = &mut self.peers[link.0 as usize];
                    assert!(peer.open.remove(&chunk), "cancelled without a request");
                    let delay = peer.profile.round_trip / 2;
                    self.at(self.now + delay, Happening::Cancelled(link.0 as usize, chunk));
                }
                Output::Event(Event::Got(chunk)) => {
                    assert!(self.stored.contains(&chunk), "{chunk} is not stored");
                    while self.consumes && self.stored.contains(&self.consumed) {
                        self.consumed += 1;
                    }
                }
                Output::Event(Event::Dropped(link, reason)) => {
                    self.peers[link.0 as usize].gone = true;
                    self.dropped.push((link, reason));
                }
                Output::Event(Event::Complete) => self.complete = true,
                Output::Timeout(at) => {
                    assert!(at > Instant::from_nanos(self.now), "the deadline has passed");
                    break;
                }
            }
        }
        self.check_limits();
    }

    fn check_limits(&mut self) {
        let storing: u64 = self.storing.values().map(|copies| u64::from(*copies)).sum();
        let open: usize = self.peers.iter().map(|peer| peer.open.len()).sum();
        self.max_open = self.max_open.max(open);
        let outstanding = (open as u64 + storing) * self.chunk_bytes;
        assert!(outstanding <= MAX_OUTSTANDING_BYTES.max(self.chunk_bytes), "{outstanding}");
        let asked = self.download.flights.values().map(|flight| flight.askers.len());
        assert!(asked.max().unwrap_or(0) <= 2, "P21: asked of more than two");
        for (index, peer) in self.peers.iter().enumerate() {
            assert!(peer.open.len() <= MAX_INCOMING_REQUESTS);
            let known = self.download.peers.get(&LinkId(index as u64));
            if known.is_some_and(|known| !known.proven) {
                assert!(peer.open.len() <= 1, "unproven and asked for {}", peer.open.len());
            }
        }
    }

    /// Runs until the download is complete; the virtual time that took.
    fn run(&mut self, limit: Duration) -> u64 {
        while !self.complete {
            let next = self.happenings.first_key_value().map_or(u64::MAX, |(key, _)| key.0);
            let deadline = self.download.deadlines.next().as_nanos();
            assert!(next.min(deadline) < u64::MAX, "nothing will ever happen");
            self.now = next.min(deadline);
            let missing = self.download.chunks - self.stored.len() as u64;
            assert!(u128::from(self.now) < limit.as_nanos(), "{missing} missing at {}", self.now);
            if deadline < next {
                self.put(Input::Tick);
            } else if let Some((_, happening)) = self.happenings.pop_first() {
                self.happen(happening);
            }
        }
        self.now
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Asked(index, chunk) => {
                self.peers[index].queue.push_back(chunk);
                self.serve(index);
            }
            Happening::Cancelled(index, chunk) => {
                self.peers[index].queue.retain(|queued| *queued != chunk);
            }
            Happening::Free(index) => {
                self.peers[index].busy = false;
                self.serve(index);
            }
            Happening::Arrives(index, chunk, good) => self.arrives(index, chunk, good),
            Happening::Refused(index, chunk, why) => {
                let peer = &mut self.peers[index];
                if !peer.gone && peer.open.remove(&chunk) {
                    self.put(Input::Unavailable(LinkId(index as u64), chunk, why));
                }
            }
            Happening::Stored(index, chunk, good) => {
                let copies = self.storing.entry(chunk).or_default();
                *copies -= 1;
                if *copies == 0 {
                    self.storing.remove(&chunk);
                }
                let link = LinkId(index as u64);
                if good {
                    self.stored.insert(chunk);
                    let consumed = self.consumed;
                    self.put(Input::Stored(link, chunk));
                    if self.consumed > consumed {
                        self.put(Input::Consumed(self.consumed - 1));
                    }
                } else {
                    self.peers[index].open.clear();
                    let before = self.dropped.len();
                    self.put_false(link, chunk);
                    assert!(self.peers[index].gone && self.dropped.len() <= before + 1);
                }
            }
            Happening::Leaves(index) => {
                self.peers[index].gone = true;
                self.peers[index].open.clear();
                self.put(Input::PeerLeft(LinkId(index as u64)));
            }
        }
    }

    /// As `put`, for the input after which open requests are cancelled and the link is dropped.
    fn put_false(&mut self, link: LinkId, chunk: u64) {
        if let Some(peer) = self.download.peers.get(&link) {
            let open = peer.requests.values().map(|request| request.chunk).collect();
            self.peers[link.0 as usize].open = open;
        }
        self.put(Input::False(link, chunk, self.chunk_bytes as usize));
    }

    fn arrives(&mut self, index: usize, chunk: u64, good: bool) {
        let peer = &mut self.peers[index];
        peer.open.remove(&chunk);
        if peer.gone {
            return;
        }
        peer.delivered += 1;
        self.arrivals += 1;
        let copies = self.storing.entry(chunk).or_default();
        let duplicate = *copies > 0 || self.stored.contains(&chunk);
        self.duplicates += u64::from(duplicate);
        let link = LinkId(index as u64);
        if self.stored.contains(&chunk) {
            self.put(Input::Arrived(link, chunk, self.chunk_bytes as usize));
            return;
        }
        *copies += 1;
        self.at(self.now + self.store_time, Happening::Stored(index, chunk, good));
        self.put(Input::Arrived(link, chunk, self.chunk_bytes as usize));
    }

    fn serve(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        if peer.busy || peer.profile.silent_after.is_some_and(|after| peer.served >= after) {
            return;
        }
        let Some(chunk) = peer.queue.pop_front() else { return };
        let half = peer.profile.round_trip / 2;
        peer.asked += 1;
        if let Some((every, why)) = peer.profile.unavailable
            && peer.asked.is_multiple_of(every)
        {
            self.at(self.now + half, Happening::Refused(index, chunk, why));
            return self.serve(index);
        }
        peer.served += 1;
        peer.busy = true;
        let free = self.now + self.chunk_bytes * SECOND / peer.profile.bytes_per_second;
        let good = peer.profile.lies.is_none_or(|every| !peer.served.is_multiple_of(every));
        let leaves = peer.profile.leaves_after.is_some_and(|after| peer.served >= after);
        self.at(free, Happening::Free(index));
        self.at(free + half, Happening::Arrives(index, chunk, good));
        if leaves {
            self.at(free + half, Happening::Leaves(index));
        }
    }
}

fn config(chunks: u64, order: Order) -> Config {
    Config { chunks, have: ChunkSet::empty(chunks), order }
}

const CHUNK: u64 = CHUNK_BYTES as u64;

fn any_profile(chunks: u64) -> impl Strategy<Value = Profile> {
    let has = prop::option::of(prop::collection::btree_set(0..chunks, 0..=chunks as usize));
    let why = prop_oneof![
        Just(Unavailable::NotHad),
        Just(Unavailable::ReadFailed),
        Just(Unavailable::SourceChanged),
        Just(Unavailable::Withdrawn),
    ];
    let faults = (
        prop::option::of(1_u64..20),
        prop::option::of(0_u64..40),
        prop::option::of(1_u64..40),
        prop::option::of((1_u64..30, why)),
    );
    (has, 50_000_u64..200_000_000, 100_000_u64..300 * MILLI, faults).prop_map(
        |(has, bytes_per_second, round_trip, faults)| Profile {
            has,
            bytes_per_second,
            round_trip,
            lies: faults.0,
            silent_after: faults.1,
            leaves_after: faults.2,
            unavailable: faults.3,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whoever else there is: one honest peer that has everything is enough.
    // Spec P6
    #[test]
    fn one_honest_peer_is_enough(
        (chunks, others, order, place, chunk_bytes) in (1_u64..300).prop_flat_map(|chunks| (
            Just(chunks),
            prop::collection::vec(any_profile(chunks), 0..8),
            prop_oneof![
                Just(Order::Rarest),
                (1_u64..60).prop_map(|window| Order::Sequential { window }),
            ],
            any::<prop::sample::Index>(),
            prop_oneof![Just(CHUNK), 1_u64..CHUNK],
        )),
        honest_rate in 500_000_u64..100_000_000,
        have in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut profiles = others;
        let place = place.index(profiles.len() + 1);
        profiles.insert(place, Profile::honest(honest_rate, 20 * MILLI));
        let have = if order == Order::Rarest { have } else { Vec::new() };
        let have = ChunkSet { bits: have, len: chunks };
        let config = Config { chunks, have, order };
        let mut world = World::new(config, chunk_bytes, profiles);
        world.run(Duration::from_secs(3_600));
        prop_assert_eq!(world.stored.len() as u64, chunks);
        prop_assert!(world.dropped.iter().all(|(link, _)| link.0 != place as u64));
        // Liars waste what they lie; timeouts and the end may bring a chunk twice.
        let links: BTreeSet<_> = world.dropped.iter().map(|(link, _)| *link).collect();
        prop_assert_eq!(links.len(), world.dropped.len(), "dropped twice");
        world.download.handle_input(Instant::ZERO, Input::PeerJoined(LinkId(99)));
        prop_assert_eq!(world.download.poll_output(), Output::Timeout(Instant::NEVER));
    }

    /// Honest peers bring nothing twice, except a few chunks at the end.
    // Spec P6, P21
    #[test]
    fn nothing_comes_twice_but_at_the_end(
        rates in prop::collection::vec((1_000_000_u64..100_000_000, 1_u64..100), 1..8),
    ) {
        let profiles = rates.into_iter().map(|(rate, trip)| Profile::honest(rate, trip * MILLI));
        let mut world = World::new(config(1_000, Order::Rarest), CHUNK, profiles.collect());
        world.run(Duration::from_secs(3_600));
        let most = MAX_ENDGAME_COPIES as u64 + 1_000 / 64;
        prop_assert!(world.duplicates <= most, "{}", world.duplicates);
    }
}
