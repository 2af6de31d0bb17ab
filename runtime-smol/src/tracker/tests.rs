//! Calls to trackers that answer, hang up, or are slow.

use std::net::{TcpListener, TcpStream};

use futures_channel::mpsc;
use futures_util::{AsyncReadExt, AsyncWriteExt};
use smol::Async;
use towpath_core::id::Locator;
use towpath_runtime::node::Word;
use towpath_runtime::peer::{Parts, PeerConfig};

use super::*;
use crate::link;

const ASK: Request = Request::Lookup { locator: Locator([7; 32]) };
const ANSWER: &str = "HTTP/1.1 429 Later\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}";
const BUSY: Result<Response, CallError> = Err(CallError::Busy { retry_after_seconds: 7 });

fn listener() -> (Async<TcpListener>, Tracker) {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).unwrap();
    let url = format!("http://{}", listener.get_ref().local_addr().unwrap());
    (listener, Tracker::parse(&url).unwrap())
}

async fn serve(stream: &mut Async<TcpStream>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("GET /api/files/0707"), "{head}");
    assert!(head.contains("authorization: Bearer token\r\n"), "{head}");
    stream.write_all(ANSWER.as_bytes()).await.unwrap();
}

#[test]
fn a_connection_is_kept_and_replaced_once_when_it_was_closed() {
    let (listener, tracker) = listener();
    let _server = smol::spawn(async move {
        for answers in [2, 1] {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..answers {
                serve(&mut stream).await;
            }
        }
        // A third connection would not be served.
        std::future::pending::<()>().await;
    });
    smol::block_on(async {
        let mut kept = None;
        for _ in 0..3 {
            assert_eq!(answer(&tracker, &mut kept, &ASK, Some("token")).await, BUSY);
        }
    });
}

#[test]
fn a_tracker_that_is_not_there_refuses() {
    let (listener, tracker) = listener();
    drop(listener);
    let why =
        format!("the tracker at {} refused the connection: is it running?", tracker.authority);
    let error = smol::block_on(answer(&tracker, &mut None, &ASK, None));
    assert_eq!(error, Err(CallError::Unreachable(why)));
}

#[test]
fn calls_do_not_wait_for_one_another() {
    let (listener, tracker) = listener();
    let config = PeerConfig::new([1; 32], format!("http://{}", tracker.authority));
    let mut parts = Parts::new(&config, link::start).unwrap();
    let (ask, calls) = mpsc::unbounded();
    let _task = smol::spawn(run(parts.commands, parts.tracker, calls));
    for number in 0..2 {
        let token = Some("token".into());
        ask.unbounded_send(Call { call: CallId(number), request: ASK, token }).unwrap();
    }
    smol::block_on(async {
        // Both are there before either is answered.
        let (mut first, _) = listener.accept().await.unwrap();
        let (mut second, _) = listener.accept().await.unwrap();
        serve(&mut second).await;
        serve(&mut first).await;
        for _ in 0..2 {
            let word = parts.words.next().await.unwrap();
            let Word::Input(Input::Reply { result, .. }) = word else { panic!("{word:?}") };
            assert_eq!(result, BUSY);
        }
    });
}
