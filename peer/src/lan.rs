//! Which addresses of this machine others can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Addresses to announce for `port`, best first: those of all interfaces, loopback only if there is
/// nothing else or if `with_loopback` (somebody on this machine may be behind a firewall of its
/// own).
pub(crate) fn addresses(listen: SocketAddr) -> Vec<SocketAddr> {
    if !listen.ip().is_unspecified() {
        return vec![listen];
    }
    let v6_too = listen.is_ipv6();
    let mut found: Vec<IpAddr> = interfaces();
    found.retain(|ip| ip.is_ipv4() || v6_too);
    if let Some(primary) = primary_address() {
        found.sort_by_key(|ip| *ip != primary);
    }
    if found.is_empty() {
        found.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    found.into_iter().map(|ip| SocketAddr::new(ip, listen.port())).collect()
}

/// The address that a link of the built-in tracker names: what another machine of the network can
/// reach, or loopback where there is no network.
pub(crate) fn link_host() -> IpAddr {
    primary_address()
        .or_else(|| interfaces().into_iter().next())
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Global and private addresses of the interfaces that are up, IPv4 first; no loopback, no
/// link-local.
fn interfaces() -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .into_iter()
        .filter(|interface| !interface.is_loopback() && !interface.is_link_local())
        .map(|interface| interface.ip())
        .collect();
    found.sort_by_key(|ip| (ip.is_ipv6(), *ip));
    found.dedup();
    found
}

/// The address from which this machine would speak to the world. Connecting a UDP socket sends
/// nothing; it only asks the routing table.
fn primary_address() -> Option<IpAddr> {
    let probe = |local: SocketAddr, remote: SocketAddr| {
        let socket = UdpSocket::bind(local).ok()?;
        socket.connect(remote).ok()?;
        let ip = socket.local_addr().ok()?.ip();
        (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
    };
    // Addresses for documentation (RFC 5737, RFC 3849): nobody is there, and a default route covers
    // them.
    let v4 = probe((Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv4Addr::new(192, 0, 2, 1), 9).into());
    let v6 = || {
        let remote = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        probe((Ipv6Addr::UNSPECIFIED, 0).into(), (remote, 9).into())
    };
    v4.or_else(v6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_address_is_announced_as_it_is() {
        let fixed: SocketAddr = "127.0.0.1:4".parse().unwrap();
        assert_eq!(addresses(fixed), vec![fixed]);
    }

    #[test]
    fn there_is_always_an_address() {
        let all = addresses("[::]:5".parse().unwrap());
        assert!(!all.is_empty() && all.iter().all(|address| address.port() == 5));
    }
}
