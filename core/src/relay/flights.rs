//! Messages that were handed to the driver and that its socket has not taken yet.
//!
//! Hub and client keep their number of bytes small, so that what waits can still be put into
//! another order; and they learn here which message the socket has taken.

use alloc::collections::VecDeque;

/// A queue that has grown beyond so many messages gives its memory back when it is empty.
const KEEP_MESSAGES: usize = 64;

/// Messages on their way into one socket, the oldest first. `T` is what the owner wants to know of
/// each.
#[derive(Debug)]
pub(super) struct Flights<T> {
    queue: VecDeque<(usize, T)>,
    unconfirmed_bytes: usize,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), unconfirmed_bytes: 0 }
    }
}

impl<T> Flights<T> {
    /// One more message of `bytes` bytes.
    pub(super) fn push(&mut self, bytes: usize, what: T) {
        self.queue.push_back((bytes, what));
        self.unconfirmed_bytes += bytes;
    }

    /// Bytes that the socket has not taken yet.
    pub(super) const fn unconfirmed_bytes(&self) -> usize {
        self.unconfirmed_bytes
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
        flights.push(10, 'a');
        flights.push(5, 'b');
        let mut bytes = 9;
        assert_eq!(flights.confirm(&mut bytes), None);
        assert_eq!(flights.unconfirmed_bytes(), 6);
        let mut bytes = 100;
        assert_eq!(flights.confirm(&mut bytes), Some('a'));
        assert_eq!(flights.confirm(&mut bytes), Some('b'));
        assert_eq!(flights.confirm(&mut bytes), None, "a driver that counts too much harms nobody");
        assert_eq!(flights.unconfirmed_bytes(), 0);
    }
}
