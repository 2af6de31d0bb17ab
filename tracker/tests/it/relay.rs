//! The relay over real WebSockets: circuits between two peers, and what strangers try.

use std::time::Duration;

use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use towpath_core::id::LinkId;
use towpath_core::relay::client::{Event, Input};

use crate::harness::Server;
use crate::peer::{Peer, Seen, Web, connect};

const LONG: Duration = Duration::from_secs(20);

/// A circuit from `caller` to `called`, both with the link number 1; with what may be written
/// first.
async fn circuit(caller: &mut Peer, called: &mut Peer) -> usize {
    let link = LinkId(1);
    caller.relay.send(Input::Open { link, to: called.me }).unwrap();
    let incoming = called
        .wait(|seen| match seen {
            Seen::Event(Event::Incoming { incoming, .. }) => Some(incoming),
            _ => None,
        })
        .await;
    called.relay.send(Input::Accept { incoming, link }).unwrap();
    called.wait(|seen| matches!(seen, Seen::Opened).then_some(())).await;
    caller.wait(|seen| matches!(seen, Seen::Opened).then_some(())).await;
    caller.wait(|seen| if let Seen::Writable(bytes) = seen { Some(bytes) } else { None }).await
}

// Spec R1, R2, R20
#[tokio::test]
async fn bytes_cross_a_circuit_in_order() {
    let server = Server::start().await;
    let mut caller = Peer::login(&server, 1, 1).await;
    let mut called = Peer::login(&server, 2, 1).await;
    let mut room = circuit(&mut caller, &mut called).await;
    let total = 8 * 1024 * 1024;
    let sent: Vec<u8> =
        (0..total as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let all = Bytes::from(sent);
    let sending = async {
        let mut at = 0;
        while at < total {
            while room == 0 {
                room += caller
                    .wait(|seen| if let Seen::Writable(bytes) = seen { Some(bytes) } else { None })
                    .await;
            }
            let n = room.min(60_000).min(total - at);
            caller
                .relay
                .send(Input::Data { link: LinkId(1), bytes: all.slice(at..at + n) })
                .unwrap();
            at += n;
            room -= n;
        }
    };
    let receiving = async {
        let mut got = BytesMut::new();
        while got.len() < total {
            let bytes = called
                .wait(|seen| if let Seen::Bytes(bytes) = seen { Some(bytes) } else { None })
                .await;
            got.extend_from_slice(&bytes);
        }
        got
    };
    let ((), got) = timeout(LONG, async { tokio::join!(sending, receiving) }).await.unwrap();
    assert!(got == all, "the bytes that arrive are the bytes that were sent");
}

#[tokio::test]
async fn a_call_to_nobody_fails_and_a_peer_that_vanishes_ends_its_circuits() {
    let server = Server::start().await;
    let mut caller = Peer::login(&server, 1, 1).await;
    let mut called = Peer::login(&server, 2, 1).await;
    let mut nobody = called.me;
    nobody.number += 1;
    caller.relay.send(Input::Open { link: LinkId(9), to: nobody }).unwrap();
    caller
        .wait(|seen| {
            matches!(seen, Seen::Event(Event::OpenFailed { link: LinkId(9), .. })).then_some(())
        })
        .await;
    circuit(&mut caller, &mut called).await;
    called.vanish();
    caller.wait(|seen| matches!(seen, Seen::Ended).then_some(())).await;
}

/// The code with which the other side closed.
async fn close_code(web: &mut Web) -> Option<CloseCode> {
    let closed = async {
        while let Some(Ok(message)) = web.next().await {
            if let Message::Close(frame) = message {
                return frame.map(|frame| frame.code);
            }
        }
        None
    };
    timeout(LONG, closed).await.expect("it is closed")
}

// Spec R5b
#[tokio::test]
async fn garbage_ends_a_connection_and_nothing_else() {
    let server = Server::start().await;
    let mut witness = Peer::login(&server, 1, 1).await;
    let mut web = connect(server.addr()).await;
    web.send(Message::Text("{\"type\":\"relay_ping\"}".into())).await.unwrap();
    assert_eq!(close_code(&mut web).await, Some(CloseCode::Unsupported));
    for garbage in [&b""[..], b"\x00", b"\x01xxxx", b"\x02\0\0\0\x01x", b"\xff", &[0; 65_000]] {
        let mut web = connect(server.addr()).await;
        web.send(Message::Binary(Bytes::copy_from_slice(garbage))).await.unwrap();
        assert_eq!(
            close_code(&mut web).await,
            Some(CloseCode::Protocol),
            "{} bytes",
            garbage.len()
        );
    }
    let mut web = connect(server.addr()).await;
    let _ = web.send(Message::Binary(vec![0; 70_000].into())).await;
    assert_eq!(close_code(&mut web).await, Some(CloseCode::Size));
    let mut called = Peer::login(&server, 2, 1).await;
    circuit(&mut witness, &mut called).await;
}

// Spec R1
#[tokio::test]
async fn an_upgrade_that_is_none_is_refused() {
    let server = Server::start().await;
    for (head, status) in [
        ("GET /relay HTTP/1.1\r\nhost: x\r\n", "400"),
        ("POST /relay HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n", "400"),
        (
            "GET /relay HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 8\r\nsec-websocket-key: x\r\n",
            "400",
        ),
        (
            "GET /relay HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-protocol: towpath-relay-v1\r\n",
            "400",
        ),
    ] {
        let mut stream = TcpStream::connect(server.addr()).await.unwrap();
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start[..], format!("HTTP/1.1 {status}").as_bytes(), "{head}");
    }
}

#[tokio::test]
async fn a_stop_says_goodbye_to_all() {
    let server = Server::start().await;
    let mut web = connect(server.addr()).await;
    let mut logged_in = Peer::login(&server, 1, 1).await;
    let address = server.addr();
    let started = std::time::Instant::now();
    let stop = tokio::spawn(server.running.shutdown());
    assert_eq!(close_code(&mut web).await, Some(CloseCode::Away));
    logged_in.wait(|seen| matches!(seen, Seen::Event(Event::LoggedOut(_))).then_some(())).await;
    drop(web);
    timeout(LONG, stop).await.unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(9), "it did not wait for the last resort");
    assert!(TcpStream::connect(address).await.is_err(), "the port is free");
}
