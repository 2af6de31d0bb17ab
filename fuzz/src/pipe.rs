//! One direction of a stream: bytes that wait to be sent, are on their way, or wait to be read.
//!
//! No more than a window of them is under way or unread at any time; what does not fit waits at the
//! sender, as in a TCP connection. How fast they leave is the matter of the wires that pipes share
//! ([`crate::world`]), which take pieces of what was put in. The same pipe carries a WebSocket's
//! messages: what was put in at once can be taken out whole when its last piece has arrived.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use towpath_core::time::Instant;

/// How good the network of a host is.
#[derive(Debug, Clone, Copy)]
pub struct Quality {
    /// From the host to the middle of the network, one way.
    pub latency: Duration,
    /// Out of the host.
    pub up_bytes_per_second: u64,
    /// Into the host.
    pub down_bytes_per_second: u64,
    /// Of a thousand pieces so many are lost and sent again, and all behind them wait.
    pub losses_per_thousand: u64,
}

impl Quality {
    /// A network that is as fast both ways, and loses nothing.
    #[must_use]
    pub const fn even(latency: Duration, bytes_per_second: u64) -> Self {
        Self {
            latency,
            up_bytes_per_second: bytes_per_second,
            down_bytes_per_second: bytes_per_second,
            losses_per_thousand: 0,
        }
    }

    /// How long so many bytes take to leave the host.
    #[must_use]
    pub const fn time_up(&self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.up_bytes_per_second)
    }

    /// How long so many bytes take to enter the host.
    #[must_use]
    pub const fn time_down(&self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.down_bytes_per_second)
    }
}

/// Bytes that may be under way or unread: what Linux lets a connection grow to.
const WINDOW_BYTES: usize = 32 << 20;

/// One direction of a stream.
#[derive(Debug, Default)]
pub struct Pipe {
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    under_way: VecDeque<Part>,
    unread_bytes: usize,
    last_arrival: Instant,
    ended: bool,
}

/// A piece that has left its sender.
#[derive(Debug)]
struct Part {
    arrives_at: Instant,
    bytes: Bytes,
    /// What was put in at once ends with it.
    is_last: bool,
}

impl Pipe {
    /// Hands bytes to the sender's end: of a stream, or one message.
    pub fn put(&mut self, bytes: Bytes) {
        if !self.ended && !bytes.is_empty() {
            self.waiting_bytes += bytes.len();
            self.waiting.push_back(bytes);
        }
    }

    /// Says that nothing more comes.
    pub const fn end(&mut self) {
        self.ended = true;
    }

    /// Bytes that have not left the sender.
    #[must_use]
    pub const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Bytes that have left the sender and not been read.
    #[must_use]
    pub const fn unread_bytes(&self) -> usize {
        self.unread_bytes
    }

    /// How large a piece of at most so many bytes would be that leaves next, if the window has room
    /// for it.
    #[must_use]
    pub fn next_piece(&self, most: usize) -> Option<usize> {
        let bytes = self.waiting.front()?.len().min(most);
        let fits = self.unread_bytes == 0 || self.unread_bytes + bytes <= WINDOW_BYTES;
        fits.then_some(bytes)
    }

    /// Sends a piece of so many bytes: it can be read at `at`, and not before what was sent before.
    /// Answers when, and whether what was put in at once ends with it.
    pub fn send(
        &mut self,
        bytes: usize,
        at: Instant,
        change: impl FnOnce(Bytes) -> Bytes,
    ) -> (Instant, bool) {
        let Some(first) = self.waiting.front_mut() else { return (at, true) };
        let piece = first.split_to(bytes.min(first.len()));
        let is_last = first.is_empty();
        if is_last {
            self.waiting.pop_front();
        }
        self.waiting_bytes -= piece.len();
        self.unread_bytes += piece.len();
        self.last_arrival = self.last_arrival.max(at);
        let part = Part { arrives_at: self.last_arrival, bytes: change(piece), is_last };
        self.under_way.push_back(part);
        (self.last_arrival, is_last)
    }

    /// What would leave next is gone.
    pub fn lose(&mut self) {
        self.waiting_bytes -= self.waiting.pop_front().map_or(0, |piece| piece.len());
    }

    /// Reads at most `max` bytes of one piece that has arrived.
    pub fn take(&mut self, now: Instant, max: usize) -> Option<Bytes> {
        let first = self.under_way.front_mut()?;
        if first.arrives_at > now || max == 0 {
            return None;
        }
        let taken = first.bytes.split_to(max.min(first.bytes.len()));
        if first.bytes.is_empty() {
            self.under_way.pop_front();
        }
        self.unread_bytes -= taken.len();
        Some(taken)
    }

    /// Reads a whole message, if all its pieces have arrived.
    pub fn take_message(&mut self, now: Instant) -> Option<BytesMut> {
        let last = self.under_way.iter().position(|part| part.is_last)?;
        if self.under_way[last].arrives_at > now {
            return None;
        }
        let mut message = BytesMut::new();
        for part in self.under_way.drain(..=last) {
            message.extend_from_slice(&part.bytes);
        }
        self.unread_bytes -= message.len();
        Some(message)
    }

    /// The connection breaks: what has not arrived never will, nor what cannot be read without it.
    /// Answers whether a message was cut in two.
    pub fn cut(&mut self, now: Instant) -> bool {
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.ended = true;
        let is_torn = self.is_half_way(now);
        let whole = self.whole(now);
        self.unread_bytes -=
            self.under_way.drain(whole..).map(|part| part.bytes.len()).sum::<usize>();
        is_torn
    }

    /// Whether a part of a message has arrived, and the rest has not.
    #[must_use]
    pub fn is_half_way(&self, now: Instant) -> bool {
        self.under_way.get(self.whole(now)).is_some_and(|part| part.arrives_at <= now)
    }

    /// Parts of the messages that have arrived whole.
    fn whole(&self, now: Instant) -> usize {
        let arrived = self.under_way.iter().take_while(|part| part.arrives_at <= now);
        let whole = arrived.enumerate().filter(|(_, part)| part.is_last).map(|(at, _)| at + 1);
        whole.last().unwrap_or(0)
    }

    /// Whether the reader has read everything there will ever be.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.ended && self.waiting.is_empty() && self.under_way.is_empty()
    }

    /// Whether the reader has read everything so far.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_empty()
    }

    /// Whether nothing waits to be sent, and nothing ever will.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.ended && self.waiting.is_empty()
    }

    /// When the last piece that has left arrives.
    #[must_use]
    pub const fn drained_at(&self) -> Instant {
        self.last_arrival
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    const ALL: usize = usize::MAX;

    #[test]
    fn pieces_come_in_order_although_one_was_late() {
        let mut pipe = Pipe::default();
        pipe.put(Bytes::from(vec![1; 10]));
        pipe.put(Bytes::from(vec![2; 10]));
        assert_eq!(pipe.send(ALL, at(300), |piece| piece), (at(300), true));
        assert_eq!(pipe.send(ALL, at(100), |piece| piece), (at(300), true));
        assert_eq!(pipe.take(at(299), 10), None);
        assert_eq!(pipe.take(at(300), 4).map(|piece| piece.len()), Some(4));
        assert_eq!(pipe.take(at(300), 10).map(|piece| piece.len()), Some(6));
        pipe.end();
        assert!(pipe.is_sent() && !pipe.is_finished());
        assert_eq!(pipe.take(at(300), 10), Some(Bytes::from(vec![2; 10])));
        assert!(pipe.is_finished());
    }

    #[test]
    fn a_message_is_there_when_its_last_piece_is() {
        let mut pipe = Pipe::default();
        pipe.put(Bytes::from(vec![1; 10]));
        pipe.put(Bytes::from(vec![2; 10]));
        assert_eq!(pipe.send(6, at(1), |piece| piece), (at(1), false));
        assert_eq!(pipe.take_message(at(9)), None);
        assert_eq!(pipe.send(6, at(2), |piece| piece), (at(2), true));
        assert_eq!(pipe.take_message(at(1)), None);
        assert_eq!(pipe.take_message(at(2)), Some(BytesMut::from(&[1; 10][..])));
        assert_eq!(pipe.send(6, at(3), |piece| piece), (at(3), false));
        assert!(pipe.cut(at(3)), "the second message was cut in two");
        assert_eq!(pipe.take_message(at(9)), None);
        assert!(pipe.is_finished() && pipe.unread_bytes() == 0);
    }

    #[test]
    fn a_reader_that_stops_stops_the_sender() {
        let mut pipe = Pipe::default();
        for _ in 0..3 {
            pipe.put(Bytes::from(vec![0; WINDOW_BYTES / 2]));
        }
        pipe.send(ALL, at(0), |piece| piece);
        pipe.send(ALL, at(0), |piece| piece);
        assert_eq!(pipe.next_piece(ALL), None);
        assert!(pipe.take(at(0), 1).is_some());
        assert_eq!(pipe.next_piece(ALL), None);
        while pipe.take(at(0), 1 << 20).is_some() {}
        assert_eq!(pipe.next_piece(ALL), Some(WINDOW_BYTES / 2));
    }
}
