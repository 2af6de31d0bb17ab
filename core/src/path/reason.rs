//! Why a path was taken, or none was: the sentences that people and scripts see.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use crate::limits::DIRECT_TIMEOUT;

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

/// Why a path was taken; `Display` gives the sentence that people and scripts see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// "direct TCP connected".
    DirectConnected,
    /// "the peer connected to us": it came over this path and was asked in return.
    PeerCame,
    /// "--path relay".
    RelayWanted,
    /// "the peer announced no address".
    NoAddress,
    /// "direct TCP timed out after 5 s (n addresses)".
    DirectTimedOut {
        /// Addresses that were dialled.
        dialled: usize,
    },
    /// "direct TCP refused by all n addresses" ("… by its address" if there is one).
    DirectRefused {
        /// Addresses that were dialled.
        dialled: usize,
    },
    /// "direct TCP failed: …".
    DirectFailed {
        /// The first error that is more than a refusal.
        error: DialError,
        /// Addresses that were dialled.
        dialled: usize,
    },
    /// "the direct connection was lost".
    DirectLost,
    /// "…; relay: the relay is not reachable" ([`DialError::Unreachable`]) or "…; relay: the peer
    /// is not connected to the relay", after what happened before.
    RelayFailed {
        /// Why not direct.
        direct: Box<Reason>,
        /// Why not by relay.
        error: DialError,
    },
    /// "not used because of --path direct", after what happened before.
    RelayForbidden {
        /// Why not direct.
        direct: Box<Reason>,
    },
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Unreachable => f.write_str("no route to the address"),
            Self::WrongPeer => f.write_str("somebody else answered, or the handshake failed"),
            Self::NotAtRelay => f.write_str("the peer is not connected to the relay"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

// spec P5
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = DIRECT_TIMEOUT.as_secs();
        match self {
            Self::DirectConnected => f.write_str("direct TCP connected"),
            Self::PeerCame => f.write_str("the peer connected to us"),
            Self::RelayWanted => f.write_str("--path relay"),
            Self::NoAddress => f.write_str("the peer announced no address"),
            Self::DirectTimedOut { dialled } => {
                write!(f, "direct TCP timed out after {seconds} s ({})", Addresses(*dialled))
            }
            Self::DirectRefused { dialled: 1 } => f.write_str("direct TCP refused by its address"),
            Self::DirectRefused { dialled } => {
                write!(f, "direct TCP refused by all {}", Addresses(*dialled))
            }
            Self::DirectFailed { error, dialled } => {
                write!(f, "direct TCP failed: {error} ({})", Addresses(*dialled))
            }
            Self::DirectLost => f.write_str("the direct connection was lost"),
            Self::RelayFailed { direct, error: DialError::Unreachable } => {
                write!(f, "{direct}; relay: the relay is not reachable")
            }
            Self::RelayFailed { direct, error } => write!(f, "{direct}; relay: {error}"),
            Self::RelayForbidden { direct } => {
                write!(f, "{direct}; relay: not used because of --path direct")
            }
        }
    }
}

/// "1 address", "2 addresses".
struct Addresses(usize);

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} address{}", self.0, if self.0 == 1 { "" } else { "es" })
    }
}
