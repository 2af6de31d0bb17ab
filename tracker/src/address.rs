//! What an IP address says about where it is, and whose request it is.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;

/// Whether an address means the same host everywhere on the internet. Private, link-local, loopback
/// and carrier-grade addresses (RFC 1918, 3927, 6598, 4193) mean a host nearby, or nobody.
pub(crate) fn is_global(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let shared = a == 100 && (64..128).contains(&b);
            let near = v4.is_private() || v4.is_loopback() || v4.is_link_local();
            !(near || shared || a == 0)
        }
        IpAddr::V6(v6) => {
            let near = v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local();
            !(near || v6.is_unspecified())
        }
    }
}

/// To whom a request counts: an IPv4 address, or the /64 that an IPv6 subscriber has at least.
pub(crate) fn subscriber(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// The address whence a request came. `X-Forwarded-For` is believed only if the connection is from
/// a configured proxy, and then from its end up to the first address that is not such a proxy: what
/// stands before that was written by the client.
// spec T10
pub(crate) fn request_ip(
    connection: SocketAddr,
    headers: &HeaderMap,
    trusted: &[IpAddr],
) -> IpAddr {
    let mut ip = connection.ip().to_canonical();
    let chain = headers.get_all("x-forwarded-for");
    let hops: Vec<&str> = chain
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    for hop in hops.into_iter().rev() {
        if !trusted.contains(&ip) {
            break;
        }
        let Ok(before) = hop.parse::<IpAddr>() else { break };
        ip = before.to_canonical();
    }
    ip
}

/// An address with port as it is stored: with the speaker's IP where the announced one is
/// unspecified.
pub(crate) fn fill_in(address: SocketAddr, speaker: IpAddr) -> SocketAddr {
    let ip = address.ip().to_canonical();
    SocketAddr::new(if ip.is_unspecified() { speaker } else { ip }, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn nearby_addresses_are_not_global() {
        for near in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "127.0.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "fe80::1",
            "fd00::1",
            "::",
            "::ffff:10.0.0.1",
        ] {
            assert!(!is_global(ip(near)), "{near}");
        }
        for global in ["1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1", "::ffff:8.8.8.8"] {
            assert!(is_global(ip(global)), "{global}");
        }
    }

    // Spec T10
    #[test]
    fn only_a_configured_proxy_may_speak_for_others() {
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", "6.6.6.6, 9.9.9.9".parse().unwrap());
        headers.append("x-forwarded-for", "10.0.0.2".parse().unwrap());
        let from = |text: &str| SocketAddr::new(ip(text), 1);
        let trusted = [ip("10.0.0.1"), ip("10.0.0.2")];
        assert_eq!(request_ip(from("10.0.0.9"), &headers, &trusted), ip("10.0.0.9"));
        assert_eq!(request_ip(from("10.0.0.1"), &headers, &trusted), ip("9.9.9.9"));
        assert_eq!(request_ip(from("::ffff:10.0.0.1"), &headers, &trusted), ip("9.9.9.9"));
        assert_eq!(request_ip(from("10.0.0.1"), &headers, &[]), ip("10.0.0.1"));
        headers.append("x-forwarded-for", "unknown".parse().unwrap());
        assert_eq!(request_ip(from("10.0.0.1"), &headers, &trusted), ip("10.0.0.1"));
    }

    #[test]
    fn an_ipv6_subscriber_is_a_network() {
        assert_eq!(subscriber(ip("2001:db8:1:2:3:4:5:6")), ip("2001:db8:1:2::"));
        assert_eq!(subscriber(ip("::ffff:1.2.3.4")), ip("1.2.3.4"));
    }
}
