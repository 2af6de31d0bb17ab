//! Over which path a peer is reached: direct, punched or relayed, and why. (API fixed; body to come.)
//!
//! One chooser per (download, peer). Policy `sequential` is the rule of the founding documents: dial all
//! announced addresses, 250 ms apart, 5 s for all together with the handshake; if all refuse, go on at
//! once; then the punch (a state that is skipped while no puncher is configured); then the relay, for
//! this peer and the rest of this download. Racing will come as new states and inputs.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use crate::output::Output;
use crate::rng::Rng;
use crate::time::Instant;

/// What carries a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathKind {
    /// TCP straight to the peer.
    Direct,
    /// UDP through a punched hole.
    Punched,
    /// Through the tracker's relay.
    Relay,
}

impl fmt::Display for PathKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Punched => "punched",
            Self::Relay => "relay",
        })
    }
}

/// The user's `--path`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// The best that we know: `Sequential` until racing exists.
    #[default]
    Auto,
    /// The founding documents' rule.
    Sequential,
    /// Never the relay.
    Direct,
    /// Nothing but the relay.
    Relay,
}

/// Number of an attempt, unique within one chooser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u32);

/// What a chooser starts with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The user's wish.
    pub policy: Policy,
    /// Whether a puncher is configured. Always `false` so far; the state exists and is skipped.
    pub can_punch: bool,
    /// The peer's announced addresses, best first.
    pub addresses: Vec<SocketAddr>,
    /// Whether the peer accepts circuits.
    pub relay: bool,
}

/// Why a dial did not lead to a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialError {
    /// Nobody listens there.
    Refused,
    /// No way there.
    Unreachable,
    /// Somebody else answered, or the handshake failed.
    WrongPeer,
    /// The relay says that the peer is not connected, or did not accept the circuit.
    NotAtRelay,
    /// Anything else; the driver's sentence.
    Other(String),
}

/// What a chooser takes.
#[derive(Debug, Clone)]
pub enum Input {
    /// The clock reached the deadline, or just passed.
    Tick,
    /// The attempt failed before its session was established.
    Failed(Attempt, DialError),
    /// The attempt's session is established.
    Established(Attempt),
    /// The session of the attempt that was chosen ended before its work was done.
    Lost(Attempt),
    /// Whether we are logged in at the relay.
    RelayReady(bool),
    /// The work is done.
    Stop,
}

/// What a chooser wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transmit {
    /// Dial this address.
    Dial(Attempt, SocketAddr),
    /// Open a circuit to the peer.
    OpenCircuit(Attempt),
    /// Give this attempt up.
    Abandon(Attempt),
}

/// What a chooser tells the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// This attempt carries, over this path, for this reason.
    Chosen(Attempt, PathKind, Reason),
    /// Nothing works for now. The node may make a new chooser later.
    Exhausted(Reason),
}

/// Why a path was taken; `Display` gives the sentence that people and scripts see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// "direct TCP connected".
    DirectConnected,
    /// "--path relay".
    RelayWanted,
    /// "the peer announced no address".
    NoAddress,
    /// "direct TCP timed out after 5 s (n addresses)".
    DirectTimedOut {
        /// Addresses that were dialled.
        dialled: usize,
    },
    /// "direct TCP refused by all n addresses".
    DirectRefused {
        /// Addresses that were dialled.
        dialled: usize,
    },
    /// "direct TCP failed: …".
    DirectFailed {
        /// The first error.
        error: DialError,
        /// Addresses that were dialled.
        dialled: usize,
    },
    /// "the direct connection was lost".
    DirectLost,
    /// "the relay is not reachable" or "the peer is not at the relay", after what happened before.
    RelayFailed {
        /// Why not direct.
        direct: alloc::boxed::Box<Reason>,
        /// Why not by relay.
        error: DialError,
    },
    /// "--path direct".
    RelayForbidden {
        /// Why not direct.
        direct: alloc::boxed::Box<Reason>,
    },
}

/// The chooser of one peer.
#[derive(Debug)]
pub struct PathChooser {}

impl PathChooser {
    /// Begins at once: the first drain may already dial.
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
