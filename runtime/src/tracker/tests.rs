//! Where trackers are, and answers that do not come.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use towpath_core::id::Locator;
use towpath_core::tracker_api::Request;

use super::*;

const ASK: Request = Request::Lookup { locator: Locator([7; 32]) };

/// A connection that answers with these bytes and then ends; what it was asked.
struct Canned(&'static [u8], Arc<Mutex<Vec<u8>>>);

impl AsyncRead for Canned {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(io::Read::read(&mut self.0, buffer))
    }
}

impl AsyncWrite for Canned {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
        self.1.lock().unwrap().extend_from_slice(b);
        Poll::Ready(Ok(b.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn ask(answer: &'static str) -> Result<Response, CallError> {
    let tracker = Tracker::parse("http://tow.example").unwrap();
    let asked = Arc::default();
    let open = || async { Ok(Box::new(Canned(answer.as_bytes(), Arc::clone(&asked))) as _) };
    let result = tracker.answer(&mut None, &ASK, None, open).now_or_never().unwrap();
    assert!(asked.lock().unwrap().starts_with(b"GET /api/files/0707"));
    result
}

#[test]
fn base_urls_are_taken_apart() {
    let tracker = Tracker::parse("https://[::1]/").unwrap();
    assert_eq!((tracker.tls, &*tracker.host, tracker.port), (true, "::1", 443));
    assert_eq!(tracker.relay_url(), "wss://[::1]/relay");
    let tracker = Tracker::parse("http://[::1]:82").unwrap();
    assert_eq!((tracker.tls, &*tracker.host, tracker.port), (false, "::1", 82));
    let tracker = Tracker::parse("http://example.org:81").unwrap();
    assert_eq!((tracker.tls, &*tracker.host, tracker.port), (false, "example.org", 81));
    assert_eq!(tracker.relay_url(), "ws://example.org:81/relay");
    for wrong in ["", "example.org", "ftp://example.org", "http://", "http:///x", "https://a b"] {
        let error = Tracker::parse(wrong).unwrap_err().to_string();
        assert!(error.contains("write https://HOST"), "{error}");
    }
}

#[test]
fn answers_that_are_none_are_named() {
    let peers = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{\"peers\":[]}";
    assert_eq!(ask(peers), Ok(Response::Peers(Vec::new())));
    assert_eq!(ask("SSH-2.0-OpenSSH_10.0\r\n\r\n"), Err(CallError::Garbage("not_http")));
    let closed = "the tracker at tow.example closed the connection";
    for cut in ["", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{"] {
        assert_eq!(ask(cut), Err(CallError::Unreachable(closed.into())));
    }
}
