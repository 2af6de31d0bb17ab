//! Calls to trackers that answer, hang up, are slow, or say too much.

use std::collections::VecDeque;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const GET: HttpCall = HttpCall { method: "GET", path: String::new(), body: None };

/// A server that gives each call on each connection the next answer; an empty one closes.
async fn server(connections: &[&[&'static str]]) -> Tracker {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base/", listener.local_addr().unwrap());
    let connections: Vec<_> =
        connections.iter().map(|answers| answers.iter().copied().collect()).collect();
    tokio::spawn(async move {
        for answers in connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut answers: VecDeque<&str> = answers;
            while let Some(answer) = answers.pop_front() {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                assert!(head.starts_with("GET /base/api HTTP/1.1\r\n"), "{head}");
                assert!(head.contains("authorization: Bearer token\r\n"), "{head}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
        // The last connection stays open and silent.
        std::future::pending::<()>().await;
    });
    Tracker::parse(&url).unwrap()
}

async fn call(tracker: &Tracker, kept: &mut Option<Connection>) -> Result<Reply, CallError> {
    let call = HttpCall { path: "/api".into(), ..GET };
    exchange(tracker, kept, &call, Some("token")).await
}

const ANSWER: &str = "HTTP/1.1 429 Later\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}";

#[test]
fn base_urls_are_taken_apart() {
    let tracker = Tracker::parse("https://[::1]/a/b/").unwrap();
    assert_eq!((tracker.tls, &*tracker.host, tracker.port), (true, "::1", 443));
    assert_eq!(tracker.relay_uri().unwrap(), "wss://[::1]/a/b/relay");
    let tracker = Tracker::parse("http://example.org:81").unwrap();
    assert_eq!((tracker.tls, &*tracker.host, tracker.port), (false, "example.org", 81));
    assert_eq!(tracker.relay_uri().unwrap(), "ws://example.org:81/relay");
    for wrong in ["", "example.org", "ftp://example.org", "http://", "http:///x", "https://a b"] {
        let error = Tracker::parse(wrong).unwrap_err().to_string();
        assert!(error.contains("write https://HOST"), "{error}");
    }
}

#[tokio::test]
async fn a_connection_is_kept_and_replaced_once_when_it_was_closed() {
    let tracker = server(&[&[ANSWER, ANSWER], &[ANSWER]]).await;
    let mut kept = None;
    for _ in 0..3 {
        let reply = call(&tracker, &mut kept).await.unwrap();
        assert_eq!((reply.status, reply.retry_after), (429, Some(7)));
        assert_eq!(reply.body, "{}");
    }
    assert!(kept.is_some());
}

// Spec T4
#[tokio::test]
async fn answers_that_are_none_are_named() {
    let endless = "x".repeat(MAX_REPLY_BYTES + 1);
    let endless = format!("HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n{endless}");
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{";
    let tracker = server(&[&["SSH-2.0-OpenSSH_10.0\r\n\r\n"], &[endless.leak()], &[cut]]).await;
    let garbage = call(&tracker, &mut None).await.err();
    assert_eq!(garbage, Some(CallError::Garbage("not_http")));
    let endless = call(&tracker, &mut None).await.err();
    assert_eq!(endless, Some(CallError::Garbage("reply_too_long")));
    let cut = call(&tracker, &mut None).await.err();
    let closed = format!("the tracker at {} closed the connection", tracker.authority);
    assert_eq!(cut, Some(CallError::Unreachable(closed)));
}

#[tokio::test]
async fn a_tracker_that_is_not_there_refuses() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let tracker = Tracker::parse(&format!("http://{address}")).unwrap();
    let refused = format!("the tracker at {address} refused the connection: is it running?");
    let error = call(&tracker, &mut None).await.err();
    assert_eq!(error, Some(CallError::Unreachable(refused)));
}
