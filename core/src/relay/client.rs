//! A peer's side of the relay: login, circuits, credit, reconnecting. (API fixed; body to be written.)
//!
//! One machine per tracker. It asks for a WebSocket, logs in (Noise XX), keeps circuits with two windows
//! each (the receiver's and the hub's) and asks its circuits' sessions for bytes only as far as both go.
//! It reconnects by itself, 1 s → 60 s with jitter; circuits do not survive that, their sessions end.

use alloc::string::String;

use bytes::{Bytes, BytesMut};

use crate::close::CloseReason;
use crate::id::{Instance, LinkId, PeerId};
use crate::output::Output;
use crate::path::DialError;
use crate::rng::Rng;
use crate::time::Instant;

/// What a client starts with.
pub struct Config {
    /// Who we are.
    pub me: Instance,
    /// Our X25519 secret key.
    pub secret_key: [u8; 32],
    /// The host as dialled, `host` or `host:port`: part of the handshake's prologue.
    pub host: String,
}

/// What a client takes.
#[derive(Debug)]
pub enum Input {
    /// The clock reached the deadline, or just passed.
    Tick,
    /// The node wants to be connected, or not.
    Want(bool),
    /// The WebSocket is open; with 32 fresh random bytes for the ephemeral key.
    Connected {
        /// From the driver, never used twice.
        ephemeral: [u8; 32],
    },
    /// It could not be opened, or is closed; the driver's sentence.
    Disconnected(String),
    /// One binary message.
    Message(BytesMut),
    /// So many payload bytes of our `Send`s were taken by the socket.
    Sent {
        /// Bytes.
        bytes: usize,
    },
    /// The node wants a circuit.
    Open {
        /// The link it will be.
        link: LinkId,
        /// To whom.
        to: Instance,
    },
    /// The node accepts a circuit that came in.
    Accept {
        /// The number in `Event::Incoming`.
        incoming: u64,
        /// The link it is from now on.
        link: LinkId,
    },
    /// The node does not.
    Refuse {
        /// The number in `Event::Incoming`.
        incoming: u64,
    },
    /// Bytes that the link's session wants sent; at most as many as `Writable` allowed.
    Data {
        /// Which link.
        link: LinkId,
        /// The bytes.
        bytes: Bytes,
    },
    /// The link's session has taken so many of the bytes that `Transmit::Deliver` gave it.
    Consumed {
        /// Which link.
        link: LinkId,
        /// How many.
        bytes: usize,
    },
    /// The link's session has ended.
    Close {
        /// Which link.
        link: LinkId,
    },
}

/// What a client wants done.
#[derive(Debug)]
pub enum Transmit {
    /// Open the WebSocket at `/relay` (subprotocol [`super::frame::SUBPROTOCOL`]).
    Connect,
    /// Send one binary message, in order.
    Send {
        /// All of it. The hub forwards a data frame in the buffer in which it came.
        message: Bytes,
    },
    /// Close the WebSocket.
    Disconnect,
    /// Bytes for the link's session.
    Deliver {
        /// Which link.
        link: LinkId,
        /// The bytes.
        bytes: BytesMut,
    },
    /// The link's session may hand in so many bytes more.
    Writable {
        /// Which link.
        link: LinkId,
        /// How many more.
        bytes: usize,
    },
    /// The link's stream is open: its session may start.
    Opened {
        /// Which link.
        link: LinkId,
    },
    /// The link's stream has ended: tell its session.
    Ended {
        /// Which link.
        link: LinkId,
        /// Why.
        reason: CloseReason,
    },
}

/// What a client tells the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Logged in: the token for REST calls, and our address as the tracker sees it.
    LoggedIn {
        /// Opaque.
        token: String,
    },
    /// Not any more; tried again by itself. Why, for people.
    LoggedOut(String),
    /// A circuit could not be opened.
    OpenFailed {
        /// The link that will not be.
        link: LinkId,
        /// Why.
        error: DialError,
    },
    /// Somebody wants a circuit to us.
    Incoming {
        /// Number for the answer.
        incoming: u64,
        /// Who, as the hub says: the session proves it.
        from: PeerId,
    },
}

/// The client of one tracker's relay.
#[derive(Debug)]
pub struct Client {}

impl Client {
    /// A client that is not connected.
    #[must_use]
    pub fn new(_now: Instant, _rng: Rng, _config: Config) -> Self {
        todo!()
    }

    /// Takes one input.
    pub fn handle_input(&mut self, _now: Instant, _input: Input) {
        todo!()
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Output<Transmit, Event> {
        todo!()
    }
}
