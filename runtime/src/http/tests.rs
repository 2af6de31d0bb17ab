//! Answers that are whole, cut, chunked, too long, or none.

use proptest::prelude::*;

use super::*;

/// What the answer is that these bytes begin with.
fn parse(bytes: &[u8], ended: bool) -> Result<Option<Reply>, &'static str> {
    Answer { bytes: bytes.to_vec(), ..Answer::default() }.advance(ended)
}

fn whole(answer: &str) -> Reply {
    parse(answer.as_bytes(), false).expect("it is HTTP").expect("it is whole")
}

fn rule(answer: &str) -> &'static str {
    parse(answer.as_bytes(), true).expect_err("it breaks a rule")
}

#[test]
fn a_request_is_written_as_http_wants_it() {
    let body = Some(b"{}".to_vec());
    let call = HttpCall { method: "POST", path: "/api/x".into(), body };
    let bytes = request("tow.example:81", &call, Some("abc")).unwrap();
    let wanted = "POST /api/x HTTP/1.1\r\nhost: tow.example:81\r\nauthorization: Bearer abc\r\n\
                  content-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    assert_eq!(String::from_utf8(bytes).unwrap(), wanted);
    let call = HttpCall { method: "GET", path: "/api/x".into(), body: None };
    assert_eq!(request("a", &call, None).unwrap(), b"GET /api/x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(request("a", &call, Some("b\r\nc: d")), Err("token"));
}

#[test]
fn bodies_end_by_length_by_chunks_or_with_the_connection() {
    let reply = whole("HTTP/1.1 429 Later\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}");
    let wanted = Reply { status: 429, retry_after: Some(7), body: b"{}".to_vec(), keep: true };
    assert_eq!(reply, wanted);
    let chunks = "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n";
    let reply = whole(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n{chunks}"));
    assert_eq!((&reply.body[..], reply.keep), (&b"abcde"[..], true));
    let endless = "HTTP/1.1 200 OK\r\n\r\nabc";
    assert_eq!(parse(endless.as_bytes(), false), Ok(None));
    let reply = parse(endless.as_bytes(), true).unwrap().unwrap();
    assert_eq!((&reply.body[..], reply.keep), (&b"abc"[..], false));
    assert_eq!(whole("HTTP/1.1 204 No\r\n\r\n").body, b"");
    let reply = whole("HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n");
    assert_eq!(reply.status, 204);
}

#[test]
fn a_connection_is_kept_only_if_nothing_speaks_against_it() {
    assert!(!whole("HTTP/1.0 204 No\r\n\r\n").keep);
    assert!(!whole("HTTP/1.1 204 No\r\nConnection: Close\r\n\r\n").keep);
    assert!(!whole("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab").keep);
    assert!(!whole("HTTP/1.1 204 No\r\n\r\nx").keep);
}

#[test]
fn every_beginning_of_an_answer_is_not_whole() {
    for answer in [
        "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10\r\n\
         0123456789abcdef\r\n0\r\nA: b\r\n\r\n",
    ] {
        for end in 0..answer.len() {
            assert_eq!(parse(&answer.as_bytes()[..end], false), Ok(None), "{end} of {answer}");
        }
        assert!(whole(answer).keep);
    }
}

#[test]
fn what_was_understood_is_not_looked_at_again() {
    let chunk = format!("10;note={}\r\n0123456789abcdef\r\n", "x".repeat(20));
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let bytes = format!("{head}{}0\r\nA: b\r\n\r\n", chunk.repeat(100)).into_bytes();
    let (last, most) = (bytes.len() - 1, head.len().max(chunk.len()));
    let mut answer = Answer::default();
    for (at, byte) in bytes.into_iter().enumerate() {
        answer.bytes.push(byte);
        let reply = answer.advance(false).unwrap();
        assert!(answer.bytes.len() - answer.at < most, "byte {at}: {}", answer.at);
        assert_eq!(
            reply.map(|reply| (reply.body.len(), reply.keep)),
            match at {
                _ if at == last => Some((1_600, true)),
                _ => None,
            }
        );
    }
}

// Spec T4
#[test]
fn answers_that_are_none_are_named() {
    assert_eq!(rule("SSH-2.0-OpenSSH_10.0\r\n\r\n"), "not_http");
    assert_eq!(rule("HTTP/1.1 101 Switching\r\n\r\n"), "not_http");
    assert_eq!(rule("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"), "transfer_encoding");
    for length in ["x", "-1", "+1", "", "99999999999999999999999", "1\r\nContent-Length: 2"] {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\na");
        assert_eq!(rule(&answer), "content_length", "{length}");
    }
    let long = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", MAX_REPLY_BYTES + 1);
    assert_eq!(rule(&long), "reply_too_long");
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(rule(&format!("{chunked}ffffffff\r\n")), "reply_too_long");
    assert_eq!(rule(&format!("{chunked}zz\r\n")), "chunk_size");
    assert_eq!(rule(&format!("{chunked}1\r\nabc")), "chunk_end");
    let endless = format!("{chunked}1;{}", "x".repeat(MAX_HEAD_BYTES));
    assert_eq!(rule(&endless), "chunk_size");
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(MAX_REPLY_BYTES + 1));
    assert_eq!(rule(&endless), "reply_too_long");
    let head = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(MAX_HEAD_BYTES));
    assert_eq!(rule(&head), "head_too_long");
    assert_eq!(rule(&format!("{head}\r\n\r\n")), "head_too_long");
}

proptest! {
    #[test]
    fn nothing_that_comes_is_too_much(
        head in "(HTTP/1.[01] [0-9]{3} [a-z]*\r\n)?([A-Za-z-]{1,9}: [0-9a-z ]{0,5}\r\n){0,3}",
        framing in prop::sample::select(vec![
            "", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Connection: close\r\n",
        ]),
        body in "([0-9a-f]{0,3}(;[a-z]*)?\r\n)?[a-z]{0,9}(\r\n)?(0\r\n\r\n)?",
        noise: Vec<u8>,
        cut: prop::sample::Index,
        ended: bool,
    ) {
        let _ = parse(&noise, ended);
        let mut answer = format!("{head}{framing}\r\n{body}").into_bytes();
        answer.extend(noise);
        let whole = parse(&answer, false);
        // What is whole stays the same when more comes; what breaks a rule is never whole before.
        let start = parse(&answer[..cut.index(answer.len() + 1)], false);
        match (start, &whole) {
            (Ok(Some(early)), Ok(Some(late))) => {
                prop_assert_eq!((early.status, &early.body), (late.status, &late.body));
            }
            (Ok(Some(_)), _) => prop_assert!(false, "it was whole, and is not any more"),
            (Ok(None) | Err(_), _) => {}
        }
    }
}
