//! One link to one peer: Noise handshake, records, frames.
//!
//! A session runs in the task of its stream and talks to the node in small owned events. It decrypts a
//! chunk straight into the buffer that will be hashed and written, and seals a chunk in place in the
//! buffer ([`ChunkFrame`]) into which the store read it.
//!
//! # The flow
//! 1. *Handshaking* ([`handshake`]): clear preamble, Noise messages. Fails: closed, by blame.
//! 2. *Greeting*: both sides say `Hello`. The peer's fits: `Established`. Steps 1 and 2 have one timeout.
//! 3. *Established*: messages go to the node; chunks that were requested are received ([`receive`]), chunks
//!    that the node lets the peer have are read and sent ([`serve`], [`send`]).
//! 4. *Closed*: `Event::Closed` once; after that inputs are swallowed.
//!
//! # Promises
//! - Every request of the peer is answered exactly once, by its chunk or by `Unavailable`; a cancelled one
//!   too. Every `Serve` is answered by exactly one `Served`, unless the session closes first.
//! - One `Read` at a time: the next is asked for when the bytes of the last one are used up.
//! - A chunk is read from the store only while fewer than `MAX_SEND_BACKLOG_BYTES` wait for the stream.
//! - A peer that asks and does not read, sends nothing, or takes nothing, is dropped after a fixed time
//!   or a fixed number of bytes.

mod chunk_frame;
mod handshake;
pub mod preamble;
mod receive;
mod send;
mod serve;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bytes::{Bytes, BytesMut};

use crate::close::{Awaited, CloseReason, Incompatibility, LocalClose, Misbehaviour, RemoteClose};
use crate::crypto::noise::Finished;
use crate::id::{ChunkRef, ContentKey, Hash, PeerId};
use crate::limits::{HANDSHAKE_TIMEOUT, IDLE_READ_BYTES, KEEPALIVE_INTERVAL, LIVENESS_TIMEOUT};
use crate::limits::{MAX_ANSWER_BACKLOG_BYTES, MAX_CONTROL_BACKLOG_BYTES, MAX_OUTGOING_REQUESTS};
use crate::limits::{READ_BYTES, REKEY_RECORDS};
use crate::output::Output;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::{Handle, Message, RequestId, Unavailable};

pub use chunk_frame::ChunkFrame;

use handshake::{Handshaking, Next};
use preamble::{VERSION_MAX, VERSION_MIN};
use receive::{Item, Receiver};
use send::Sender;
use serve::{Dropped, Read, Serving};

/// The cipher suites, by their byte on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suite {
    /// `Noise_*_25519_ChaChaPoly_SHA256`; everybody speaks it.
    ChaChaPoly = 0,
    /// `Noise_*_25519_AESGCM_SHA256`; where both sides have AES in hardware.
    AesGcm = 1,
}

/// Which side of the handshake we are, and what follows from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Role {
    /// We opened the stream.
    Initiator {
        /// The key that must be there (Noise IK); `None` for a stranger (XX).
        remote: Option<PeerId>,
        /// The suite to propose.
        suite: Suite,
    },
    /// The stream came to us.
    Responder {
        /// Whether initiators that do not know our key (XX) are accepted.
        accept_strangers: bool,
        /// Whether AES-GCM is accepted.
        accept_aes: bool,
    },
}

/// What the node says of a session that is to be; the driver adds keys and makes a [`Config`] of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Which side we are.
    pub role: Role,
    /// Our instance number, said in `Hello`.
    pub instance: u64,
}

/// Everything that a session needs to start.
pub struct Config {
    /// What the node decided.
    pub setup: Setup,
    /// Our X25519 secret key.
    pub secret_key: [u8; 32],
    /// 32 fresh random bytes for the ephemeral key, from the driver, never used twice.
    pub ephemeral: [u8; 32],
    /// Bytes that bind the handshake to its carrier (the TLS exporter on QUIC); empty on TCP and relay.
    pub channel_binding: Vec<u8>,
}

/// What a session takes.
#[derive(Debug)]
pub enum Input {
    /// The clock reached the deadline, or just passed.
    Tick,
    /// Bytes of the stream, in order, in pieces of any size.
    Received(BytesMut),
    /// The stream ended (`None`) or broke.
    Ended(Option<String>),
    /// So many bytes of our `Send`s have been taken by the stream.
    Sent {
        /// Payload bytes.
        bytes: usize,
    },
    /// A read that [`Transmit::ReadChunk`] asked for is done.
    ChunkRead {
        /// The request it was for.
        request: RequestId,
        /// The frame with its body filled in, or why not.
        result: Result<ChunkFrame, Unavailable>,
    },
    /// A word of the node.
    Command(Command),
}

/// What the node tells a session.
#[derive(Debug)]
pub enum Command {
    /// Send this message.
    Send(Message),
    /// Serve this chunk for the peer's request: ask for it with `ReadChunk` when there is room.
    Serve {
        /// The peer's request.
        request: RequestId,
        /// Our share or download.
        content: ContentKey,
        /// Which chunk.
        chunk: ChunkRef,
    },
    /// Do not serve this request after all, if it has not begun.
    Forget {
        /// The peer's request.
        request: RequestId,
    },
    /// Send this request. Its chunk is expected from now on (at most [`crate::limits::CHUNK_BYTES`] and
    /// [`crate::limits::MAX_PROOF_HASHES`]); a chunk that nobody expects is refused before memory is
    /// taken for it.
    Request {
        /// Our number.
        request: RequestId,
        /// Our number of the share.
        handle: Handle,
        /// Which chunk.
        chunk: ChunkRef,
    },
    /// A chunk buffer that is free again, to be filled with the next chunk.
    Recycle(BytesMut),
    /// Say goodbye and close.
    Close(CloseReason),
}

/// What a session wants done.
#[derive(Debug)]
pub enum Transmit {
    /// Write these bytes to the stream, in order. Report with `Sent`.
    Send(Bytes),
    /// Read at most so many bytes from the stream and no more until asked again.
    Read {
        /// The most bytes to hand in at once.
        max: usize,
    },
    /// Read a chunk and its proof from the store into a [`ChunkFrame`], on the job pool.
    ReadChunk {
        /// The request it is for.
        request: RequestId,
        /// Our share or download.
        content: ContentKey,
        /// Which chunk.
        chunk: ChunkRef,
    },
    /// Close the stream once everything before has been written.
    CloseStream,
}

/// What a session tells the node.
#[derive(Debug)]
pub enum Event {
    /// The handshake is complete and both versions fit.
    Established {
        /// The peer's key, proven.
        peer: PeerId,
        /// The peer's instance number, from its `Hello`.
        instance: u64,
        /// The suite in use.
        suite: Suite,
        /// Both sides' common hash, to which proofs of secrets are bound.
        handshake_hash: [u8; 32],
    },
    /// A message (never `Hello`, `Ping`, `Pong`, `Bye`: the session handles those itself).
    Message(Message),
    /// Some of a chunk's bytes came; at most once a second per request, so that slow is not dead.
    Progress {
        /// Our request.
        request: RequestId,
        /// Bytes of it so far.
        bytes: usize,
    },
    /// A whole chunk came. Not verified.
    Chunk {
        /// Our request.
        request: RequestId,
        /// Its proof.
        proof: Vec<Hash>,
        /// Its bytes.
        data: BytesMut,
    },
    /// A chunk that we serve was handed to the stream, or could not be read.
    Served {
        /// The peer's request.
        request: RequestId,
        /// Body bytes, or why not (the session has told the peer).
        result: Result<usize, Unavailable>,
    },
    /// The end, exactly once.
    Closed(CloseReason),
}

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
        if self.now >= self.heard + LIVENESS_TIMEOUT {
            return self.closed(CloseReason::Timeout(Awaited::Liveness));
        }
        if open.sender.unsent_bytes() > 0 {
            return self.closed(CloseReason::Timeout(Awaited::Writable));
        }
        open.sender.message(&Message::Ping { token });
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
        }));
    }

    fn records(&mut self, bytes: &mut [u8]) {
        let State::Open(open) = &mut self.state else { return };
        let result = open.receiver.receive(self.now, bytes);
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
            return self.closed(CloseReason::Misbehaved(rule));
        }
        if let Some((request, bytes)) = open.receiver.progress(self.now) {
            self.event(Event::Progress { request, bytes });
        }
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
                CloseReason::Misbehaved(Misbehaviour("hello_first"))
            });
        }
        let result = match &message {
            Message::Hello { .. } => Err(Misbehaviour("hello_twice")),
            Message::Bye => return self.closed(CloseReason::Remote(RemoteClose::Bye)),
            Message::Pong { .. } => return,
            Message::Ping { token } => {
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
        if version_max < VERSION_MIN || version_min > VERSION_MAX {
            return self.closed(CloseReason::Incompatible(Incompatibility::Version));
        }
        open.established = true;
        let (peer, suite, handshake_hash) = (open.peer, open.suite, open.handshake_hash);
        self.event(Event::Established { peer, instance, suite, handshake_hash });
    }

    fn command(&mut self, command: Command) {
        let open = match &mut self.state {
            State::Open(open) if open.established => open,
            State::Open(_) | State::Handshaking(_) | State::Closed => match command {
                Command::Close(reason) => return self.close(reason),
                Command::Recycle(_) | Command::Forget { .. } => return,
                Command::Send(_) | Command::Serve { .. } | Command::Request { .. } => {
                    panic!("commands wait for `Established`")
                }
            },
        };
        match command {
            Command::Send(message) => self.send(message),
            Command::Serve { request, content, chunk } => {
                if !open.serving.serve(Read { request, content, chunk }) {
                    let result = Err(Unavailable::Withdrawn);
                    self.event(Event::Served { request, result });
                }
            }
            Command::Forget { request } => self.take_back(request),
            Command::Request { request, handle, chunk } => {
                self.send(Message::Request { request, handle, chunk });
            }
            Command::Recycle(buffer) => open.receiver.recycle(buffer),
            Command::Close(reason) => self.close(reason),
        }
    }

    fn send(&mut self, message: Message) {
        let State::Open(open) = &mut self.state else { return };
        match &message {
            Message::Hello { .. } | Message::Ping { .. } | Message::Pong { .. } | Message::Bye => {
                panic!("the session itself says hello, ping, pong and bye")
            }
            Message::Request { request, .. } => {
                if open.receiver.awaited() >= MAX_OUTGOING_REQUESTS {
                    return self.close(CloseReason::Timeout(Awaited::Answer));
                }
                open.receiver.expect(*request);
            }
            Message::Cancel { request } => {
                if !open.receiver.awaits(*request) {
                    return; // Its answer has come already.
                }
            }
            Message::Unavailable { request, .. } => match open.serving.take_back(*request) {
                Dropped::Nothing => return, // Answered already, or after its read.
                Dropped::WasAsked => {}
                Dropped::WasQueued => self.withdrawn(*request),
            },
            Message::Open { .. }
            | Message::Opened { .. }
            | Message::Refused { .. }
            | Message::HaveAll { .. }
            | Message::HaveBits { .. }
            | Message::HaveChunk { .. }
            | Message::Complete { .. } => {}
        }
        let State::Open(open) = &mut self.state else { return };
        open.sender.message(&message);
        self.check_backlog();
    }

    /// A request is cancelled by the peer or by the node: answered, unless its read is under way.
    fn take_back(&mut self, request: RequestId) {
        let State::Open(open) = &mut self.state else { return };
        let dropped = open.serving.take_back(request);
        if dropped == Dropped::Nothing {
            return;
        }
        open.sender.message(&Message::Unavailable { request, why: Unavailable::Withdrawn });
        if dropped == Dropped::WasQueued {
            self.withdrawn(request);
        }
        self.check_backlog();
    }

    fn withdrawn(&mut self, request: RequestId) {
        self.event(Event::Served { request, result: Err(Unavailable::Withdrawn) });
    }

    fn chunk_read(&mut self, request: RequestId, result: Result<ChunkFrame, Unavailable>) {
        let State::Open(open) = &mut self.state else { return };
        let Some(wanted) = open.serving.read(request) else { return };
        let frame = if wanted { result } else { Err(Unavailable::Withdrawn) };
        match frame {
            Ok(frame) => {
                self.flush();
                let State::Open(open) = &mut self.state else { return };
                assert_eq!(frame.request(), request, "a read answers its own request");
                let length_bytes = frame.length_bytes();
                let bytes = open.sender.chunk(frame);
                self.hand_over(bytes);
                self.event(Event::Served { request, result: Ok(length_bytes) });
            }
            Err(why) => {
                open.sender.message(&Message::Unavailable { request, why });
                self.event(Event::Served { request, result: Err(why) });
                self.check_backlog();
            }
        }
    }

    /// A peer that lets our messages pile up is dropped.
    fn check_backlog(&mut self) {
        let State::Open(open) = &mut self.state else { return };
        if open.sender.answer_bytes() > MAX_ANSWER_BACKLOG_BYTES {
            let limit = LocalClose::Limit("MAX_ANSWER_BACKLOG_BYTES");
            return self.closed(CloseReason::Local(limit));
        }
        if open.sender.control_bytes() > MAX_CONTROL_BACKLOG_BYTES {
            let limit = LocalClose::Limit("MAX_CONTROL_BACKLOG_BYTES");
            self.closed(CloseReason::Local(limit));
        }
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

    /// Says goodbye, if anybody can hear it, and closes.
    fn close(&mut self, reason: CloseReason) {
        if let State::Open(open) = &mut self.state {
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
