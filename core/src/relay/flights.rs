//! Messages that were handed to the driver and that its socket has not taken yet.
//!
//! Hub and client keep their number of bytes small, so that what waits can still be put into
//! another order ([`Pace`]); and they learn here which message the socket has taken.

use alloc::collections::VecDeque;

use super::pace::Pace;
use crate::limits::{MAX_RELAY_PAYLOAD_BYTES, RELAY_FRAMES_IN_BACKLOG};
use crate::relay::frame::DATA_HEADER_BYTES;
use crate::time::Instant;

/// A queue that has grown beyond so many messages gives its memory back when it is empty.
const KEEP_MESSAGES: usize = 64;

/// Messages on their way into one socket, the oldest first. `T` is what the owner wants to know of
/// each.
#[derive(Debug)]
pub(super) struct Flights<T> {
    queue: VecDeque<(usize, T)>,
    unconfirmed_bytes: usize,
    pace: Pace,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), unconfirmed_bytes: 0, pace: Pace::new() }
    }
}

impl<T> Flights<T> {
    /// One more message of `bytes` bytes.
    pub(super) fn push(&mut self, now: Instant, bytes: usize, what: T) {
        if self.unconfirmed_bytes == 0 {
            self.pace.begin(now);
        }
        self.queue.push_back((bytes, what));
        self.unconfirmed_bytes += bytes;
    }

    /// Bytes that the socket has not taken yet.
    pub(super) const fn unconfirmed_bytes(&self) -> usize {
        self.unconfirmed_bytes
    }

    /// Data that may still be handed over: beyond that it would wait for longer than
    /// [`RELAY_BACKLOG_TIME`](crate::limits::RELAY_BACKLOG_TIME).
    // spec R27b
    pub(super) const fn room_bytes(&self) -> usize {
        self.pace.bytes().saturating_sub(self.unconfirmed_bytes)
    }

    /// What may wait in all.
    pub(super) const fn backlog_bytes(&self) -> usize {
        self.pace.bytes()
    }

    /// The longest payload of a data frame, so that none takes the socket for long.
    pub(super) fn payload_bytes(&self) -> usize {
        (self.pace.bytes() / RELAY_FRAMES_IN_BACKLOG - DATA_HEADER_BYTES)
            .min(MAX_RELAY_PAYLOAD_BYTES)
    }

    /// What a circuit may send in one turn: a frame.
    pub(super) fn turn_bytes(&self) -> usize {
        self.payload_bytes() + DATA_HEADER_BYTES
    }

    /// The socket has taken `bytes`, which are now to be confirmed.
    pub(super) fn took(&mut self, now: Instant, bytes: usize) {
        self.pace.took(now, bytes, self.unconfirmed_bytes.saturating_sub(bytes));
    }

    /// The socket has taken `bytes` more. Answers one message that it has wholly taken, if there is
    /// one, and leaves in `bytes` what is still to be counted: call again until there is none.
    pub(super) fn confirm(&mut self, bytes: &mut usize) -> Option<T> {
        let (left, _) = self.queue.front_mut()?;
        let taken = (*bytes).min(*left);
        *left -= taken;
        *bytes -= taken;
        self.unconfirmed_bytes -= taken;
        if *left > 0 {
            return None;
        }
        let (_, what) = self.queue.pop_front()?;
        if self.queue.is_empty() && self.queue.capacity() > KEEP_MESSAGES {
            self.queue = VecDeque::new();
        }
        Some(what)
    }

    /// Gives the room of the queue back if it is empty.
    pub(super) fn rest(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }

    /// The room of the queue, for tests.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.queue.capacity()
    }

    /// What is left, for the books of tests.
    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.queue.iter().map(|(_, what)| what)
    }

    /// All that is left, when the socket is gone.
    pub(super) fn into_rest(self) -> impl Iterator<Item = T> {
        self.queue.into_iter().map(|(_, what)| what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_confirmed_in_order_and_whole() {
        let mut flights = Flights::default();
        flights.push(Instant::ZERO, 10, 'a');
        flights.push(Instant::ZERO, 5, 'b');
        let mut bytes = 9;
        assert_eq!(flights.confirm(&mut bytes), None);
        assert_eq!(flights.unconfirmed_bytes(), 6);
        let mut bytes = 100;
        assert_eq!(flights.confirm(&mut bytes), Some('a'));
        assert_eq!(flights.confirm(&mut bytes), Some('b'));
        assert_eq!(flights.confirm(&mut bytes), None, "a driver that counts too much harms nobody");
        assert_eq!(flights.unconfirmed_bytes(), 0);
    }

    #[test]
    fn a_queue_that_was_long_gives_its_memory_back_when_it_is_empty() {
        for (messages, keeps) in [(1, true), (KEEP_MESSAGES, true), (KEEP_MESSAGES + 1, false)] {
            let mut flights = Flights::default();
            for number in 0..messages {
                flights.push(Instant::ZERO, 10, number);
            }
            let mut bytes = usize::MAX;
            for number in 0..messages {
                assert_eq!(flights.confirm(&mut bytes), Some(number));
            }
            assert_eq!(bytes, usize::MAX - 10 * messages);
            assert_eq!(flights.queue.capacity() > 0, keeps, "{messages}");
        }
    }

    #[test]
    fn what_the_socket_has_not_taken_is_left_over() {
        let mut flights = Flights::default();
        for (bytes, what) in [(10, 'a'), (20, 'b'), (30, 'c')] {
            flights.push(Instant::ZERO, bytes, what);
        }
        assert_eq!(flights.unconfirmed_bytes(), 60);
        let mut bytes = 15;
        assert_eq!(flights.confirm(&mut bytes), Some('a'));
        assert_eq!((bytes, flights.confirm(&mut bytes)), (5, None));
        assert_eq!((bytes, flights.unconfirmed_bytes()), (0, 45));
        assert!(flights.into_rest().eq(['b', 'c']));
    }
}
