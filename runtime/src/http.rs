//! HTTP/1.1 as a client of trackers needs it: one request out, one answer in (RFC 9112).
//!
//! [`Answer`] understands what came so far and says when it is whole. What comes is hostile: head
//! and body have limits, lengths are not believed before their bytes are there, and no byte of a
//! body is looked at again with each read.

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
    let mut answer = Answer::default();
    loop {
        let bytes = &mut answer.bytes;
        let before = bytes.len();
        bytes.resize(before + READ_BYTES, 0);
        let read = stream.read(&mut bytes[before..]).await?;
        bytes.truncate(before + read);
        if let Some(reply) = answer.advance(read == 0).map_err(Broken::Garbage)? {
            return Ok(reply);
        }
        if read == 0 {
            return Err(Broken::Io(ErrorKind::UnexpectedEof.into()));
        }
        if answer.bytes.len() > MAX_ANSWER_BYTES {
            return Err(Broken::Garbage("reply_too_long"));
        }
    }
}

/// An answer that is coming. Only a head, the line of a chunk and the trailers are parsed anew
/// until they are whole, and they are short.
#[derive(Debug, Default)]
struct Answer {
    bytes: Vec<u8>,
    /// How many of them are understood.
    at: usize,
    head: Option<Head>,
    /// The body, as far as it came in whole chunks.
    chunks: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    status: u16,
    retry_after: Option<u32>,
    keep: bool,
    body: Framing,
}

/// How long a body is (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy)]
enum Framing {
    Nothing,
    Length(usize),
    Chunks,
    UntilTheEnd,
}

impl Answer {
    /// The answer, if it is whole; `ended`: nothing more will come.
    ///
    /// # Errors
    /// The rule that it breaks.
    fn advance(&mut self, ended: bool) -> Result<Option<Reply>, &'static str> {
        if self.head.is_none() {
            self.head = self.take_head()?;
        }
        let Some(Head { status, retry_after, keep, body }) = self.head else { return Ok(None) };
        let left = self.bytes.len() - self.at;
        // spec T4: no more is taken than an answer has
        let body = match body {
            Framing::Nothing => Vec::new(),
            Framing::Length(length) if left < length => return Ok(None),
            Framing::Length(length) => self.take(length),
            Framing::Chunks if !self.take_chunks()? => return Ok(None),
            Framing::Chunks => std::mem::take(&mut self.chunks),
            Framing::UntilTheEnd if left > MAX_REPLY_BYTES => return Err("reply_too_long"),
            Framing::UntilTheEnd if !ended => return Ok(None),
            Framing::UntilTheEnd => self.take(left),
        };
        // What nobody asked for must not be taken for the next answer.
        let keep = keep && self.at == self.bytes.len() && !ended;
        Ok(Some(Reply { status, retry_after, body, keep }))
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let from = self.at;
        self.at += length;
        self.bytes[from..self.at].to_vec()
    }

    /// The head, behind interim answers.
    fn take_head(&mut self) -> Result<Option<Head>, &'static str> {
        loop {
            let rest = &self.bytes[self.at..];
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut head = httparse::Response::new(&mut headers);
            let length = match head.parse(rest) {
                Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD_BYTES => length,
                Ok(httparse::Status::Partial) if rest.len() <= MAX_HEAD_BYTES => return Ok(None),
                Ok(_) => return Err("head_too_long"),
                Err(_) => return Err("not_http"),
            };
            let status = head.code.unwrap_or_default();
            if status == 101 {
                return Err("not_http");
            }
            // An interim answer: the one that counts follows (RFC 9110, section 15.2).
            let found = if status >= 200 { Some(understand(&head, status)?) } else { None };
            self.at += length;
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// Takes whole chunks (RFC 9112, section 7.1); true behind the last one and its trailers.
    fn take_chunks(&mut self) -> Result<bool, &'static str> {
        loop {
            let rest = &self.bytes[self.at..];
            let (line, size) = match httparse::parse_chunk_size(rest) {
                Ok(httparse::Status::Complete(parsed)) => parsed,
                Ok(httparse::Status::Partial) if rest.len() <= MAX_HEAD_BYTES => return Ok(false),
                Ok(httparse::Status::Partial) | Err(_) => return Err("chunk_size"),
            };
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            if size > MAX_REPLY_BYTES - self.chunks.len() {
                return Err("reply_too_long");
            }
            if size == 0 {
                let Some(length) = trailers(&rest[line..])? else { return Ok(false) };
                self.at += line + length;
                return Ok(true);
            }
            let Some(chunk) = rest.get(line..line + size + 2) else { return Ok(false) };
            let Some(chunk) = chunk.strip_suffix(b"\r\n") else { return Err("chunk_end") };
            self.chunks.extend_from_slice(chunk);
            self.at += line + size + 2;
        }
    }
}

/// What a head says.
fn understand(head: &httparse::Response<'_, '_>, status: u16) -> Result<Head, &'static str> {
    let values = |name: &'static str| {
        let of_name = head.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name));
        of_name.map(|h| std::str::from_utf8(h.value).unwrap_or_default().trim())
    };
    let closes = values("connection").any(|value| value.to_ascii_lowercase().contains("close"));
    let retry_after = values("retry-after").find_map(|seconds| seconds.parse().ok());
    let body = if matches!(status, 204 | 304) {
        Framing::Nothing
    } else if let Some(coding) = values("transfer-encoding").next() {
        if !coding.eq_ignore_ascii_case("chunked") {
            return Err("transfer_encoding");
        }
        Framing::Chunks
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
        Framing::Length(length)
    } else {
        Framing::UntilTheEnd
    };
    let keep = head.version == Some(1) && !closes && !matches!(body, Framing::UntilTheEnd);
    Ok(Head { status, retry_after, keep, body })
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
