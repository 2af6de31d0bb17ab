//! Nothing that a stranger sends is unbounded: bodies, times, rates, connections.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::call;
use crate::harness::Server;

/// Far more than any of the short limits below.
const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn bodies_that_are_no_json_or_of_another_shape_are_refused() {
    let server = Server::start().await;
    for path in ["/api/peers/register", "/api/peers/heartbeat", "/api/files/announce"] {
        for body in ["", "{", "[]", "null", "\"x\"", "{\"peer_id\":1}", "\u{0}", "{}"] {
            let reply = call(server.addr(), "POST", path, &[], body).await;
            assert_eq!(reply.refused(400), "Invalid request body", "{path} {body}");
        }
        let deep = "[".repeat(100_000);
        let body = format!("{{\"peer_id\":\"x\",\"addresses\":{deep}");
        call(server.addr(), "POST", path, &[], body).await.refused(400);
    }
    let body = json!({ "peer_id": "x", "port": 65_536 });
    server.post("/api/peers/register", &body).await.refused(400);
    for id in ["", "a b", "ä", "a/b", &"x".repeat(81)] {
        let body = json!({ "peer_id": id, "port": 1 });
        let said = server.post("/api/peers/register", &body).await.refused(400);
        assert!(said.starts_with("peer_id"), "{said}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_is_refused() {
    let server = Server::start().await;
    let good = json!({ "name": "a", "size": 1, "hash": "ab", "chunk_size": 1, "chunks": null });
    let post = async |field: &str, value: serde_json::Value| {
        let mut file = good.clone();
        file[field] = value;
        let body = json!({ "peer_id": "x", "file": file });
        server.post("/api/files/announce", &body).await
    };
    assert_eq!(post("hash", json!("abc")).await.status, 200);
    for (field, value) in [
        ("hash", json!("")),
        ("hash", json!("a b")),
        ("hash", json!("x".repeat(81))),
        ("name", json!("")),
        ("name", json!("n".repeat(256))),
        ("name", json!("\u{202e}")),
        ("size", json!((1_u64 << 48) + 1)),
        ("size", json!(-1)),
        ("size", json!("1")),
    ] {
        post(field, value).await.refused(400);
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_not_read() {
    let server = Server::start().await;
    let long = vec![b' '; 512 * 1024 + 1];
    let reply = call(server.addr(), "POST", "/api/peers/register", &[], long).await;
    assert!(reply.refused(413).contains("524288"));
    // A length that is only claimed is refused before a byte of it came.
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let head =
        "POST /api/files/announce HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(first_line(&mut stream).await.contains("413"));
    // One without a length is cut where the limit is.
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let head =
        "POST /api/peers/heartbeat HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..9 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    assert!(first_line(&mut stream).await.contains("413"));
}

async fn first_line(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 1024];
    let n = timeout(LONG, stream.read(&mut buffer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&buffer[..n]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_head_that_never_ends_ends() {
    let server =
        Server::with(|config| config.limits.header_timeout = Duration::from_millis(200)).await;
    for start in ["", "GET /health HTT", "GET /health HTTP/1.1\r\nhost: x\r\nx: "] {
        let mut stream = TcpStream::connect(server.addr()).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let read = timeout(LONG, stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "still open after {start:?}");
    }
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\n").await.unwrap();
    let line = format!("x: {}\r\n", "y".repeat(1_000));
    for _ in 0..100 {
        if stream.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut rest = Vec::new();
    let _ = timeout(LONG, stream.read_to_end(&mut rest)).await.unwrap();
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 431"), "{rest}");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let server =
        Server::with(|config| config.limits.header_timeout = Duration::from_millis(200)).await;
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut all = Vec::new();
    let read = timeout(LONG, stream.read_to_end(&mut all)).await;
    assert!(read.is_ok(), "it is still open");
    assert!(String::from_utf8_lossy(&all).ends_with("OK"));
}

#[tokio::test]
async fn a_body_that_never_comes_is_not_awaited() {
    let server =
        Server::with(|config| config.limits.request_timeout = Duration::from_millis(200)).await;
    let mut stream = TcpStream::connect(server.addr()).await.unwrap();
    let head = "POST /api/peers/register HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert!(first_line(&mut stream).await.contains("408"));
}

// Spec T2
#[tokio::test]
async fn too_many_calls_from_one_address_are_told_when_to_come_back() {
    let server = Server::with(|config| {
        config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        config.limits.request_burst = 3;
        config.limits.requests_per_second = 1;
    })
    .await;
    let get = async |from: &str| {
        call(server.addr(), "GET", "/api/files", &[("x-forwarded-for", from)], "").await
    };
    let mut refused = None;
    for _ in 0..10 {
        let reply = get("2001:db8::1").await;
        if reply.status == 429 {
            refused = Some(reply);
        }
    }
    let refused = refused.expect("ten calls at once are more than three and a second's one");
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(
        refused.json(),
        json!({ "error": "rate_limit_exceeded", "message": "Too many requests" })
    );
    assert_eq!(get("2001:db8:0:1::1").await.status, 200, "another network is not touched");
    let health = call(server.addr(), "GET", "/health", &[("x-forwarded-for", "2001:db8::1")], "");
    assert_eq!(health.await.status, 200, "health is exempt");
}

#[tokio::test]
async fn connections_are_counted_and_given_back() {
    let server = Server::with(|config| {
        config.limits.max_connections_per_ip = 2;
        config.limits.limit_loopback = true;
    })
    .await;
    let hello = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.addr()).await.unwrap();
        stream.write_all(hello).await.unwrap();
        assert!(first_line(&mut stream).await.contains("200"));
        open.push(stream);
    }
    let mut third = TcpStream::connect(server.addr()).await.unwrap();
    let mut byte = [0];
    // Closed without a word, or reset.
    assert!(!matches!(timeout(LONG, third.read(&mut byte)).await.unwrap(), Ok(1)));
    drop(open);
    let freed = async {
        loop {
            let mut stream = TcpStream::connect(server.addr()).await.unwrap();
            if stream.write_all(hello).await.is_ok()
                && first_line(&mut stream).await.contains("200")
            {
                return;
            }
        }
    };
    timeout(LONG, freed).await.expect("the places of those who left are free again");
}
