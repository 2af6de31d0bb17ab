//! One link to one peer: Noise handshake, records, frames.
//!
//! A session runs in the task of its stream and talks to the node in small owned events. It
//! decrypts a chunk straight into the buffer that will be hashed and written, and seals a chunk in
//! place in the buffer ([`ChunkFrame`]) into which the store read it.
//!
//! # The flow
//! 1. *Handshaking* ([`handshake`]): clear preamble, Noise messages. Fails: closed, by blame.
//! 2. *Greeting*: both sides say `Hello`. The peer's fits: `Established`. Steps 1 and 2 have one
//!    timeout.
//! 3. *Established*: messages go to the node; chunks that were requested are received
//!    ([`receive`]), chunks that the node lets the peer have are read and sent ([`serve`],
//!    [`send`]).
//! 4. *Closed*: `Event::Closed` once; after that inputs are swallowed.
//!
//! # Promises
//! - Every request of the peer is answered exactly once, by its chunk or by `Unavailable`; a
//!   cancelled one too. Every `Serve` is answered by exactly one `Served`, unless the session
//!   closes first.
//! - One `Read` at a time: the next is asked for when the bytes of the last one are used up.
//! - A chunk is read from the store only while fewer than `MAX_SEND_BACKLOG_BYTES` wait for the
//!   stream.
//! - A peer that asks and does not read, sends nothing, or takes nothing, is dropped after a fixed
//!   time or a fixed number of bytes.

mod chunk_frame;
mod commands;
mod handshake;
pub mod preamble;
mod receive;
mod send;
mod serve;
mod types;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use bytes::{Bytes, BytesMut};

use crate::close::{Awaited, CloseReason, Incompatibility, Misbehaviour, RemoteClose};
use crate::crypto::noise::Finished;
use crate::id::PeerId;
use crate::limits::{HANDSHAKE_TIMEOUT, IDLE_READ_BYTES, KEEPALIVE_INTERVAL, LIVENESS_TIMEOUT};
use crate::limits::{READ_BYTES, REKEY_RECORDS};
use crate::output::Output;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::{Message, RequestId};

pub use chunk_frame::ChunkFrame;
pub use types::{Command, Config, Event, Input, Role, Setup, Suite, Transmit};

use handshake::{Handshaking, Next};
use preamble::{VERSION_MAX, VERSION_MIN};
use receive::{Item, Receiver};
use send::Sender;
use serve::{Dropped, Read, Serving};

/// One link to one peer.
pub struct Session {
    /// The latest moment that was handed in.
    now: Instant,
    instance: u64,
    /// Draws the tokens of pings.
    rng: Rng,
    state: State,
    outputs: VecDeque<Output<Transmit, Event>>,
    /// The handshake and the peer's `Hello` must be there by now.
    established_by: Instant,
    /// When bytes last came.
    heard: Instant,
    /// When we last handed something to the stream.
    said: Instant,
    /// When the stream last took something, or began to owe it.
    taken: Instant,
    /// Bytes of the handshake that the stream has not taken yet.
    unsent_clear: usize,
    rekey_every: u64,
}

enum State {
    Handshaking(Box<Handshaking>),
    Open(Box<Open>),
    Closed,
}

/// After the handshake.
struct Open {
    sender: Sender,
    receiver: Receiver,
    serving: Serving,
    peer: PeerId,
    suite: Suite,
    handshake_hash: [u8; 32],
    /// Whether the peer's `Hello` has come.
    established: bool,
    /// Requests that wait until the peer has answered others.
    held: VecDeque<(RequestId, Message)>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Handshaking(_) => "handshaking",
            State::Open(open) if open.established => "established",
            State::Open(_) => "greeting",
            State::Closed => "closed",
        };
        write!(f, "Session({state})")
    }
}

impl Session {
    /// A session on a stream that is just open.
    #[must_use]
    pub fn new(now: Instant, rng: Rng, config: Config) -> Self {
        let mut this = Self {
            now,
            instance: config.setup.instance,
            rng,
            state: State::Closed,
            outputs: VecDeque::new(),
            // spec S16
            established_by: now + HANDSHAKE_TIMEOUT,
            heard: now,
            said: now,
            taken: now,
            unsent_clear: 0,
            rekey_every: REKEY_RECORDS,
        };
        match Handshaking::new(config) {
            Ok((handshaking, bytes)) => {
                this.state = State::Handshaking(Box::new(handshaking));
                this.hand_over_clear(bytes);
                this.read_more();
            }
            Err(reason) => this.closed(reason),
        }
        this
    }

    /// Takes one input. Cannot fail, cannot block.
    ///
    /// # Panics
    /// If a command that needs an established session comes before `Established`, or a message that
    /// sessions send by themselves is commanded: mistakes of our own node.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        if matches!(self.state, State::Closed) {
            return;
        }
        match input {
            Input::Tick => {}
            Input::Received(bytes) => self.received(bytes),
            Input::Ended(None) => self.closed(CloseReason::Remote(RemoteClose::Ended)),
            Input::Ended(Some(why)) => self.closed(CloseReason::Remote(RemoteClose::Failed(why))),
            Input::Sent { bytes } => {
                self.taken = self.now;
                let clear = bytes.min(self.unsent_clear);
                self.unsent_clear -= clear;
                if let State::Open(open) = &mut self.state {
                    open.sender.sent(bytes - clear);
                }
            }
            Input::ChunkRead { request, result } => self.chunk_read(request, result),
            Input::Command(command) => self.command(command),
        }
        self.check_time();
    }

    /// The next output; `Timeout` when there is nothing more.
    pub fn poll_output(&mut self) -> Output<Transmit, Event> {
        if self.outputs.is_empty() {
            self.flush();
            self.read_chunks();
        }
        match self.outputs.pop_front() {
            Some(output) => output,
            None => Output::Timeout(self.deadline()),
        }
    }

    /// When to tick at the latest.
    fn deadline(&self) -> Instant {
        let open = match &self.state {
            State::Closed => return Instant::NEVER,
            State::Handshaking(_) => return self.established_by,
            State::Open(open) if !open.established => return self.established_by,
            State::Open(open) => open,
        };
        let alive = self.heard + LIVENESS_TIMEOUT;
        // Bytes under way are a sign of life themselves; a ping behind them would say nothing.
        let next = if open.sender.unsent_bytes() > 0 {
            self.taken + LIVENESS_TIMEOUT
        } else {
            self.said.max(self.taken) + KEEPALIVE_INTERVAL
        };
        alive.min(next)
    }

    /// Does what is due.
    fn check_time(&mut self) {
        if self.now < self.deadline() {
            return;
        }
        match &self.state {
            State::Closed => {}
            State::Open(open) if open.established => self.check_life(),
            State::Open(_) | State::Handshaking(_) => {
                self.closed(CloseReason::Timeout(Awaited::Handshake));
            }
        }
    }

    fn check_life(&mut self) {
        let token = self.rng.next_u64();
        let State::Open(open) = &mut self.state else { return };
        if planted!(LeakLink) {
            (self.heard, self.taken) = (self.now, self.now);
            return;
        }
        // spec S22b
        if self.now >= self.heard + LIVENESS_TIMEOUT {
            return self.closed(CloseReason::Timeout(Awaited::Liveness));
        }
        if open.sender.unsent_bytes() > 0 {
            // spec S23
            return self.closed(CloseReason::Timeout(Awaited::Writable));
        }
        // spec S22: silent for KEEPALIVE_INTERVAL, and nothing waits
        if !planted!(NoPing) {
            open.sender.message(&Message::Ping { token });
        }
        open.sender.shrink();
        open.serving.shrink();
        if open.receiver.awaited() == 0 {
            open.receiver.shrink();
        }
        self.outputs.shrink_to_fit();
        self.said = self.now;
    }

    fn received(&mut self, mut bytes: BytesMut) {
        if !bytes.is_empty() {
            self.heard = self.now;
        }
        match &mut self.state {
            State::Closed => return,
            State::Handshaking(handshaking) => {
                let step = handshaking.receive(&bytes);
                drop(bytes);
                self.hand_over_clear(step.send);
                match step.next {
                    Next::Wait => {}
                    Next::Failed(reason) => self.closed(reason),
                    Next::Done { finished, suite, mut rest } => {
                        self.greet(finished, suite);
                        self.records(&mut rest);
                    }
                }
            }
            State::Open(_) => self.records(&mut bytes),
        }
        if !matches!(self.state, State::Closed) {
            self.read_more();
        }
    }

    /// The handshake is complete: says `Hello`.
    // spec K6: from here on everything is sealed
    fn greet(&mut self, finished: Finished, suite: Suite) {
        let mut sender = Sender::new(finished.send.with_rekey_every(self.rekey_every));
        let receive = finished.receive.with_rekey_every(self.rekey_every);
        sender.message(&Message::Hello {
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            instance: self.instance,
        });
        self.state = State::Open(Box::new(Open {
            sender,
            receiver: Receiver::new(receive),
            serving: Serving::default(),
            peer: finished.remote,
            suite,
            handshake_hash: finished.handshake_hash,
            established: false,
            held: VecDeque::new(),
        }));
    }

    fn records(&mut self, bytes: &mut [u8]) {
        let State::Open(open) = &mut self.state else { return };
        let result = open.receiver.receive(bytes);
        while let State::Open(open) = &mut self.state
            && let Some(item) = open.receiver.pop()
        {
            match item {
                Item::Message(message) => self.message(message),
                Item::Chunk { request, proof, data } => {
                    self.event(Event::Chunk { request, proof, data });
                }
            }
        }
        let State::Open(open) = &mut self.state else { return };
        if let Err(rule) = result {
            // spec S25: without a word
            return self.closed(CloseReason::Misbehaved(rule));
        }
        if let Some((request, bytes)) = open.receiver.progress(self.now) {
            self.event(Event::Progress { request, bytes });
        }
        self.send_held();
    }

    fn message(&mut self, message: Message) {
        let State::Open(open) = &mut self.state else { return };
        if !open.established {
            if let Message::Hello { version_min, version_max, instance } = message {
                return self.hello(version_min, version_max, instance);
            }
            return self.closed(if message == Message::Bye {
                CloseReason::Remote(RemoteClose::Bye)
            } else {
                // spec M3: first, and once
                CloseReason::Misbehaved(Misbehaviour("hello_first"))
            });
        }
        let result = match &message {
            Message::Hello { .. } => Err(Misbehaviour("hello_twice")),
            // spec S24b and M19: nothing is said any more
            Message::Bye => return self.closed(CloseReason::Remote(RemoteClose::Bye)),
            Message::Pong { .. } => return,
            Message::Ping { token } => {
                // spec M18
                open.sender.message(&Message::Pong { token: *token });
                return self.check_backlog();
            }
            Message::Request { request, .. } => open.serving.ask(*request),
            Message::Cancel { request } => {
                self.take_back(*request);
                Ok(())
            }
            Message::Open { .. }
            | Message::Opened { .. }
            | Message::Refused { .. }
            | Message::HaveAll { .. }
            | Message::HaveBits { .. }
            | Message::HaveChunk { .. }
            | Message::Unavailable { .. }
            | Message::Complete { .. } => Ok(()),
        };
        match result {
            Ok(()) => self.event(Event::Message(message)),
            Err(rule) => self.closed(CloseReason::Misbehaved(rule)),
        }
    }

    fn hello(&mut self, version_min: u16, version_max: u16, instance: u64) {
        let State::Open(open) = &mut self.state else { return };
        // spec M4
        let fits = version_max >= VERSION_MIN && version_min <= VERSION_MAX;
        if !fits && !planted!(AnyVersion) {
            return self.closed(CloseReason::Incompatible(Incompatibility::Version));
        }
        open.established = true;
        // spec M5: sessions of one key are told apart by the instance
        let (peer, suite, handshake_hash) = (open.peer, open.suite, open.handshake_hash);
        self.event(Event::Established { peer, instance, suite, handshake_hash });
    }

    /// Hands queued messages to the stream.
    fn flush(&mut self) {
        let State::Open(open) = &mut self.state else { return };
        if let Some(bytes) = open.sender.flush() {
            self.hand_over(bytes);
        }
    }

    /// Asks for the next chunks to serve, while there is room.
    fn read_chunks(&mut self) {
        let State::Open(open) = &mut self.state else { return };
        while let Some(read) = open.serving.next_read(open.sender.unsent_bytes()) {
            let Read { request, content, chunk } = read;
            let read = Transmit::ReadChunk { request, content, chunk };
            self.outputs.push_back(Output::Transmit(read));
        }
    }

    fn read_more(&mut self) {
        let max = match &self.state {
            State::Open(open) if open.receiver.awaited() > 0 => READ_BYTES,
            State::Open(_) | State::Handshaking(_) | State::Closed => IDLE_READ_BYTES,
        };
        self.outputs.push_back(Output::Transmit(Transmit::Read { max }));
    }

    fn hand_over_clear(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.unsent_clear += bytes.len();
            self.hand_over(Bytes::from(bytes));
        }
    }

    fn hand_over(&mut self, bytes: Bytes) {
        // What was owed before is judged by its own time.
        let owed = match &self.state {
            State::Open(open) => open.sender.unsent_bytes() > bytes.len(),
            State::Handshaking(_) | State::Closed => false,
        };
        if !owed {
            self.taken = self.now;
        }
        self.said = self.now;
        self.outputs.push_back(Output::Transmit(Transmit::Send(bytes)));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Says goodbye, if anybody can hear it and has not broken a rule, and closes.
    // spec S24
    fn close(&mut self, reason: CloseReason) {
        // spec S25: to one that misbehaves not a word
        let deserved = !matches!(reason, CloseReason::Misbehaved(_));
        if let State::Open(open) = &mut self.state
            && deserved
        {
            open.sender.message(&Message::Bye);
            self.flush();
        }
        self.closed(reason);
    }

    /// The end, without a word. Keys and buffers go.
    fn closed(&mut self, reason: CloseReason) {
        self.state = State::Closed;
        self.outputs.push_back(Output::Transmit(Transmit::CloseStream));
        self.event(Event::Closed(reason));
    }
}

#[cfg(test)]
mod tests;
