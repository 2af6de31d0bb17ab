//! Listening: streams that come in go to the node's task.

use std::net::SocketAddr;

use futures_channel::mpsc::Sender;
use futures_util::SinkExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time;
use towpath_runtime::limits::LISTEN_REST;
use towpath_runtime::listen::canonical;

/// Hands each stream that comes in to the node's task, as fast as that takes them.
pub(crate) async fn run(listener: TcpListener, mut node: Sender<(TcpStream, SocketAddr)>) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let came = (stream, canonical(from));
                if came.0.set_nodelay(true).is_ok() && node.send(came).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a stream");
                time::sleep(LISTEN_REST).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_channel::mpsc;
    use futures_util::StreamExt;
    use towpath_runtime::listen::bind;

    use super::*;

    #[tokio::test]
    async fn without_an_address_both_families_come_in_under_their_own_addresses() {
        let listener = TcpListener::from_std(bind(None).unwrap()).unwrap();
        let at = listener.local_addr().unwrap();
        let (node, mut came) = mpsc::channel(0);
        tokio::spawn(run(listener, node));
        let mut hosts = vec!["127.0.0.1"];
        hosts.extend(at.is_ipv6().then_some("::1"));
        for host in hosts {
            let stream = TcpStream::connect((host, at.port())).await.unwrap();
            let (_, from) = came.next().await.unwrap();
            assert_eq!(from, stream.local_addr().unwrap());
        }
    }
}
