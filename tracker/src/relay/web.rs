//! WebSocket as the relay's server speaks it (RFC 6455): binary messages, and nothing allocated
//! while a connection is idle.
//!
//! The relay forwards a message in the buffer in which it came, and an idle connection should cost
//! next to nothing. So a long message is read straight into a buffer of its size, unmasked there as
//! it comes, and sent on with one vectored write that copies nothing. While long messages follow
//! one another, one read takes a message with its head; else bytes are read into a piece of the
//! stack, until it is known what they begin.
//!
//! [`Decoder`] and [`Encoder`] know no socket; [`Web`] joins them with one.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::io::poll_read_buf;

mod decoder;
mod encoder;

pub(super) use decoder::{Decoder, Incoming};
pub(super) use encoder::Encoder;

/// What is read at once while it is not known what comes: most control messages, or the head of a
/// long message.
const SCRATCH_BYTES: usize = 4096;
/// Slices of one vectored write: heads and payloads of half as many messages.
const SLICES: usize = 64;

/// Close codes (RFC 6455, section 7.4.1).
pub(super) mod code {
    /// All is done.
    pub(crate) const NORMAL: u16 = 1000;
    /// The server stops.
    pub(crate) const AWAY: u16 = 1001;
    /// Not WebSocket, or not our protocol.
    pub(crate) const PROTOCOL: u16 = 1002;
    /// Text, where only binary messages are taken.
    pub(crate) const UNSUPPORTED: u16 = 1003;
    /// A rule that has no code of its own.
    pub(crate) const POLICY: u16 = 1008;
    /// A message that is too long.
    pub(crate) const TOO_LONG: u16 = 1009;
    /// Later, perhaps.
    pub(crate) const AGAIN: u16 = 1013;
}

/// A close frame: its code and a sentence of at most 123 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Goodbye {
    pub(super) code: u16,
    pub(super) reason: String,
}

impl Goodbye {
    /// Cuts the reason to what fits into a control frame.
    pub(super) fn new(code: u16, mut reason: String) -> Self {
        reason.truncate(reason.floor_char_boundary(123));
        Self { code, reason }
    }
}

/// Why no more messages come.
#[derive(Debug)]
pub(super) enum End {
    /// The other side said so, or its stream ended.
    Closed,
    /// The stream broke.
    Broken,
    /// The other side broke a rule, and is told which.
    Violation(Goodbye),
}

/// A WebSocket over a stream.
#[derive(Debug)]
pub(super) struct Web<S> {
    stream: S,
    decoder: Decoder,
    encoder: Encoder,
    /// Bytes that were read together with the end of the last message.
    rest: BytesMut,
    /// The last read got all that it asked for: more is waiting.
    more: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Web<S> {
    /// Takes over after the opening handshake; `early` came right behind it.
    pub(super) fn new(stream: S, early: &[u8], max_message_bytes: usize) -> Self {
        Self {
            stream,
            decoder: Decoder::new(max_message_bytes),
            encoder: Encoder::default(),
            rest: BytesMut::from(early),
            more: false,
        }
    }

    /// The next message.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<BytesMut, End>> {
        loop {
            let incoming =
                if self.rest.is_empty() { ready!(self.poll_read(cx))? } else { self.parse_rest()? };
            match incoming {
                // spec R2: one message, one frame
                Some(Incoming::Message(message)) => return Poll::Ready(Ok(message)),
                // spec R2c
                Some(Incoming::Ping(payload)) => self.encoder.pong(payload),
                Some(Incoming::Close) => return Poll::Ready(Err(End::Closed)),
                None => {}
            }
        }
    }

    fn parse_rest(&mut self) -> Result<Option<Incoming>, End> {
        let mut rest = std::mem::take(&mut self.rest);
        let mut unread = &rest[..];
        let incoming = self.decoder.feed(&mut unread).map_err(End::Violation)?;
        let read = rest.len() - unread.len();
        if read < rest.len() {
            rest.advance(read);
            self.rest = rest;
        }
        Ok(incoming)
    }

    /// Reads once: into the message that is coming; or into a buffer for the next one, if more is
    /// surely there and it is likely to be long; else onto the stack and from there where it
    /// belongs.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Incoming>, End>> {
        let stream = Pin::new(&mut self.stream);
        if let Some(mut room) = self.decoder.room(self.more) {
            let wanted = room.remaining_mut();
            let read = ready!(read_some(stream, cx, &mut room))?;
            self.more = read == wanted;
            return Poll::Ready(Ok(self.decoder.filled(read)));
        }
        if self.more
            && let Some(likely) = self.decoder.likely_bytes()
        {
            let mut buffer = BytesMut::with_capacity(likely);
            let polled = read_some(stream, cx, &mut (&mut buffer).limit(likely));
            // Else each look at a stream that is silent now would take such a buffer.
            self.more = false;
            let read = ready!(polled)?;
            self.more = read == likely;
            let incoming = self.decoder.feed_whole(&mut buffer).map_err(End::Violation)?;
            self.rest = buffer;
            return Poll::Ready(Ok(incoming));
        }
        let mut scratch = [0; SCRATCH_BYTES];
        let mut buffer = ReadBuf::new(&mut scratch);
        if ready!(stream.poll_read(cx, &mut buffer)).is_err() {
            return Poll::Ready(Err(End::Broken));
        }
        let mut unread = buffer.filled();
        if unread.is_empty() {
            return Poll::Ready(Err(End::Closed));
        }
        self.more = unread.len() == SCRATCH_BYTES;
        let incoming = self.decoder.feed(&mut unread).map_err(End::Violation)?;
        if !unread.is_empty() {
            self.rest = BytesMut::from(unread);
        }
        Poll::Ready(Ok(incoming))
    }

    /// Bytes that wait to be written.
    pub(super) const fn backlog(&self) -> usize {
        self.encoder.backlog()
    }

    /// One more message to write.
    pub(super) fn send(&mut self, message: Bytes) {
        self.encoder.message(message);
    }

    /// The last frame to write.
    pub(super) fn close(&mut self, goodbye: &Goodbye) {
        self.encoder.close(goodbye);
    }

    /// Writes what waits, as far as the stream takes it. Yields how many bytes of messages it took;
    /// `Pending` if it took none, or if nothing waits.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        while !self.encoder.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES];
            let filled = self.encoder.slices(&mut slices);
            let stream = Pin::new(&mut self.stream);
            match stream.poll_write_vectored(cx, &slices[..filled]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => taken += self.encoder.advance(n),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if taken > 0 => return Poll::Ready(Ok(taken)),
                Poll::Pending => return Poll::Pending,
            }
        }
        // TLS keeps records back until it is flushed.
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending if taken > 0 => Poll::Ready(Ok(taken)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    /// Writes everything.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.encoder.is_empty() {
            ready!(self.poll_write(cx))?;
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }
}

/// Reads at least one byte.
fn read_some<S: AsyncRead>(
    stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    buffer: &mut impl BufMut,
) -> Poll<Result<usize, End>> {
    Poll::Ready(match ready!(poll_read_buf(stream, cx, buffer)) {
        Ok(0) => Err(End::Closed),
        Ok(read) => Ok(read),
        Err(_) => Err(End::Broken),
    })
}

#[cfg(test)]
mod tests;
