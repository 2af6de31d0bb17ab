//! Dialling: peers by their address, trackers by their name.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::{select, time};
use towpath_core::id::LinkId;
use towpath_core::limits::DIAL_STAGGER;
use towpath_core::node::Input;
use towpath_core::path::DialError;
use towpath_core::session::Setup;

use crate::Shared;
use crate::link::{self, Carrier, Word};

/// Dials a peer and runs the session. Ends when the node abandons it: the node decides for how
/// long.
pub(crate) async fn run(
    shared: Arc<Shared>,
    link: LinkId,
    to: SocketAddr,
    setup: Setup,
    words: UnboundedReceiver<Word>,
    own: UnboundedSender<Word>,
) {
    match connect(to).await {
        Ok(stream) => link::run(shared, link, setup, Carrier::Tcp(stream), words, own).await,
        Err(error) => shared.tell(Input::DialFailed { link, error: dial_error(&error) }),
    }
}

async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn dial_error(error: &io::Error) -> DialError {
    match error.kind() {
        ErrorKind::ConnectionRefused => DialError::Refused,
        ErrorKind::NetworkUnreachable
        | ErrorKind::HostUnreachable
        | ErrorKind::AddrNotAvailable
        | ErrorKind::TimedOut => DialError::Unreachable,
        _ => DialError::Other(error.to_string()),
    }
}

/// Dials all addresses of a host, the next one when the one before failed or has kept us waiting;
/// the first that answers is taken.
pub(crate) async fn host(name: &str, port: u16) -> io::Result<TcpStream> {
    let mut addresses = lookup_host((name, port)).await?;
    let mut dials = FuturesUnordered::new();
    let mut failed = io::Error::new(ErrorKind::NotFound, "the name has no address");
    loop {
        let next = addresses.next();
        let more = next.is_some();
        dials.extend(next.map(connect));
        select! {
            dialled = dials.next() => match dialled {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => failed = error,
                None => return Err(failed),
            },
            () = time::sleep(DIAL_STAGGER), if more => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen;

    #[tokio::test]
    async fn a_host_is_reached_at_the_address_that_answers() {
        // `localhost` is two addresses on most machines, and only one of them listens.
        let listener = listen::bind("127.0.0.1:0".parse().ok()).unwrap();
        let at = listener.local_addr().unwrap();
        let stream = host("localhost", at.port()).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), at);
        drop(listener);
        let refused = host("localhost", at.port()).await.unwrap_err();
        assert_eq!(dial_error(&refused), DialError::Refused);
    }
}
