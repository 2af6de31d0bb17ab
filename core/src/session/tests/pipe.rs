//! The harness: a session with its stream, its store and its node, all in memory.

use alloc::vec::Vec;
use core::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::close::CloseReason;
use crate::crypto::public_key;
use crate::id::{ChunkRef, ContentKey, Hash, PeerId, Space};
use crate::output::Output;
use crate::rng::Rng;
use crate::session::Transmit;
use crate::session::{ChunkFrame, Command, Config, Event, Input, Role, Session, Setup, Suite};
use crate::time::Instant;
use crate::wire::{Handle, RequestId, Unavailable};

pub(super) const INITIATOR_KEY: [u8; 32] = [1; 32];
pub(super) const RESPONDER_KEY: [u8; 32] = [2; 32];

pub(super) fn responder_id() -> PeerId {
    public_key(&RESPONDER_KEY)
}

pub(super) fn initiator(remote: Option<PeerId>, suite: Suite) -> Role {
    Role::Initiator { remote, suite }
}

pub(super) fn responder(accept_strangers: bool, accept_aes: bool) -> Role {
    Role::Responder { accept_strangers, accept_aes }
}

pub(super) fn config(role: Role) -> Config {
    let (secret_key, ephemeral, instance) = match role {
        Role::Initiator { .. } => (INITIATOR_KEY, [3; 32], 11),
        Role::Responder { .. } => (RESPONDER_KEY, [4; 32], 22),
    };
    let setup = Setup { role, instance };
    Config { setup, secret_key, ephemeral, channel_binding: Vec::new() }
}

/// The bytes of a chunk, and its proof, as every test's store has them.
pub(super) fn content(chunk: ChunkRef, length: usize) -> Vec<u8> {
    (0..length).map(|at| (at as u64 * 31 + at as u64 / 251 + chunk.index * 7) as u8).collect()
}

pub(super) fn proof(chunk: ChunkRef, hashes: usize) -> Vec<Hash> {
    (0..hashes).map(|at| Hash([(chunk.index as usize + at) as u8; 32])).collect()
}

pub(super) fn chunk(index: u64) -> ChunkRef {
    ChunkRef { space: Space::Root, index }
}

/// One end.
pub(super) struct Peer {
    pub(super) session: Session,
    /// What it sent, in pieces.
    pub(super) sent: Vec<Bytes>,
    /// Whether the stream takes everything at once.
    pub(super) eager: bool,
    /// The read that it asked for.
    pub(super) read: Option<usize>,
    /// Chunk reads that it asked for.
    pub(super) reads: Vec<(RequestId, ChunkRef)>,
    pub(super) events: Vec<Event>,
    pub(super) closing: bool,
    pub(super) deadline: Instant,
    pub(super) now: Instant,
}

impl Peer {
    pub(super) fn new(role: Role) -> Self {
        Self::with(Session::new(Instant::ZERO, Rng::new([0; 32]), config(role)))
    }

    pub(super) fn with(session: Session) -> Self {
        let mut this = Self {
            session,
            sent: Vec::new(),
            eager: true,
            read: None,
            reads: Vec::new(),
            events: Vec::new(),
            closing: false,
            deadline: Instant::ZERO,
            now: Instant::ZERO,
        };
        this.drain();
        this
    }

    pub(super) fn input(&mut self, input: Input) {
        self.session.handle_input(self.now, input);
        self.drain();
    }

    pub(super) fn command(&mut self, command: Command) {
        self.input(Input::Command(command));
    }

    pub(super) fn request(&mut self, number: u32, index: u64) {
        let (request, handle) = (RequestId(number), Handle(0));
        self.command(Command::Request { request, handle, chunk: chunk(index) });
    }

    pub(super) fn serve(&mut self, number: u32, index: u64) {
        let (request, content) = (RequestId(number), ContentKey(1));
        self.command(Command::Serve { request, content, chunk: chunk(index) });
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.input(Input::Tick);
        assert!(self.deadline > self.now, "a driver would spin");
    }

    /// Hands in bytes of the stream.
    pub(super) fn receive(&mut self, bytes: &[u8]) {
        self.read = None;
        self.input(Input::Received(BytesMut::from(bytes)));
    }

    fn drain(&mut self) {
        let mut sent = 0;
        loop {
            match self.session.poll_output() {
                Output::Transmit(Transmit::Send(bytes)) => {
                    sent += bytes.len();
                    self.sent.push(bytes);
                }
                Output::Transmit(Transmit::Read { max }) => {
                    assert_eq!(self.read, None, "one read at a time");
                    self.read = Some(max);
                }
                Output::Transmit(Transmit::ReadChunk { request, content, chunk }) => {
                    assert_eq!(content, ContentKey(1));
                    self.reads.push((request, chunk));
                }
                Output::Transmit(Transmit::CloseStream) => self.closing = true,
                Output::Event(event) => self.events.push(event),
                Output::Timeout(at) => {
                    self.deadline = at;
                    break;
                }
            }
        }
        if self.eager && sent > 0 {
            self.input(Input::Sent { bytes: sent });
        }
    }

    /// The store answers the oldest read.
    pub(super) fn answer_read(&mut self, length: usize, hashes: usize, buffer: BytesMut) {
        let (request, chunk) = self.reads.remove(0);
        let mut frame = ChunkFrame::new(request, length, hashes, buffer);
        for (place, hash) in frame.proof_mut().chunks_mut(32).zip(proof(chunk, hashes)) {
            place.copy_from_slice(&hash.0);
        }
        let bytes = content(chunk, length);
        let mut rest = &bytes[..];
        for part in frame.body_mut() {
            let (head, tail) = rest.split_at(part.len());
            part.copy_from_slice(head);
            rest = tail;
        }
        self.input(Input::ChunkRead { request, result: Ok(frame) });
    }

    pub(super) fn fail_read(&mut self, why: Unavailable) {
        let (request, _) = self.reads.remove(0);
        self.input(Input::ChunkRead { request, result: Err(why) });
    }

    /// All that it sent and that was not taken out yet.
    pub(super) fn take_sent(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        for bytes in self.sent.drain(..) {
            all.extend_from_slice(&bytes);
        }
        all
    }

    pub(super) fn closed(&self) -> Option<&CloseReason> {
        let mut reasons = self.events.iter().filter_map(|event| match event {
            Event::Closed(reason) => Some(reason),
            _ => None,
        });
        let reason = reasons.next();
        assert!(reasons.next().is_none(), "closed twice");
        assert_eq!(reason.is_some(), self.closing);
        reason
    }

    pub(super) fn is_established(&self) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Established { .. }))
    }
}

/// Moves bytes both ways until nothing moves; `size` says how many come at once.
pub(super) fn pump(a: &mut Peer, b: &mut Peer, mut size: impl FnMut() -> usize) {
    let (mut there, mut back) = (Vec::new(), Vec::new());
    loop {
        there.extend(a.take_sent());
        back.extend(b.take_sent());
        let one = step(&mut there, b, &mut size);
        let other = step(&mut back, a, &mut size);
        if !one && !other && a.sent.is_empty() && b.sent.is_empty() {
            return;
        }
    }
}

/// Hands in everything that waits, in pieces; answers whether there was anything.
fn step(pipe: &mut Vec<u8>, to: &mut Peer, size: &mut impl FnMut() -> usize) -> bool {
    let mut at = 0;
    while at < pipe.len() && to.closed().is_none() {
        let max = to.read.expect("an open session asks for bytes");
        let take = size().clamp(1, max).min(pipe.len() - at);
        to.receive(&pipe[at..at + take]);
        at += take;
    }
    pipe.clear();
    at > 0
}

/// An established pair.
pub(super) fn pair(a: Role, b: Role) -> (Peer, Peer) {
    let (mut a, mut b) = (Peer::new(a), Peer::new(b));
    pump(&mut a, &mut b, || usize::MAX);
    assert!(a.is_established() && b.is_established(), "{:?} {:?}", a.events, b.events);
    a.events.clear();
    b.events.clear();
    (a, b)
}

/// An established pair, IK and ChaChaPoly.
pub(super) fn usual() -> (Peer, Peer) {
    pair(initiator(Some(responder_id()), Suite::ChaChaPoly), responder(false, true))
}
