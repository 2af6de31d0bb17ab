//! What peers and the tracker say to each other over HTTP: types and their JSON, no HTTP. (API fixed.)
//!
//! A runtime turns an [`HttpCall`] into a real one and hands status and body to [`decode_reply`]. The
//! tracker uses the same JSON types on its side. Paths and names are those of the founding system; what
//! native peers need more stands beside them (spec chapter "Tracker").

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use crate::id::{Instance, Locator};
use crate::session::Suite;

/// A call that a node makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `POST /api/peers/register`: who we are and where we can be reached. Needs a token.
    Register {
        /// Key and instance.
        me: Instance,
        /// Our addresses, best first.
        addresses: Vec<SocketAddr>,
        /// Suites that we accept.
        suites: Vec<Suite>,
        /// Whether we accept circuits.
        relay: bool,
    },
    /// `POST /api/files/announce`. Needs a token.
    Announce {
        /// Key and instance.
        me: Instance,
        /// Under what.
        locator: Locator,
        /// Only of a public share.
        public: Option<PublicFile>,
        /// Whether we have all of it.
        seeder: bool,
    },
    /// `POST /api/peers/heartbeat`: still here, with these. Needs a token.
    Heartbeat {
        /// Key and instance.
        me: Instance,
        /// All our locators.
        locators: Vec<Locator>,
    },
    /// `GET /api/files/{locator}/peers`.
    Lookup {
        /// What is looked for.
        locator: Locator,
    },
    /// `DELETE /api/peers/{id}`: we go. Needs a token.
    Remove {
        /// Key and instance.
        me: Instance,
    },
}

/// What is said of a public share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicFile {
    /// Its name.
    pub name: String,
    /// Kind, length and root, so that the tracker can check the id.
    pub descriptor: crate::id::Descriptor,
}

/// What the tracker answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Done; for register, announce, heartbeat and remove. Heartbeats again in so many seconds.
    Done {
        /// Seconds, where the tracker said.
        next_heartbeat_seconds: Option<u32>,
    },
    /// Who has it, online ones only.
    Peers(Vec<PeerEntry>),
}

/// One peer that has something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerEntry {
    /// Key and instance.
    pub instance: Instance,
    /// Where it says it can be reached.
    pub addresses: Vec<SocketAddr>,
    /// Suites that it accepts.
    pub suites: Vec<Suite>,
    /// Whether it accepts circuits.
    pub relay: bool,
    /// Whether it says it has all.
    pub seeder: bool,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallError {
    /// The tracker could not be reached; the driver's sentence.
    Unreachable(String),
    /// 404: it does not know what was asked for.
    NotFound,
    /// 401 or 403: the token is not good (any more).
    Unauthorized,
    /// 429: later.
    Busy {
        /// Seconds to wait.
        retry_after_seconds: u32,
    },
    /// Any other refusal, in the tracker's words (bounded).
    Refused(String),
    /// It answered something that is not an answer; names the rule.
    Garbage(&'static str),
}

/// An HTTP call, for a runtime to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCall {
    /// `GET`, `POST` or `DELETE`.
    pub method: &'static str,
    /// Path and query, to be put behind the tracker's base URL.
    pub path: String,
    /// JSON, if there is a body.
    pub body: Option<Vec<u8>>,
}

/// The most bytes of an answer's body that a runtime reads.
pub const MAX_REPLY_BYTES: usize = 1 << 20;

/// The HTTP call of a request.
#[must_use]
pub fn encode_request(_request: &Request) -> HttpCall {
    todo!()
}

/// The meaning of an answer to `request`.
///
/// # Errors
/// Whatever is not an answer.
pub fn decode_reply(
    _request: &Request,
    _status: u16,
    _retry_after_seconds: Option<u32>,
    _body: &[u8],
) -> Result<Response, CallError> {
    todo!()
}
