//! Streams that come in: who may even try.

use alloc::collections::BTreeMap;
use core::net::{IpAddr, Ipv6Addr};

use super::super::{IncomingFrom, Node, Transmit};
use super::{Link, Origin};
use crate::limits::{
    MAX_HALF_OPEN_LINKS, MAX_HALF_OPEN_LINKS_PER_IP, MAX_HANDSHAKES_PER_SECOND,
    MAX_HANDSHAKES_PER_SECOND_PER_IP, MAX_SESSIONS, MAX_SESSIONS_PER_IP,
};
use crate::path::PathKind;
use crate::session::{Role, Setup};
use crate::time::Instant;

/// Counts of links that others opened. A table of addresses is as large as the links or the
/// handshakes of one second, and both are bounded.
#[derive(Debug, Default)]
pub(in super::super) struct Strangers {
    half_open: usize,
    by_ip: BTreeMap<IpAddr, Count>,
    second_began: Instant,
    begun: u32,
    begun_by_ip: BTreeMap<IpAddr, u32>,
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
            self.begun_by_ip.clear();
        }
        if self.half_open >= MAX_HALF_OPEN_LINKS {
            return Some("too_many_half_open");
        }
        if self.begun >= MAX_HANDSHAKES_PER_SECOND {
            return Some("too_many_handshakes");
        }
        let ip = counted_ip(from)?;
        let count = self.by_ip.entry(ip).or_default();
        let refusal = if count.half_open >= MAX_HALF_OPEN_LINKS_PER_IP {
            Some("too_many_half_open_from_ip")
        } else if count.links >= MAX_SESSIONS_PER_IP {
            Some("too_many_sessions_from_ip")
        } else if self.begun_by_ip.get(&ip).is_some_and(|n| *n >= MAX_HANDSHAKES_PER_SECOND_PER_IP)
        {
            Some("too_many_handshakes_from_ip")
        } else {
            None
        };
        if count.links == 0 {
            self.by_ip.remove(&ip);
        }
        refusal
    }

    pub(super) fn add(&mut self, from: IncomingFrom) {
        self.half_open += 1;
        self.begun += 1;
        if let Some(ip) = counted_ip(from) {
            let count = self.by_ip.entry(ip).or_default();
            count.half_open += 1;
            count.links += 1;
            *self.begun_by_ip.entry(ip).or_default() += 1;
        }
    }

    pub(super) fn established(&mut self, from: IncomingFrom) {
        self.half_open -= 1;
        if let Some(count) = counted_ip(from).and_then(|ip| self.by_ip.get_mut(&ip)) {
            count.half_open -= 1;
        }
    }

    pub(super) fn remove(&mut self, from: IncomingFrom, half_open: bool) {
        if half_open {
            self.established(from);
        }
        let Some(ip) = counted_ip(from) else { return };
        if let Some(count) = self.by_ip.get_mut(&ip) {
            count.links -= 1;
            if count.links == 0 {
                self.by_ip.remove(&ip);
            }
        }
    }
}

/// The address that is counted: of IPv6 the /64, because one host has all of it.
fn counted_ip(from: IncomingFrom) -> Option<IpAddr> {
    match from {
        IncomingFrom::Tcp(address) => Some(network_of(address.ip())),
        IncomingFrom::Circuit(_) => None,
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
        assert!(strangers.by_ip.is_empty());
    }

    #[test]
    fn a_host_is_its_ipv6_network() {
        let at =
            |last| IncomingFrom::Tcp(SocketAddr::from(([0x2001, 0xDB8, 0, 1, 0, 0, 0, last], 1)));
        assert_eq!(counted_ip(at(1)), counted_ip(at(2)));
        let mapped = IncomingFrom::Tcp(SocketAddr::from((
            core::net::Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped(),
            1,
        )));
        assert_eq!(counted_ip(mapped), Some(IpAddr::from([192, 0, 2, 1])));
    }
}
