//! The socket that listens, and where its streams come from.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::LISTEN_BACKLOG;

/// Listens at `at`, without blocking; without an address on all of this machine, IPv6 and IPv4, at
/// any port.
///
/// # Errors
/// The address is taken, is not ours, or needs rights that we lack.
pub fn bind(at: Option<SocketAddr>) -> io::Result<TcpListener> {
    match at {
        Some(at) => listener(at),
        None => listener((Ipv6Addr::UNSPECIFIED, 0).into())
            .or_else(|_| listener((Ipv4Addr::UNSPECIFIED, 0).into())),
    }
}

fn listener(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    if at.is_ipv6() {
        socket.set_only_v6(!at.ip().is_unspecified())?;
    }
    // Only over connections that are gone: the port of a command that was just stopped is free.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    socket.listen(LISTEN_BACKLOG)?;
    Ok(socket.into())
}

/// An IPv4 address that came in at an IPv6 socket, as what it is.
#[must_use]
pub fn canonical(from: SocketAddr) -> SocketAddr {
    SocketAddr::new(from.ip().to_canonical(), from.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_listened_at_once() {
        let first = bind("127.0.0.1:0".parse().ok()).unwrap();
        let taken = bind(first.local_addr().ok()).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }
}
