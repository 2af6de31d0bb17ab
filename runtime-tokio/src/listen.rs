//! Listening: streams that come in are shown to the node, which accepts or refuses each.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time;

use crate::node::Word;

/// Streams that the kernel holds until we take them.
const BACKLOG: i32 = 256;
/// How long to leave the kernel alone when it has no socket left for us.
const REST: Duration = Duration::from_millis(100);

/// Listens at `at`; without an address on all of this machine, IPv6 and IPv4, at any port.
pub(crate) fn bind(at: Option<SocketAddr>) -> io::Result<TcpListener> {
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
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Shows each stream that comes in to the node.
pub(crate) async fn run(listener: TcpListener, node: UnboundedSender<Word>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                if stream.set_nodelay(true).is_ok() && node.send(Word::Came(stream, from)).is_err()
                {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a stream");
                time::sleep(REST).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn without_an_address_both_families_come_in_under_their_own_addresses() {
        let listener = bind(None).unwrap();
        let at = listener.local_addr().unwrap();
        let (node, mut words) = mpsc::unbounded_channel();
        tokio::spawn(run(listener, node));
        let mut hosts = vec!["127.0.0.1"];
        hosts.extend(at.is_ipv6().then_some("::1"));
        for host in hosts {
            let stream = TcpStream::connect((host, at.port())).await.unwrap();
            let Some(Word::Came(_, from)) = words.recv().await else { panic!("a stream comes") };
            assert_eq!(from, stream.local_addr().unwrap());
        }
    }

    #[tokio::test]
    async fn an_address_is_listened_at_once() {
        let first = bind("127.0.0.1:0".parse().ok()).unwrap();
        let taken = bind(first.local_addr().ok()).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }
}
