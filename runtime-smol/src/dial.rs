//! Dialling: peers by their address, trackers by their name.

use std::io;
use std::net::{SocketAddr, TcpStream};

use futures_util::stream::{FuturesUnordered, StreamExt};
use smol::future::FutureExt;
use smol::net::resolve;
use smol::{Async, Timer};
use towpath_core::limits::DIAL_STAGGER;
use towpath_runtime::dial::no_address;
use towpath_runtime::link::{Plan, Words};

use crate::link;

/// Dials a peer and runs the session. Ends when the node abandons it: the node decides for how
/// long.
pub(crate) async fn run(plan: Plan, to: SocketAddr, words: Words) {
    match connect(to).await {
        Ok(stream) => link::run(plan.begin(None), Some(stream), words).await,
        Err(error) => plan.failed(&error),
    }
}

async fn connect(to: SocketAddr) -> io::Result<Async<TcpStream>> {
    let stream = Async::<TcpStream>::connect(to).await?;
    stream.get_ref().set_nodelay(true)?;
    Ok(stream)
}

/// Dials all addresses of a host, the next one when the one before failed or has kept us waiting;
/// the first that answers is taken.
pub(crate) async fn host(name: &str, port: u16) -> io::Result<Async<TcpStream>> {
    let mut addresses = resolve((name, port)).await?.into_iter();
    let mut dials = FuturesUnordered::new();
    let mut failed = no_address();
    loop {
        let next = addresses.next();
        let more = next.is_some();
        dials.extend(next.map(connect));
        let dialled = async { Some(dials.next().await) };
        let waited = async {
            match more {
                true => Timer::after(DIAL_STAGGER).await,
                false => std::future::pending().await,
            };
            None
        };
        match dialled.or(waited).await {
            Some(Some(Ok(stream))) => return Ok(stream),
            Some(Some(Err(error))) => failed = error,
            Some(None) => return Err(failed),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use towpath_core::path::DialError;
    use towpath_runtime::dial::dial_error;
    use towpath_runtime::listen;

    use super::*;

    #[test]
    fn a_host_is_reached_at_the_address_that_answers() {
        // `localhost` is two addresses on most machines, and only one of them listens.
        let listener = listen::bind("127.0.0.1:0".parse().ok()).unwrap();
        let at = listener.local_addr().unwrap();
        smol::block_on(async {
            let stream = host("localhost", at.port()).await.unwrap();
            assert_eq!(stream.get_ref().peer_addr().unwrap(), at);
            drop(listener);
            let refused = host("localhost", at.port()).await.unwrap_err();
            assert_eq!(dial_error(&refused), DialError::Refused);
        });
    }
}
