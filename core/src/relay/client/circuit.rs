//! One circuit, as a client knows it: what it may send, and what it may receive.

use alloc::collections::VecDeque;
use core::time::Duration;

use bytes::{Buf, Bytes, BytesMut};

use crate::codec::Write;
use crate::id::LinkId;
use crate::limits::{
    MAX_RELAY_PAYLOAD_BYTES, RELAY_CREDIT_STEP_BYTES, RELAY_FRAME_COST_BYTES, RELAY_RTT_MAX,
    RELAY_TURN_BYTES, RELAY_WINDOW_START_BYTES, RELAY_WRITABLE_STEP_BYTES,
};
use crate::relay::frame::{DATA_HEADER_BYTES, begin_data};
use crate::relay::window::Window;
use crate::time::Instant;

/// One circuit.
#[derive(Debug)]
pub(super) struct Circuit {
    pub(super) link: LinkId,
    pub(super) state: State,
    pub(super) sending: Sending,
    pub(super) receiving: Receiving,
    /// When we asked the other side for something whose answer takes one round trip.
    asked_at: Option<Instant>,
    /// The round trip to the other side.
    round_trip: Duration,
}

/// How far a circuit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// We called and have no answer yet.
    Calling,
    /// Both may send.
    Open,
    /// The session has ended; what it left is sent, and then `Close`.
    Closing,
}

/// What goes out.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// The receiver's window: bytes that may still be sent.
    credit_bytes: usize,
    /// The hub's window: bytes that may still be sent, frame costs included.
    grant_bytes: usize,
    /// What the session may still hand in.
    allowed_bytes: usize,
    /// What the session has handed in and is not yet in a frame.
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    /// What is in frames that our socket has not taken yet.
    unconfirmed_bytes: usize,
    /// Whether the circuit stands in the list of turns.
    pub(super) in_turns: bool,
    /// What it may still send in this turn.
    deficit_bytes: usize,
}

/// What comes in.
#[derive(Debug)]
pub(super) struct Receiving {
    window: Window,
    /// What the other side may still send.
    credit_bytes: usize,
    /// What the session has not taken yet.
    unconsumed_bytes: usize,
}

/// What became of a turn.
#[derive(Debug)]
pub(super) enum Turn {
    /// A frame with so many payload bytes.
    Frame(Bytes, usize),
    /// It has had its share: the next circuit.
    Over,
    /// It has nothing, or may not.
    Idle,
}

impl Circuit {
    pub(super) fn new(now: Instant, link: LinkId, state: State, sending: Sending) -> Self {
        Self {
            link,
            state,
            sending,
            receiving: Receiving {
                window: Window::new(RELAY_WINDOW_START_BYTES),
                credit_bytes: RELAY_WINDOW_START_BYTES,
                unconsumed_bytes: 0,
            },
            asked_at: Some(now),
            round_trip: RELAY_RTT_MAX,
        }
    }

    /// The other side answered, or sent its first bytes: that took one round trip.
    pub(super) fn answered(&mut self, now: Instant) {
        if let Some(at) = self.asked_at.take() {
            self.round_trip = now.since(at);
        }
    }

    /// The session has taken so many bytes. Answers how much credit the other side is to get now.
    pub(super) fn consumed(&mut self, now: Instant, bytes: usize) -> usize {
        let receiving = &mut self.receiving;
        let bytes = bytes.min(receiving.unconsumed_bytes);
        receiving.unconsumed_bytes -= bytes;
        receiving.window.used(now, bytes, self.round_trip);
        let window = receiving.window.bytes();
        let due = window.saturating_sub(receiving.credit_bytes + receiving.unconsumed_bytes);
        if due < (window / 4).min(RELAY_CREDIT_STEP_BYTES) {
            return 0;
        }
        receiving.credit_bytes += due;
        due
    }
}

impl Receiving {
    /// So many bytes came. Answers whether the other side was allowed to send them.
    pub(super) const fn arrived(&mut self, bytes: usize) -> bool {
        if bytes > self.credit_bytes {
            return false;
        }
        self.credit_bytes -= bytes;
        self.unconsumed_bytes += bytes;
        true
    }
}

impl Sending {
    pub(super) fn new(credit_bytes: u32, grant_bytes: u32) -> Self {
        Self {
            credit_bytes: credit_bytes as usize,
            grant_bytes: grant_bytes as usize,
            ..Self::default()
        }
    }

    pub(super) fn credit(&mut self, bytes: u32) {
        self.credit_bytes = self.credit_bytes.saturating_add(bytes as usize);
    }

    pub(super) fn grant(&mut self, bytes: u32) {
        self.grant_bytes = self.grant_bytes.saturating_add(bytes as usize);
    }

    /// The hub wants some of its window back. Answers how much it gets.
    // spec R25
    pub(super) fn give_back(&mut self, most: u32) -> u32 {
        let bytes = u32::try_from(self.grant_bytes).unwrap_or(u32::MAX).min(most);
        self.grant_bytes -= bytes as usize;
        bytes
    }

    /// The session hands in bytes.
    pub(super) fn push(&mut self, bytes: Bytes) {
        if planted!(IgnoreWindow) {
            self.credit_bytes = crate::limits::RELAY_WINDOW_MAX_BYTES;
        }
        if planted!(IgnoreGrant) {
            self.grant_bytes = crate::limits::RELAY_WINDOW_MAX_BYTES;
        }
        self.allowed_bytes = self.allowed_bytes.saturating_sub(bytes.len());
        self.queued_bytes += bytes.len();
        if !bytes.is_empty() {
            self.queue.push_back(bytes);
        }
    }

    /// The socket took so many bytes of ours.
    pub(super) const fn confirmed(&mut self, bytes: usize) {
        self.unconfirmed_bytes -= bytes;
    }

    /// Whether everything that was handed in is in frames.
    pub(super) const fn is_empty(&self) -> bool {
        self.queued_bytes == 0
    }

    /// How much more the session may hand in now, if that is worth telling it: as much as both
    /// windows and its share of what may wait for the socket allow.
    pub(super) fn allow(&mut self, share_bytes: usize) -> usize {
        let full = RELAY_FRAME_COST_BYTES + MAX_RELAY_PAYLOAD_BYTES;
        let frames = self.grant_bytes.div_ceil(full);
        let grant = self.grant_bytes.saturating_sub(frames * RELAY_FRAME_COST_BYTES);
        let room = share_bytes.saturating_sub(self.unconfirmed_bytes);
        let waiting = self.allowed_bytes + self.queued_bytes;
        let more = self.credit_bytes.min(grant).min(room).saturating_sub(waiting);
        let stands_still = waiting + self.unconfirmed_bytes == 0;
        if more < RELAY_WRITABLE_STEP_BYTES && !stands_still {
            return 0;
        }
        self.allowed_bytes += more;
        more
    }

    /// Takes its place in the list of turns; answers whether it had none.
    pub(super) fn wants_turn(&mut self) -> bool {
        if self.in_turns || self.payload_bytes(MAX_RELAY_PAYLOAD_BYTES) == 0 {
            return false;
        }
        self.in_turns = true;
        self.deficit_bytes = RELAY_TURN_BYTES;
        true
    }

    /// Bytes of the next frame.
    fn payload_bytes(&self, most_bytes: usize) -> usize {
        self.queued_bytes
            .min(most_bytes)
            .min(self.credit_bytes)
            .min(self.grant_bytes.saturating_sub(RELAY_FRAME_COST_BYTES))
    }

    /// The next frame, at most so long, if it has one and it is still its turn, and the frame
    /// is at most `room_bytes` long; `None` if it is longer.
    pub(super) fn turn(
        &mut self,
        number: u32,
        room_bytes: usize,
        most_bytes: usize,
    ) -> Option<Turn> {
        let payload = self.payload_bytes(most_bytes);
        if payload == 0 {
            self.in_turns = false;
            return Some(Turn::Idle);
        }
        if payload > room_bytes {
            return None;
        }
        let turn = most_bytes + DATA_HEADER_BYTES;
        self.deficit_bytes = self.deficit_bytes.min(2 * turn);
        if payload > self.deficit_bytes {
            self.deficit_bytes += turn;
            return Some(Turn::Over);
        }
        let frame = self.cut(number, payload).freeze();
        self.deficit_bytes -= payload;
        self.credit_bytes -= payload;
        self.grant_bytes -= payload + RELAY_FRAME_COST_BYTES;
        self.queued_bytes -= payload;
        self.unconfirmed_bytes += payload;
        Some(Turn::Frame(frame, payload))
    }

    /// Copies the first `payload` bytes of the queue behind a frame's header.
    fn cut(&mut self, number: u32, payload: usize) -> BytesMut {
        let mut frame = begin_data(number, payload);
        let mut left = payload;
        while left > 0 {
            let front = self.queue.front_mut().expect("the queue holds what was counted");
            let part = front.len().min(left);
            frame.put(&front[..part]);
            front.advance(part);
            left -= part;
            if front.is_empty() {
                self.queue.pop_front();
            }
        }
        frame
    }
}

#[cfg(test)]
mod tests;
