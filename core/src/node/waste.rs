//! Bytes that others made us receive for nothing: who they were, where they were, and how many.
//!
//! A false chunk is such, and one that comes only when others have brought it because its sender
//! had been silent for [`crate::limits::REQUEST_TIMEOUT`]. What we took back for any other reason,
//! because somebody was faster or because we need it no more, is nobody's fault.
//!
//! A key that lied once is not used again as this instance; but keys and instances are free. So
//! what is wasted is also counted for the key whatever its instance, for the address whatever its
//! key, and in total. A key or an address that has wasted its share is left alone; when the total
//! is used up, strangers are tried one at a time, with a pause. All of it is forgotten after
//! [`WASTE_MEMORY`], because an address may be a whole village behind one NAT.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::Node;
use super::links::network_of;
use crate::close::{CloseReason, LocalClose};
use crate::id::{ContentKey, LinkId, PeerId};
use crate::limits::{
    MAX_WASTED_BYTES, MAX_WASTED_BYTES_PER_IP, MAX_WASTED_BYTES_PER_PEER, MAX_WASTERS,
    WASTE_MEMORY, WASTE_PAUSE,
};
use crate::time::Instant;

/// What was wasted since a moment.
#[derive(Debug, Default)]
pub(super) struct Waste {
    since: Instant,
    by_peer: BTreeMap<PeerId, u64>,
    by_ip: BTreeMap<IpAddr, u64>,
    total_bytes: u64,
    /// When the next stranger may be tried, once the total is used up.
    next_try: Instant,
}

impl Waste {
    fn forget(&mut self, now: Instant) {
        if now.since(self.since) >= WASTE_MEMORY {
            *self = Self { since: now, ..Self::default() };
        }
    }

    /// Counts bytes.
    fn add(&mut self, now: Instant, peer: PeerId, ip: Option<IpAddr>, bytes: u64) {
        self.forget(now);
        self.total_bytes += bytes;
        add_bounded(&mut self.by_peer, peer, bytes);
        if let Some(ip) = ip {
            add_bounded(&mut self.by_ip, ip, bytes);
        }
    }

    /// Whether this key has wasted its share.
    pub(super) fn is_spent_by_peer(&self, peer: &PeerId) -> bool {
        self.by_peer.get(peer).is_some_and(|bytes| *bytes >= MAX_WASTED_BYTES_PER_PEER)
    }

    /// Whether this address has.
    pub(super) fn is_spent_by(&self, ip: IpAddr) -> bool {
        let bytes = self.by_ip.get(&network_of(ip));
        bytes.is_some_and(|bytes| *bytes >= MAX_WASTED_BYTES_PER_IP)
    }

    /// How many of `room` strangers may be tried now.
    pub(super) fn room(&mut self, now: Instant, room: usize) -> usize {
        self.forget(now);
        if self.total_bytes < MAX_WASTED_BYTES || room == 0 {
            return room;
        }
        if now < self.next_try {
            return 0;
        }
        self.next_try = now + WASTE_PAUSE;
        1
    }
}

/// Adds to a table of bounded size; the one who wasted least makes way.
fn add_bounded<K: Ord + Copy>(table: &mut BTreeMap<K, u64>, key: K, bytes: u64) {
    if table.len() >= MAX_WASTERS && !table.contains_key(&key) {
        let least = table.iter().min_by_key(|(_, bytes)| **bytes).map(|(key, _)| *key);
        least.map(|least| table.remove(&least));
    }
    *table.entry(key).or_default() += bytes;
}

impl Node {
    /// Somebody made us receive so many bytes for nothing.
    pub(super) fn wasted(&mut self, peer: PeerId, ip: Option<IpAddr>, bytes: usize) {
        self.waste.add(self.now, peer, ip, bytes as u64);
        if self.waste.is_spent_by_peer(&peer) {
            self.counters.count("too_many_wasted_bytes_from_peer");
            let of_it = |link: &LinkId| self.links.up(*link).is_some_and(|(_, it)| it.peer == peer);
            let links = self.links.table.keys().copied().filter(of_it).collect();
            self.leave_alone(links, "MAX_WASTED_BYTES_PER_PEER");
        }
        if let Some(ip) = ip.filter(|ip| self.waste.is_spent_by(*ip)) {
            self.counters.count("too_many_wasted_bytes_from_ip");
            let is_there = |link: &LinkId| self.links.network(*link) == Some(ip);
            let links = self.links.table.keys().copied().filter(is_there).collect();
            self.leave_alone(links, "MAX_WASTED_BYTES_PER_IP");
        }
    }

    /// Whether nothing is fetched over a link to this key, at this address if it has one.
    pub(super) fn is_left_alone(&self, peer: &PeerId, ip: Option<IpAddr>) -> bool {
        self.waste.is_spent_by_peer(peer) || ip.is_some_and(|ip| self.waste.is_spent_by(ip))
    }

    /// Nothing more is fetched over these links.
    fn leave_alone(&mut self, links: Vec<LinkId>, limit: &'static str) {
        for id in links {
            let Some((_, instance)) = self.links.up(id) else { continue };
            let Some(link) = self.links.up_mut(id) else { continue };
            let keys: Vec<ContentKey> = link.asks.values().map(|ask| ask.content).collect();
            for key in keys {
                self.rest_peer(key, instance);
                self.drop_ask(id, key);
            }
            let reason = CloseReason::Local(LocalClose::Limit(limit));
            self.close_if_unused(id, reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::CHUNK_BYTES;

    const HERE: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 1));

    fn peer(number: u64) -> PeerId {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        PeerId(key)
    }

    #[test]
    fn many_keys_at_one_address_share_what_it_may_waste() {
        let mut waste = Waste::default();
        let mut keys = 0;
        while !waste.is_spent_by(HERE) {
            waste.add(Instant::ZERO, peer(keys), Some(HERE), CHUNK_BYTES as u64);
            keys += 1;
        }
        assert_eq!(keys * CHUNK_BYTES as u64, MAX_WASTED_BYTES_PER_IP);
        assert!(!waste.is_spent_by(IpAddr::from([192, 0, 2, 2])));
        assert!(!waste.is_spent_by_peer(&peer(0)));
        // An hour later an address is as good as any other.
        waste.add(Instant::ZERO + WASTE_MEMORY, peer(0), Some(HERE), 1);
        assert!(!waste.is_spent_by(HERE));
    }

    #[test]
    fn when_too_much_was_wasted_in_total_strangers_wait_for_their_turn() {
        let mut waste = Waste::default();
        assert_eq!(waste.room(Instant::ZERO, 16), 16);
        waste.add(Instant::ZERO, peer(1), None, MAX_WASTED_BYTES);
        assert!(waste.is_spent_by_peer(&peer(1)));
        assert_eq!(waste.room(Instant::ZERO, 0), 0);
        assert_eq!(waste.room(Instant::ZERO, 16), 1);
        assert_eq!(waste.room(Instant::ZERO, 16), 0);
        assert_eq!(waste.room(Instant::ZERO + WASTE_PAUSE, 16), 1);
    }

    #[test]
    fn the_table_of_wasters_is_bounded_and_keeps_the_worst() {
        let mut table = BTreeMap::new();
        add_bounded(&mut table, peer(0), 1_000);
        for number in 1..=MAX_WASTERS as u64 * 2 {
            add_bounded(&mut table, peer(number), 1);
        }
        assert_eq!(table.len(), MAX_WASTERS);
        assert_eq!(table.get(&peer(0)), Some(&1_000));
    }
}
