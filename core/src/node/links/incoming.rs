//! Streams that come in: who may even try.

use alloc::collections::BTreeMap;
use core::net::{IpAddr, Ipv6Addr};

use super::super::turns::Host;
use super::super::{IncomingFrom, Node, Transmit};
use super::{Link, Origin};
use crate::limits::{
    MAX_HALF_OPEN_LINKS, MAX_HALF_OPEN_LINKS_PER_IP, MAX_HANDSHAKES_PER_SECOND,
    MAX_HANDSHAKES_PER_SECOND_PER_IP, MAX_INCOMING_LINKS, MAX_SESSIONS, MAX_SESSIONS_PER_IP,
};
use crate::path::PathKind;
use crate::session::{Role, Setup};
use crate::time::Instant;

/// Counts of links that others opened. A table of sources is as large as the links or the
/// handshakes of one second, and both are bounded.
#[derive(Debug, Default)]
pub(in super::super) struct Strangers {
    half_open: usize,
    links: usize,
    by_source: BTreeMap<Host, Count>,
    second_began: Instant,
    begun: u32,
    begun_by_source: BTreeMap<Host, u32>,
}

#[derive(Debug, Default)]
struct Count {
    half_open: usize,
    links: usize,
}

impl Strangers {
    /// Why a stream from there is not taken now, or `None` if it is.
    fn refuses(&mut self, now: Instant, from: IncomingFrom) -> Option<&'static str> {
        if now.since(self.second_began).as_secs() >= 1 {
            self.second_began = now;
            self.begun = 0;
            self.begun_by_source.clear();
        }
        if self.half_open >= MAX_HALF_OPEN_LINKS {
            return Some("too_many_half_open");
        }
        if self.links >= MAX_INCOMING_LINKS {
            return Some("too_many_incoming_links");
        }
        if self.begun >= MAX_HANDSHAKES_PER_SECOND {
            return Some("too_many_handshakes");
        }
        let source = source(from);
        let (half_open, links) =
            self.by_source.get(&source).map_or((0, 0), |count| (count.half_open, count.links));
        let begun = self.begun_by_source.get(&source).copied().unwrap_or(0);
        if half_open >= MAX_HALF_OPEN_LINKS_PER_IP {
            Some("too_many_half_open_from_ip")
        } else if links >= MAX_SESSIONS_PER_IP {
            Some("too_many_sessions_from_ip")
        } else if begun >= MAX_HANDSHAKES_PER_SECOND_PER_IP {
            Some("too_many_handshakes_from_ip")
        } else {
            None
        }
    }

    pub(super) fn add(&mut self, from: IncomingFrom) {
        self.half_open += 1;
        self.links += 1;
        self.begun += 1;
        let source = source(from);
        let count = self.by_source.entry(source).or_default();
        count.half_open += 1;
        count.links += 1;
        *self.begun_by_source.entry(source).or_default() += 1;
    }

    pub(super) fn established(&mut self, from: IncomingFrom) {
        self.half_open -= 1;
        if let Some(count) = self.by_source.get_mut(&source(from)) {
            count.half_open -= 1;
        }
    }

    pub(super) fn remove(&mut self, from: IncomingFrom, half_open: bool) {
        if half_open {
            self.established(from);
        }
        self.links -= 1;
        let source = source(from);
        if let Some(count) = self.by_source.get_mut(&source) {
            count.links -= 1;
            if count.links == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

/// What is counted as one stranger. (The address of a caller through the relay is known to the
/// relay alone, which counts it too; its login has proven the key.)
fn source(from: IncomingFrom) -> Host {
    match from {
        IncomingFrom::Tcp(address) => Host::Network(network_of(address.ip())),
        IncomingFrom::Circuit(peer) => Host::Key(peer),
    }
}

/// An address, or the /64 that it is in.
pub(in super::super) fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        ip @ IpAddr::V4(_) => ip,
    }
}

impl Node {
    pub(in super::super) fn on_incoming(&mut self, incoming: u64, from: IncomingFrom) {
        let refusal = if !self.contents.values().any(|content| content.serve) {
            Some("nothing_to_serve")
        } else if self.links.table.len() >= MAX_SESSIONS {
            Some("too_many_links")
        } else {
            self.links.strangers.refuses(self.now, from)
        };
        if let Some(reason) = refusal {
            self.counters.count(reason);
            return self.transmit(Transmit::Refuse { incoming });
        }
        let path = match from {
            IncomingFrom::Tcp(_) => PathKind::Direct,
            IncomingFrom::Circuit(_) => PathKind::Relay,
        };
        let link = self.links.add(Link::new(path, Origin::Theirs(from)));
        let role = Role::Responder {
            accept_strangers: self.config.accept_strangers,
            accept_aes: self.config.prefer_aes,
        };
        let setup = Setup { role, instance: self.config.me.number };
        self.transmit(Transmit::Accept { incoming, link, setup });
    }
}

#[cfg(test)]
mod tests {
    use core::net::SocketAddr;

    use super::*;
    use crate::id::PeerId;

    #[test]
    fn one_address_cannot_take_all_the_room() {
        let mut strangers = Strangers::default();
        let bad = IncomingFrom::Tcp(SocketAddr::from(([192, 0, 2, 1], 1)));
        let good = IncomingFrom::Tcp(SocketAddr::from(([192, 0, 2, 2], 1)));
        let mut now = Instant::ZERO;
        let mut taken = 0;
        while strangers.refuses(now, bad).is_none() {
            strangers.add(bad);
            taken += 1;
        }
        assert_eq!(taken, MAX_HALF_OPEN_LINKS_PER_IP);
        assert_eq!(strangers.refuses(now, good), None);
        for _ in 0..taken {
            strangers.established(bad);
        }
        let mut links = taken;
        while links < MAX_SESSIONS_PER_IP {
            now = now + core::time::Duration::from_secs(1);
            while strangers.refuses(now, bad).is_none() {
                strangers.add(bad);
                strangers.established(bad);
                links += 1;
            }
        }
        assert_eq!(strangers.refuses(now, bad), Some("too_many_sessions_from_ip"));
        for _ in 0..links {
            strangers.remove(bad, false);
        }
        assert!(strangers.by_source.is_empty());
    }

    #[test]
    fn handshakes_of_a_second_are_counted_in_all_and_by_source() {
        let mut strangers = Strangers::default();
        let begin = |strangers: &mut Strangers, key: u8, now| {
            let from = IncomingFrom::Circuit(PeerId([key; 32]));
            let refusal = strangers.refuses(now, from);
            if refusal.is_none() {
                strangers.add(from);
                strangers.remove(from, true);
            }
            refusal
        };
        for key in 0..(MAX_HANDSHAKES_PER_SECOND / MAX_HANDSHAKES_PER_SECOND_PER_IP) as u8 {
            for _ in 0..MAX_HANDSHAKES_PER_SECOND_PER_IP {
                assert_eq!(begin(&mut strangers, key, Instant::ZERO), None);
            }
            let refusal = begin(&mut strangers, key, Instant::ZERO);
            let in_all = strangers.begun == MAX_HANDSHAKES_PER_SECOND;
            let by_source = "too_many_handshakes_from_ip";
            assert_eq!(refusal, Some(if in_all { "too_many_handshakes" } else { by_source }));
        }
        assert_eq!((strangers.half_open, strangers.links), (0, 0));
        let almost = Instant::from_nanos(999_999_999);
        assert_eq!(begin(&mut strangers, 99, almost), Some("too_many_handshakes"));
        assert_eq!(begin(&mut strangers, 99, Instant::from_nanos(1_000_000_000)), None);
        assert_eq!((strangers.begun, strangers.begun_by_source.len()), (1, 1));
    }

    #[test]
    fn half_open_links_are_bounded_in_all() {
        let mut strangers = Strangers::default();
        for number in 0..MAX_HALF_OPEN_LINKS {
            let from = IncomingFrom::Circuit(PeerId([number as u8; 32]));
            assert_eq!(strangers.refuses(Instant::ZERO, from), None);
            strangers.add(from);
        }
        let from = IncomingFrom::Tcp(SocketAddr::from(([192, 0, 2, 1], 1)));
        assert_eq!(strangers.refuses(Instant::ZERO, from), Some("too_many_half_open"));
        strangers.remove(IncomingFrom::Circuit(PeerId([0; 32])), true);
        assert_eq!(strangers.refuses(Instant::ZERO, from), None);
    }

    #[test]
    fn one_caller_through_the_relay_cannot_take_all_the_room() {
        let mut strangers = Strangers::default();
        let [bad, good] = [1, 2].map(|key| IncomingFrom::Circuit(PeerId([key; 32])));
        for _ in 0..MAX_HALF_OPEN_LINKS_PER_IP {
            assert_eq!(strangers.refuses(Instant::ZERO, bad), None);
            strangers.add(bad);
        }
        let refusal = strangers.refuses(Instant::ZERO, bad);
        assert_eq!(refusal, Some("too_many_half_open_from_ip"));
        assert_eq!(strangers.refuses(Instant::ZERO, good), None);
    }

    #[test]
    fn strangers_leave_room_for_our_own_dials() {
        let mut strangers = Strangers::default();
        for number in 0..MAX_INCOMING_LINKS {
            let now = Instant::ZERO + core::time::Duration::from_secs(number as u64);
            let from = IncomingFrom::Circuit(PeerId([(number / 16) as u8; 32]));
            assert_eq!(strangers.refuses(now, from), None);
            strangers.add(from);
            strangers.established(from);
        }
        let now = Instant::ZERO + core::time::Duration::from_secs(10_000);
        let from = IncomingFrom::Circuit(PeerId([255; 32]));
        assert_eq!(strangers.refuses(now, from), Some("too_many_incoming_links"));
        const { assert!(MAX_INCOMING_LINKS + 128 <= MAX_SESSIONS) };
    }

    #[test]
    fn a_host_is_its_ipv6_network() {
        let at =
            |last| IncomingFrom::Tcp(SocketAddr::from(([0x2001, 0xDB8, 0, 1, 0, 0, 0, last], 1)));
        assert_eq!(source(at(1)), source(at(2)));
        let mapped = IncomingFrom::Tcp(SocketAddr::from((
            core::net::Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(),
            1,
        )));
        assert_eq!(source(mapped), Host::Network(IpAddr::from([192, 0, 2, 1])));
    }

    #[test]
    fn a_source_is_forgotten_with_its_last_link() {
        let mut strangers = Strangers::default();
        let from = IncomingFrom::Circuit(PeerId([1; 32]));
        (0..2).for_each(|_| strangers.add(from));
        strangers.remove(from, true);
        let count = &strangers.by_source[&source(from)];
        assert_eq!((count.links, count.half_open), (1, 1));
        strangers.remove(from, true);
        assert!(strangers.by_source.is_empty());
    }
}
