//! Why a machine ended, split by blame. A machine that ends says so exactly once.

use alloc::string::String;
use core::fmt;

/// Why a link, a circuit or a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// We wanted it.
    Local(LocalClose),
    /// The other side wanted it, or its stream ended.
    Remote(RemoteClose),
    /// Nothing came for too long; names what was awaited.
    Timeout(Awaited),
    /// The other side broke the protocol; names the rule.
    Misbehaved(Misbehaviour),
    /// Both sides are right and cannot talk to each other.
    Incompatible(Incompatibility),
}

/// Why we ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalClose {
    /// The work is done.
    Done,
    /// The user or the owner stopped it.
    Stopped,
    /// Another link to the same peer is better.
    Superseded,
    /// A limit of ours was reached; it carries the limit's name in `limits.rs`.
    Limit(&'static str),
}

/// Why the other side ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteClose {
    /// It said goodbye.
    Bye,
    /// The stream ended without a word.
    Ended,
    /// The stream broke; the driver's sentence.
    Failed(String),
}

/// What was awaited when the time ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// The handshake.
    Handshake,
    /// Any sign of life.
    Liveness,
    /// Room for what we had to send.
    Writable,
    /// An answer.
    Answer,
}

/// Which rule the other side broke. The text is one stable `snake_case` word for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misbehaviour(pub &'static str);

/// What the two sides do not have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incompatibility {
    /// Not our protocol at all.
    Magic,
    /// No common version.
    Version,
    /// The responder does not offer this suite.
    Suite,
    /// The responder does not take this handshake pattern.
    Pattern,
    /// The responder has another key than the one that was called.
    Key,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(LocalClose::Done) => f.write_str("done"),
            Self::Local(LocalClose::Stopped) => f.write_str("stopped"),
            Self::Local(LocalClose::Superseded) => f.write_str("replaced by a better link"),
            Self::Local(LocalClose::Limit(name)) => write!(f, "our limit was reached: {name}"),
            Self::Remote(RemoteClose::Bye) => f.write_str("the other side said goodbye"),
            Self::Remote(RemoteClose::Ended) => f.write_str("the connection ended"),
            Self::Remote(RemoteClose::Failed(text)) => write!(f, "the connection broke: {text}"),
            Self::Timeout(Awaited::Handshake) => f.write_str("the handshake took too long"),
            Self::Timeout(Awaited::Liveness) => f.write_str("no sign of life"),
            Self::Timeout(Awaited::Writable) => f.write_str("the other side stopped reading"),
            Self::Timeout(Awaited::Answer) => f.write_str("no answer"),
            Self::Misbehaved(rule) => write!(f, "the other side broke the protocol: {}", rule.0),
            Self::Incompatible(Incompatibility::Magic) => f.write_str("it does not speak Towpath"),
            Self::Incompatible(Incompatibility::Version) => {
                f.write_str("it speaks another version of the protocol")
            }
            Self::Incompatible(Incompatibility::Suite) => {
                f.write_str("it does not offer this cipher suite")
            }
            Self::Incompatible(Incompatibility::Pattern) => {
                f.write_str("it does not accept strangers")
            }
            Self::Incompatible(Incompatibility::Key) => {
                f.write_str("it has another key than the one expected")
            }
        }
    }
}
