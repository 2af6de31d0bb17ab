//! Sessions: two honest ones over a wire that changes bytes, and one with a peer that has keys and
//! says what it likes.

mod frames;
mod wire;

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use towpath_core::close::CloseReason;
use towpath_core::id::{ChunkRef, PeerId};
use towpath_core::limits::{
    CHUNK_BYTES, MAX_CONTROL_BACKLOG_BYTES, MAX_READS_PER_SESSION, MAX_SEND_BACKLOG_BYTES,
};
use towpath_core::output::Output;
use towpath_core::rng::Rng;
use towpath_core::session::{Config, Event, Input, Role, Session, Setup, Transmit};
use towpath_core::time::Instant;
use towpath_core::wire::RequestId;

pub(super) use frames::seeds as frames_seeds;
pub use frames::session_frames;
pub(super) use wire::seeds as wire_seeds;
pub use wire::session_wire;

const ONE: [u8; 32] = [1; 32];
const TWO: [u8; 32] = [2; 32];

/// A session whose driver looks after its promises.
struct Watched {
    session: Session,
    now: Instant,
    events: Vec<Event>,
    /// What it has sent and nobody has taken.
    sent: VecDeque<u8>,
    /// All that it ever sent, and all that was handed to it.
    ever_sent: Vec<u8>,
    received: Vec<u8>,
    unconfirmed: usize,
    /// How much it has asked to read.
    asked: Option<usize>,
    reads: VecDeque<(RequestId, ChunkRef)>,
    established: Option<(PeerId, u64, [u8; 32])>,
    closed: Option<CloseReason>,
    stream_closed: bool,
}

impl Watched {
    fn new(config: Config) -> Self {
        let now = Instant::ZERO;
        let session = Session::new(now, Rng::new([7; 32]), config);
        let mut this = Self {
            session,
            now,
            events: Vec::new(),
            sent: VecDeque::new(),
            ever_sent: Vec::new(),
            received: Vec::new(),
            unconfirmed: 0,
            asked: None,
            reads: VecDeque::new(),
            established: None,
            closed: None,
            stream_closed: false,
        };
        this.drain();
        this
    }

    fn input(&mut self, input: Input) {
        self.session.handle_input(self.now, input);
        self.drain();
    }

    fn tick(&mut self, later: Duration) {
        self.now = self.now + later;
        self.session.handle_input(self.now, Input::Tick);
        let next = self.drain();
        assert!(next > self.now, "a driver would spin");
    }

    /// Hands bytes in, no more at once than were asked for.
    fn receive(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.closed.is_none() {
            let max = self.asked.take().expect("an open session reads");
            let (piece, rest) = bytes.split_at(max.min(bytes.len()));
            self.received.extend_from_slice(piece);
            self.input(Input::Received(BytesMut::from(piece)));
            bytes = rest;
        }
    }

    fn confirm(&mut self, most: usize) {
        let bytes = most.min(self.unconfirmed);
        self.unconfirmed -= bytes;
        self.input(Input::Sent { bytes });
    }

    fn drain(&mut self) -> Instant {
        loop {
            let over = self.closed.is_some();
            match self.session.poll_output() {
                Output::Timeout(at) => {
                    assert!(!over || at == Instant::NEVER);
                    self.check();
                    return at;
                }
                _ if over => panic!("it speaks after its end"),
                Output::Transmit(Transmit::Send(bytes)) => {
                    assert!(!bytes.is_empty() && !self.stream_closed);
                    self.unconfirmed += bytes.len();
                    self.sent.extend(&bytes[..]);
                    self.ever_sent.extend_from_slice(&bytes);
                }
                Output::Transmit(Transmit::Read { max }) => {
                    assert!(max > 0 && self.asked.is_none(), "one read at a time");
                    self.asked = Some(max);
                }
                Output::Transmit(Transmit::ReadChunk { request, chunk, .. }) => {
                    self.reads.push_back((request, chunk));
                }
                Output::Transmit(Transmit::CloseStream) => {
                    assert!(!self.stream_closed);
                    self.stream_closed = true;
                }
                Output::Event(Event::Closed(reason)) => {
                    assert!(self.stream_closed);
                    self.closed = Some(reason);
                }
                Output::Event(Event::Established { peer, instance, handshake_hash, .. }) => {
                    assert!(self.established.is_none(), "established twice");
                    self.established = Some((peer, instance, handshake_hash));
                }
                Output::Event(event) => {
                    assert!(self.established.is_some(), "a stranger is heard");
                    self.events.push(event);
                }
            }
        }
    }

    fn check(&self) {
        assert!(self.reads.len() <= MAX_READS_PER_SESSION);
        if self.closed.is_none() {
            let chunks = MAX_SEND_BACKLOG_BYTES + MAX_READS_PER_SESSION * (CHUNK_BYTES + 2_000);
            assert!(self.unconfirmed <= chunks + MAX_CONTROL_BACKLOG_BYTES);
        }
    }
}

fn config(role: Role, instance: u64, secret_key: [u8; 32], binding: &[u8]) -> Config {
    Config {
        setup: Setup { role, instance },
        secret_key,
        ephemeral: secret_key.map(|byte| byte + 10),
        channel_binding: binding.to_vec(),
    }
}
