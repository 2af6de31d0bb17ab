//! One direction of a stream: bytes that wait to be sent, are on their way, or wait to be read.
//!
//! No more than a window of them is under way or unread at any time; what does not fit waits at the
//! sender, as in a TCP connection. How fast they leave is the matter of the wires that pipes share
//! ([`crate::world`]). A piece is never split on its way, so the same pipe carries a WebSocket's
//! messages.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use towpath_core::time::Instant;

/// How good the network of a host is.
#[derive(Debug, Clone, Copy)]
pub struct Quality {
    /// From the host to the middle of the network, one way.
    pub latency: Duration,
    /// Each way.
    pub bytes_per_second: u64,
    /// Of a thousand pieces so many are lost and sent again, and all behind them wait.
    pub losses_per_thousand: u64,
}

impl Quality {
    /// How long so many bytes take to pass.
    #[must_use]
    pub const fn time_for(&self, bytes: usize) -> Duration {
        Duration::from_nanos(bytes as u64 * 1_000_000_000 / self.bytes_per_second)
    }
}

/// Bytes that may be under way or unread: what Linux lets a connection grow to.
const WINDOW_BYTES: usize = 32 << 20;

/// One direction of a stream.
#[derive(Debug, Default)]
pub struct Pipe {
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    under_way: VecDeque<(Instant, Bytes)>,
    unread_bytes: usize,
    last_arrival: Instant,
    ended: bool,
}

impl Pipe {
    /// Hands a piece to the sender's end.
    pub fn put(&mut self, piece: Bytes) {
        if !self.ended && !piece.is_empty() {
            self.waiting_bytes += piece.len();
            self.waiting.push_back(piece);
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

    /// The piece that would leave next, if the window has room for it.
    #[must_use]
    pub fn next_piece(&self) -> Option<usize> {
        let bytes = self.waiting.front()?.len();
        let fits = self.unread_bytes == 0 || self.unread_bytes + bytes <= WINDOW_BYTES;
        fits.then_some(bytes)
    }

    /// Sends the next piece: it can be read at `at`, and not before what was sent before. Answers
    /// when.
    pub fn send(&mut self, at: Instant, change: impl FnOnce(Bytes) -> Bytes) -> Instant {
        let Some(piece) = self.waiting.pop_front() else { return at };
        self.waiting_bytes -= piece.len();
        self.unread_bytes += piece.len();
        self.last_arrival = self.last_arrival.max(at);
        self.under_way.push_back((self.last_arrival, change(piece)));
        self.last_arrival
    }

    /// The next piece is gone.
    pub fn lose(&mut self) {
        self.waiting_bytes -= self.waiting.pop_front().map_or(0, |piece| piece.len());
    }

    /// Reads at most `max` bytes of one piece that has arrived.
    pub fn take(&mut self, now: Instant, max: usize) -> Option<Bytes> {
        let (arrived_at, piece) = self.under_way.front_mut()?;
        if *arrived_at > now || max == 0 {
            return None;
        }
        let taken = piece.split_to(max.min(piece.len()));
        if piece.is_empty() {
            self.under_way.pop_front();
        }
        self.unread_bytes -= taken.len();
        Some(taken)
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

    #[test]
    fn pieces_come_in_order_although_one_was_late() {
        let mut pipe = Pipe::default();
        pipe.put(Bytes::from(vec![1; 10]));
        pipe.put(Bytes::from(vec![2; 10]));
        assert_eq!(pipe.send(at(300), |piece| piece), at(300));
        assert_eq!(pipe.send(at(100), |piece| piece), at(300));
        assert_eq!(pipe.take(at(299), 10), None);
        assert_eq!(pipe.take(at(300), 4).map(|piece| piece.len()), Some(4));
        assert_eq!(pipe.take(at(300), 10).map(|piece| piece.len()), Some(6));
        pipe.end();
        assert!(pipe.is_sent() && !pipe.is_finished());
        assert_eq!(pipe.take(at(300), 10), Some(Bytes::from(vec![2; 10])));
        assert!(pipe.is_finished());
    }

    #[test]
    fn a_reader_that_stops_stops_the_sender() {
        let mut pipe = Pipe::default();
        for _ in 0..3 {
            pipe.put(Bytes::from(vec![0; WINDOW_BYTES / 2]));
        }
        pipe.send(at(0), |piece| piece);
        pipe.send(at(0), |piece| piece);
        assert_eq!(pipe.next_piece(), None);
        assert!(pipe.take(at(0), 1).is_some());
        assert_eq!(pipe.next_piece(), None);
        while pipe.take(at(0), 1 << 20).is_some() {}
        assert_eq!(pipe.next_piece(), Some(WINDOW_BYTES / 2));
    }
}
