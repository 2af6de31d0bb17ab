//! HTTP/1.1 as a client of trackers needs it: one request out, one answer in (RFC 9112).
//!
//! The answer is parsed anew with each read until it is whole ([`parse`]), which is simple, and
//! cheap for answers of a few kilobytes. What comes is hostile: head and body have limits, and
//! lengths are not believed before their bytes are there.

use std::io::{self, ErrorKind};

use futures_util::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use towpath_core::tracker_api::{HttpCall, MAX_REPLY_BYTES};

use crate::limits::{MAX_HEAD_BYTES, MAX_HEADERS};

/// What one read takes.
const READ_BYTES: usize = 16 * 1024;
/// What an answer may be in all: chunks of a few bytes each have as many bytes around them.
const MAX_ANSWER_BYTES: usize = MAX_HEAD_BYTES + 8 * MAX_REPLY_BYTES;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Seconds, where it says when to come again.
    pub retry_after: Option<u32>,
    /// Its body.
    pub body: Vec<u8>,
    /// Whether another call may follow on the connection.
    pub keep: bool,
}

/// Why there is none.
#[derive(Debug)]
pub enum Broken {
    /// The connection broke, or ended too early.
    Io(io::Error),
    /// What came is not HTTP, or too long; names the rule.
    Garbage(&'static str),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The bytes of a request.
///
/// # Errors
/// The token is not one: it came from outside, and must not end the line that it stands in.
pub fn request(
    authority: &str,
    call: &HttpCall,
    token: Option<&str>,
) -> Result<Vec<u8>, &'static str> {
    let HttpCall { method, path, body } = call;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {authority}\r\n");
    if let Some(token) = token {
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("token");
        }
        // spec T5
        head += &format!("authorization: Bearer {token}\r\n");
    }
    if let Some(body) = body {
        head += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    }
    let mut bytes = (head + "\r\n").into_bytes();
    bytes.extend_from_slice(body.as_deref().unwrap_or_default());
    Ok(bytes)
}

/// Writes a request and reads its answer.
///
/// # Errors
/// There is none.
pub async fn exchange<S>(stream: &mut S, request: &[u8]) -> Result<Reply, Broken>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut bytes = Vec::new();
    loop {
        let before = bytes.len();
        bytes.resize(before + READ_BYTES, 0);
        let read = stream.read(&mut bytes[before..]).await?;
        bytes.truncate(before + read);
        if let Some(reply) = parse(&bytes, read == 0).map_err(Broken::Garbage)? {
            return Ok(reply);
        }
        if read == 0 {
            return Err(Broken::Io(ErrorKind::UnexpectedEof.into()));
        }
        if bytes.len() > MAX_ANSWER_BYTES {
            return Err(Broken::Garbage("reply_too_long"));
        }
    }
}

/// The answer that `bytes` begin with, if it is whole; `ended`: nothing more will come.
///
/// # Errors
/// The rule that they break.
pub fn parse(bytes: &[u8], ended: bool) -> Result<Option<Reply>, &'static str> {
    let mut rest = bytes;
    loop {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Response::new(&mut headers);
        let length = match head.parse(rest) {
            Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD_BYTES => length,
            Ok(httparse::Status::Partial) if rest.len() <= MAX_HEAD_BYTES => return Ok(None),
            Ok(_) => return Err("head_too_long"),
            Err(_) => return Err("not_http"),
        };
        rest = &rest[length..];
        let status = head.code.unwrap_or_default();
        // An interim answer: the one that counts follows (RFC 9110, section 15.2).
        if status == 101 {
            return Err("not_http");
        }
        if status >= 200 {
            return after_head(&head, status, rest, ended);
        }
    }
}

fn after_head(
    head: &httparse::Response<'_, '_>,
    status: u16,
    rest: &[u8],
    ended: bool,
) -> Result<Option<Reply>, &'static str> {
    let values = |name: &'static str| {
        let of_name = head.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name));
        of_name.map(|h| std::str::from_utf8(h.value).unwrap_or_default().trim())
    };
    let closes = values("connection").any(|value| value.to_ascii_lowercase().contains("close"));
    let retry_after = values("retry-after").find_map(|seconds| seconds.parse().ok());
    let mut keep = head.version == Some(1) && !closes;
    // How long the body is: RFC 9112, section 6.3. spec T4: no more is taken than an answer has
    let body = if matches!(status, 204 | 304) {
        Some((Vec::new(), 0))
    } else if let Some(coding) = values("transfer-encoding").next() {
        if !coding.eq_ignore_ascii_case("chunked") {
            return Err("transfer_encoding");
        }
        chunked(rest)?
    } else if let Some(length) = values("content-length").next() {
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let length: u64 = length.parse().ok().filter(|_| digits).ok_or("content_length")?;
        if values("content-length").any(|other| other.parse() != Ok(length)) {
            return Err("content_length");
        }
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > MAX_REPLY_BYTES {
            return Err("reply_too_long");
        }
        rest.get(..length).map(|body| (body.to_vec(), length))
    } else {
        keep = false;
        if rest.len() > MAX_REPLY_BYTES {
            return Err("reply_too_long");
        }
        ended.then(|| (rest.to_vec(), rest.len()))
    };
    Ok(body.map(|(body, taken)| {
        // What nobody asked for must not be taken for the next answer.
        let keep = keep && taken == rest.len() && !ended;
        Reply { status, retry_after, body, keep }
    }))
}

/// A body in chunks (RFC 9112, section 7.1) and how many bytes it takes; `None` if it is not whole.
fn chunked(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let (line, size) = match httparse::parse_chunk_size(&bytes[at..]) {
            Ok(httparse::Status::Complete(parsed)) => parsed,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("chunk_size"),
        };
        at += line;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > MAX_REPLY_BYTES - body.len() {
            return Err("reply_too_long");
        }
        if size == 0 {
            return Ok(trailers(&bytes[at..])?.map(|length| (body, at + length)));
        }
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        let Some(chunk) = chunk.strip_suffix(b"\r\n") else { return Err("chunk_end") };
        body.extend_from_slice(chunk);
        at += size + 2;
    }
}

/// How long the lines after the last chunk are, with the empty one.
fn trailers(bytes: &[u8]) -> Result<Option<usize>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    match httparse::parse_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete((length, _))) => Ok(Some(length)),
        Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD_BYTES => Ok(None),
        Ok(httparse::Status::Partial) | Err(_) => Err("trailers"),
    }
}

#[cfg(test)]
mod tests;
