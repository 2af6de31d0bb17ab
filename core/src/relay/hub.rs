//! The tracker's side of the relay: login, routing, credit, fairness, quotas. (API fixed.)
//!
//! The hub never stops reading a socket: it grants each sender no more than it can hold and the receiver
//! can take. Control frames go before data, circuits take turns.

use alloc::string::String;
use core::net::IpAddr;

use bytes::{Bytes, BytesMut};

use crate::close::CloseReason;
use crate::id::Instance;
use crate::output::Output;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};

/// A WebSocket, as hub and driver know it; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

/// What a hub starts with.
pub struct Config {
    /// The relay's own X25519 secret key.
    pub secret_key: [u8; 32],
    /// Key of the tokens' HMAC.
    pub token_key: [u8; 32],
    /// All bytes that the hub may hold for slow receivers.
    pub buffer_budget_bytes: usize,
    /// Connections from one IP address.
    pub max_connections_per_ip: usize,
    /// Connections in all.
    pub max_connections: usize,
}

/// What a hub takes.
#[derive(Debug)]
pub enum Input {
    /// The clock reached the deadline, or just passed.
    Tick,
    /// A WebSocket was opened; with 32 fresh random bytes for the ephemeral key.
    Connected {
        /// Which.
        conn: ConnId,
        /// From where (after a configured proxy's header).
        ip: IpAddr,
        /// The `Host` header: part of the handshake's prologue.
        host: String,
        /// From the driver, never used twice.
        ephemeral: [u8; 32],
        /// Wall-clock time, for the token's expiry.
        unix_time: UnixTime,
    },
    /// One binary message.
    Message {
        /// From whom.
        conn: ConnId,
        /// All of it.
        bytes: BytesMut,
    },
    /// So many payload bytes of `Send`s to it were taken by its socket.
    Sent {
        /// To whom.
        conn: ConnId,
        /// Bytes.
        bytes: usize,
    },
    /// Its socket is closed.
    Disconnected(ConnId),
    /// End everything with a word.
    Shutdown,
}

/// What a hub wants done.
#[derive(Debug)]
pub enum Transmit {
    /// Send one binary message, in order.
    Send {
        /// To whom.
        conn: ConnId,
        /// All of it. The hub forwards a data frame in the buffer in which it came.
        message: Bytes,
    },
    /// Close the socket.
    Close {
        /// Whose.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
}

/// What a hub tells the tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// This instance is logged in.
    LoggedIn(ConnId, Instance),
    /// It is not any more.
    LoggedOut(ConnId, Instance),
    /// After `Shutdown`: all is said.
    Stopped,
}

/// The hub.
#[derive(Debug)]
pub struct Hub {}

impl Hub {
    /// A hub without connections.
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

/// Checks a token that a login yielded: whose it is, if it is ours and not expired.
#[must_use]
pub fn check_token(_token_key: &[u8; 32], _token: &str, _now: UnixTime) -> Option<Instance> {
    todo!()
}
