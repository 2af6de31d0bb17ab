//! Whose turn it is to be sent a chunk: hosts share what there is equally, and so do the links of
//! one host among themselves, by bytes.
//!
//! Keys and instances are free, so the share goes to the *host*: an IP address (of IPv6 the /64),
//! or the key that a circuit comes from, whose address only the relay knows. Whoever waits alone
//! has everything; whoever comes new is next, because it starts where the others are and not
//! behind them; and whoever did not wait for a while has saved nothing up.
//!
//! Each level is a [`FairQueue`], which is start-time fair queueing (Goyal, Vin and Cheng, 1996): a
//! member's *tag* is where its next turn begins on a clock of bytes, and the smallest tag goes
//! next.

use alloc::collections::{BTreeMap, BTreeSet};
use core::net::IpAddr;

use crate::id::{LinkId, PeerId};

/// Who is counted as one when it comes to sharing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Host {
    /// A network address; of IPv6 its /64.
    Network(IpAddr),
    /// A key behind the relay.
    Key(PeerId),
}

/// Members that wait, the one that had least first.
#[derive(Debug)]
struct FairQueue<K> {
    /// The tag of the last turn.
    clock: u64,
    /// Draws the order of equal tags: who came first goes first.
    arrivals: u64,
    waiting: BTreeSet<(u64, u64, K)>,
    place: BTreeMap<K, (u64, u64)>,
    /// Tags of members that do not wait and have had more than the others.
    ahead: BTreeMap<K, u64>,
}

impl<K: Ord + Copy> FairQueue<K> {
    const fn new() -> Self {
        Self {
            clock: 0,
            arrivals: 0,
            waiting: BTreeSet::new(),
            place: BTreeMap::new(),
            ahead: BTreeMap::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Lets `member` wait for a turn, unless it does.
    fn enter(&mut self, member: K) {
        if self.place.contains_key(&member) {
            return;
        }
        let tag = self.ahead.remove(&member).unwrap_or(0).max(self.clock);
        self.insert(member, tag);
    }

    fn insert(&mut self, member: K, tag: u64) {
        self.arrivals += 1;
        self.waiting.insert((tag, self.arrivals, member));
        self.place.insert(member, (tag, self.arrivals));
    }

    fn next(&self) -> Option<K> {
        self.waiting.first().map(|(_, _, member)| *member)
    }

    /// `member`, which waits, had a turn of so many bytes.
    fn charge(&mut self, member: K, bytes: u64) {
        let Some((tag, arrival)) = self.place.remove(&member) else { return };
        self.waiting.remove(&(tag, arrival, member));
        self.clock = self.clock.max(tag);
        self.insert(member, tag + bytes);
    }

    /// `member` does not wait any more. What it had beyond the others is remembered while others
    /// wait.
    fn leave(&mut self, member: K) {
        let Some((tag, arrival)) = self.place.remove(&member) else { return };
        self.waiting.remove(&(tag, arrival, member));
        if self.waiting.is_empty() {
            // Nobody waited while the rest was sent: nobody was wronged.
            self.ahead.clear();
            return;
        }
        let clock = self.clock;
        self.ahead.retain(|_, tag| *tag > clock);
        if tag > clock {
            self.ahead.insert(member, tag);
        }
    }
}

/// Links that wait, by host.
#[derive(Debug)]
pub(super) struct Turns {
    hosts: FairQueue<Host>,
    /// Of hosts that wait.
    links: BTreeMap<Host, FairQueue<LinkId>>,
}

impl Turns {
    pub(super) const fn new() -> Self {
        Self { hosts: FairQueue::new(), links: BTreeMap::new() }
    }

    /// Lets a link wait for turns, until it leaves.
    pub(super) fn enter(&mut self, host: Host, link: LinkId) {
        self.links.entry(host).or_insert_with(FairQueue::new).enter(link);
        self.hosts.enter(host);
    }

    /// Whose turn it is.
    // spec P27
    pub(super) fn next(&self) -> Option<(Host, LinkId)> {
        let host = self.hosts.next()?;
        Some((host, self.links.get(&host)?.next()?))
    }

    /// The link whose turn it was was given so many bytes; it waits for the next turn.
    pub(super) fn charge(&mut self, host: Host, link: LinkId, bytes: u64) {
        if let Some(links) = self.links.get_mut(&host) {
            links.charge(link, bytes);
        }
        self.hosts.charge(host, bytes);
    }

    /// The link does not wait any more.
    pub(super) fn leave(&mut self, host: Host, link: LinkId) {
        let Some(links) = self.links.get_mut(&host) else { return };
        links.leave(link);
        if links.is_empty() {
            self.links.remove(&host);
            self.hosts.leave(host);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(number: u8) -> Host {
        Host::Network(IpAddr::from([192, 0, 2, number]))
    }

    /// Gives turns of `bytes` until so many bytes are gone; what each link got.
    fn serve(turns: &mut Turns, bytes: impl Fn(LinkId) -> u64, total: u64) -> BTreeMap<u64, u64> {
        let mut got = BTreeMap::new();
        let mut sent = 0;
        while sent < total {
            let (host, link) = turns.next().expect("somebody waits");
            turns.charge(host, link, bytes(link));
            *got.entry(link.0).or_insert(0) += bytes(link);
            sent += bytes(link);
        }
        got
    }

    // Spec P27
    #[test]
    fn many_links_of_one_host_get_no_more_than_one_link_of_another() {
        let mut turns = Turns::new();
        (0..60).for_each(|link| turns.enter(host(1), LinkId(link)));
        turns.enter(host(2), LinkId(100));
        let got = serve(&mut turns, |_| 1_000, 1_200_000);
        assert!(got[&100].abs_diff(600_000) <= 1_000, "{got:?}");
        assert!((0..60).all(|link| got[&link].abs_diff(10_000) <= 1_000), "{got:?}");
    }

    #[test]
    fn shares_are_of_bytes_and_not_of_chunks() {
        let mut turns = Turns::new();
        turns.enter(host(1), LinkId(1));
        turns.enter(host(2), LinkId(2));
        let got = serve(&mut turns, |link| if link.0 == 1 { 262_144 } else { 4_096 }, 8 << 20);
        assert!(got[&1].abs_diff(got[&2]) <= 2 * 262_144, "{got:?}");
    }

    #[test]
    fn whoever_comes_new_is_next_and_whoever_comes_again_has_saved_nothing() {
        let mut turns = Turns::new();
        turns.enter(host(1), LinkId(1));
        turns.enter(host(2), LinkId(2));
        serve(&mut turns, |_| 1_000, 1_000_000);
        turns.enter(host(3), LinkId(3));
        let got = serve(&mut turns, |_| 1_000, 3_000);
        assert_eq!(got.get(&3), Some(&1_000), "within one round");
        turns.leave(host(3), LinkId(3));
        serve(&mut turns, |_| 1_000, 1_000_000);
        turns.enter(host(3), LinkId(3));
        let got = serve(&mut turns, |_| 1_000, 30_000);
        assert!(got.values().all(|got| got.abs_diff(10_000) <= 1_000), "{got:?}");
    }

    #[test]
    fn leaving_and_coming_back_pays_no_debts() {
        let mut turns = Turns::new();
        turns.enter(host(1), LinkId(1));
        turns.enter(host(2), LinkId(2));
        let mut got = [0_u64; 3];
        for _ in 0..1_000 {
            let (host, link) = turns.next().expect("both wait");
            turns.charge(host, link, 1_000);
            got[link.0 as usize] += 1_000;
            if link.0 == 1 {
                turns.leave(host, link);
                turns.enter(host, link);
            }
        }
        assert!(got[1].abs_diff(got[2]) <= 1_000, "{got:?}");
    }

    proptest! {
        /// Whoever comes and goes: those who wait throughout get the same, but for one turn each,
        /// and nothing is left behind when nobody waits.
        #[test]
        fn those_who_always_wait_get_the_same(
            steps in prop::collection::vec((0_u8..6, 2_u64..8, 1_u64..262_144), 1..400),
        ) {
            let mut turns = Turns::new();
            turns.enter(host(0), LinkId(0));
            turns.enter(host(1), LinkId(1));
            let mut got = [0_u64; 8];
            for (step, link, bytes) in steps {
                let of = host(link as u8 / 2 + 1);
                match step {
                    0 => turns.enter(of, LinkId(link)),
                    1 => turns.leave(of, LinkId(link)),
                    _ => {
                        let (host, link) = turns.next().expect("two always wait");
                        turns.charge(host, link, bytes);
                        got[link.0 as usize] += bytes;
                    }
                }
            }
            prop_assert!(got[0].abs_diff(got[1]) <= 262_144, "{got:?}");
            (0..8).for_each(|link| {
                let of = if link < 2 { host(link as u8) } else { host(link as u8 / 2 + 1) };
                turns.leave(of, LinkId(link));
            });
            prop_assert!(turns.next().is_none() && turns.links.is_empty());
            prop_assert!(turns.hosts.ahead.is_empty() && turns.hosts.place.is_empty());
        }
    }

    #[test]
    fn what_one_had_beyond_the_others_is_remembered_while_others_wait() {
        let mut queue = FairQueue::new();
        queue.enter('a');
        queue.enter('b');
        queue.charge('a', 1_000);
        assert_eq!(queue.next(), Some('b'), "whoever had less");
        queue.leave('a');
        assert_eq!(queue.ahead, BTreeMap::from([('a', 1_000)]));
        queue.charge('b', 400);
        queue.charge('b', 400);
        queue.enter('a');
        assert_eq!((queue.next(), queue.ahead.len()), (Some('b'), 0));
        queue.charge('b', 400);
        assert_eq!(queue.next(), Some('a'));
        // Level with the clock: nothing is remembered.
        queue.charge('a', 200);
        queue.charge('a', 200);
        queue.leave('b');
        assert_eq!((queue.clock, queue.ahead.len()), (1_200, 0));
        queue.leave('a');
        assert!(queue.is_empty() && queue.next().is_none());
    }

    #[test]
    fn a_host_leaves_with_its_last_link() {
        let mut turns = Turns::new();
        turns.enter(host(1), LinkId(1));
        turns.enter(host(1), LinkId(2));
        turns.leave(host(1), LinkId(1));
        assert_eq!(turns.next(), Some((host(1), LinkId(2))));
        turns.leave(host(1), LinkId(2));
        assert!(turns.next().is_none() && turns.links.is_empty());
    }

    #[test]
    fn of_those_who_had_the_same_the_one_who_came_first_is_next() {
        let mut queue = FairQueue::new();
        ['c', 'a', 'b'].into_iter().for_each(|member| queue.enter(member));
        for member in ['c', 'a', 'b', 'c', 'a', 'b'] {
            assert_eq!(queue.next(), Some(member));
            queue.charge(member, 1_000);
        }
    }

    #[test]
    fn what_one_had_beyond_the_others_is_remembered_until_they_had_as_much() {
        let mut queue = FairQueue::new();
        ['a', 'b', 'c', 'd'].into_iter().for_each(|member| queue.enter(member));
        queue.charge('a', 1_000);
        queue.leave('a');
        // Another one leaves before they have caught up, and another one when they have.
        queue.charge('b', 1_000);
        queue.leave('c');
        assert_eq!(queue.ahead, BTreeMap::from([('a', 1_000)]));
        queue.charge('d', 1_000);
        queue.charge('b', 1_000);
        assert_eq!(queue.clock, 1_000);
        queue.leave('d');
        assert!(queue.ahead.is_empty(), "{:?}", queue.ahead);
    }
}
