//! What peers and the tracker say to each other over HTTP: types and their JSON, no HTTP.
//!
//! A runtime turns an [`HttpCall`] into a real one and hands status and body to [`decode_reply`].
//! The tracker uses the same JSON types ([`json`]) on its side. Paths and names are those of the
//! founding system; what native peers need more stands beside them (spec chapter "Tracker").
//!
//! The tracker is not trusted. Of what it answers, entries that make no sense are skipped (peers of
//! the founding system, addresses that cannot be dialled, duplicates, more than fit), and a body
//! that is not of the agreed shape is [`CallError::Garbage`]. That an entry is a lie is found out
//! later, by the handshake and the Merkle tree.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::id::{Instance, Kind, Locator, PeerId, to_hex};
use crate::limits::{
    DEFAULT_RETRY_AFTER_SECONDS, MAX_ADDRESSES_PER_PEER, MAX_LOOKUP_PEERS, MAX_REFUSAL_CHARS,
    MAX_RETRY_AFTER_SECONDS, MAX_SHARES_PER_INSTANCE,
};
use crate::session::Suite;

pub mod json;
#[cfg(test)]
mod tests;

/// A call that a node makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `POST /api/peers/register`: who we are and where we can be reached. Needs a token.
    Register {
        /// Key and instance.
        me: Instance,
        /// Our addresses, best first. An unspecified IP (`0.0.0.0`, `::`) stands for the one from
        /// which the tracker sees us speak.
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
    ///
    /// What the tracker knows of us besides them, and has known for a minute, is withdrawn. If it
    /// does not know us or one of them (any more), it answers `NotFound`: register and announce
    /// again.
    Heartbeat {
        /// Key and instance.
        me: Instance,
        /// All our locators that were announced; at most
        /// [`MAX_SHARES_PER_INSTANCE`](crate::limits::MAX_SHARES_PER_INSTANCE).
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

/// How an instance is written in URLs and bodies: key, a dot, instance number in 16 hex digits.
#[must_use]
pub fn instance_text(instance: &Instance) -> String {
    format!("{}.{:016x}", instance.peer, instance.number)
}

/// Reads what [`instance_text`] wrote; `None` for anything else, above all UUIDs.
#[must_use]
pub fn parse_instance(text: &str) -> Option<Instance> {
    let (key, number) = text.split_once('.')?;
    let lower_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if number.len() != 16 || !number.bytes().all(lower_hex) {
        return None;
    }
    let peer: PeerId = key.parse().ok()?;
    Some(Instance { peer, number: u64::from_str_radix(number, 16).ok()? })
}

/// The name of a suite in `suites`.
#[must_use]
pub const fn suite_text(suite: Suite) -> &'static str {
    match suite {
        Suite::ChaChaPoly => "25519_ChaChaPoly_SHA256",
        Suite::AesGcm => "25519_AESGCM_SHA256",
    }
}

/// Reads what [`suite_text`] wrote; `None` for suites that we do not know.
#[must_use]
pub fn parse_suite(text: &str) -> Option<Suite> {
    [Suite::AesGcm, Suite::ChaChaPoly].into_iter().find(|suite| suite_text(*suite) == text)
}

/// The name of a kind of share in `kind`.
#[must_use]
pub const fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Manifest => "manifest",
    }
}

/// Reads an address that can be dialled: an IP address (never a name) with a port. An IPv4 address
/// inside an IPv6 one is taken out.
// spec T8
#[must_use]
pub fn parse_address(text: &str) -> Option<SocketAddr> {
    let address: SocketAddr = text.parse().ok()?;
    let ip = address.ip().to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() || broadcast {
        return None;
    }
    Some(if ip.is_ipv4() { SocketAddr::new(ip, address.port()) } else { address })
}

/// The HTTP call of a request.
// spec L5: the secret of a link is in no call
#[must_use]
pub fn encode_request(request: &Request) -> HttpCall {
    match request {
        Request::Register { me, addresses, suites, relay } => post(
            "/api/peers/register",
            &json::RegisterBody {
                peer_id: instance_text(me),
                addresses: addresses
                    .iter()
                    .take(MAX_ADDRESSES_PER_PEER)
                    .map(ToString::to_string)
                    .collect(),
                suites: suites.iter().map(|suite| suite_text(*suite).to_owned()).collect(),
                relay: *relay,
                ..json::RegisterBody::default()
            },
        ),
        Request::Announce { me, locator, public, seeder } => post(
            "/api/files/announce",
            &json::AnnounceBody {
                peer_id: instance_text(me),
                file: file_body(locator, public.as_ref()),
                public: public.is_some(),
                is_seeder: Some(*seeder),
            },
        ),
        Request::Heartbeat { me, locators } => post(
            "/api/peers/heartbeat",
            &json::HeartbeatBody {
                peer_id: instance_text(me),
                files_hashes: locators
                    .iter()
                    .take(MAX_SHARES_PER_INSTANCE)
                    .map(ToString::to_string)
                    .collect(),
            },
        ),
        Request::Lookup { locator } => HttpCall {
            method: "GET",
            // spec T21
            path: format!("/api/files/{locator}/peers?namespace=native"),
            body: None,
        },
        Request::Remove { me } => HttpCall {
            method: "DELETE",
            path: format!("/api/peers/{}", instance_text(me)),
            body: None,
        },
    }
}

fn post(path: &str, body: &impl Serialize) -> HttpCall {
    let body = serde_json::to_vec(body).expect("strings, numbers and lists always have a JSON");
    HttpCall { method: "POST", path: path.to_owned(), body: Some(body) }
}

// spec K1: of a private share nothing but the locator
fn file_body(locator: &Locator, public: Option<&PublicFile>) -> json::FileBody {
    let hash = locator.to_string();
    let Some(public) = public else {
        return json::FileBody { hash, ..json::FileBody::default() };
    };
    json::FileBody {
        hash,
        name: public.name.clone(),
        size: public.descriptor.length_bytes,
        merkle_root: Some(to_hex(&public.descriptor.root.0)),
        kind: Some(kind_text(public.descriptor.kind).to_owned()),
        ..json::FileBody::default()
    }
}

/// The meaning of an answer to `request`.
///
/// # Errors
/// Whatever is not an answer.
pub fn decode_reply(
    request: &Request,
    status: u16,
    retry_after_seconds: Option<u32>,
    body: &[u8],
) -> Result<Response, CallError> {
    // spec T4
    if body.len() > MAX_REPLY_BYTES {
        return Err(CallError::Garbage("too_long"));
    }
    if status != 200 {
        return Err(decode_error(status, retry_after_seconds, body));
    }
    match request {
        Request::Register { .. }
        | Request::Announce { .. }
        | Request::Heartbeat { .. }
        | Request::Remove { .. } => {
            let reply: json::DoneReply = parse(body)?;
            if !reply.success {
                return Err(CallError::Garbage("no_success"));
            }
            Ok(Response::Done { next_heartbeat_seconds: reply.next_heartbeat_in })
        }
        Request::Lookup { .. } => {
            let reply: json::LookupReply = parse(body)?;
            Ok(Response::Peers(peer_entries(&reply.peers)))
        }
    }
}

// spec T1: unknown fields are skipped, wrong types make it garbage
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, CallError> {
    serde_json::from_slice(body).map_err(|error| {
        CallError::Garbage(if error.is_data() { "wrong_shape" } else { "not_json" })
    })
}

/// What an answer with another status than 200 means. A 404 counts only in the tracker's own words:
/// any web server has one.
// spec T2: one sentence, and when to come back
fn decode_error(status: u16, retry_after_seconds: Option<u32>, body: &[u8]) -> CallError {
    let said = serde_json::from_slice::<json::ErrorReply>(body).ok().map(|reply| reply.error);
    match (status, said) {
        (401 | 403, _) => CallError::Unauthorized,
        // spec T3
        (404, Some(_)) => CallError::NotFound,
        (404, None) => CallError::Garbage("not_a_tracker"),
        (429 | 503, _) => CallError::Busy {
            retry_after_seconds: retry_after_seconds
                .unwrap_or(DEFAULT_RETRY_AFTER_SECONDS)
                .clamp(1, MAX_RETRY_AFTER_SECONDS),
        },
        (400..=599, Some(said)) => CallError::Refused(for_people(&said)),
        (400..=599, None) => CallError::Refused(format!("status {status}")),
        _ => CallError::Garbage("unexpected_status"),
    }
}

/// One line of bounded length without control characters.
fn for_people(said: &str) -> String {
    said.chars().filter(|c| !c.is_control() && !is_bidi(*c)).take(MAX_REFUSAL_CHARS).collect()
}

/// Characters that turn the direction of text, and so can dress up one sentence as another.
fn is_bidi(c: char) -> bool {
    let mark = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}');
    mark || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

// spec T19 and T19b
fn peer_entries(peers: &[json::PeerBody]) -> Vec<PeerEntry> {
    let mut seen = BTreeSet::new();
    let mut entries = Vec::new();
    for peer in peers {
        // spec T4b
        if entries.len() == MAX_LOOKUP_PEERS {
            break;
        }
        let Some(instance) = parse_instance(&peer.peer_id) else { continue };
        if !seen.insert(instance) {
            continue;
        }
        let mut addresses = Vec::new();
        for address in peer.addresses.iter().filter_map(|text| parse_address(text)) {
            if addresses.len() < MAX_ADDRESSES_PER_PEER && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let mut suites: Vec<Suite> = Vec::new();
        for suite in peer.suites.iter().filter_map(|text| parse_suite(text)) {
            if !suites.contains(&suite) {
                suites.push(suite);
            }
        }
        entries.push(PeerEntry {
            instance,
            addresses,
            suites,
            relay: peer.relay.unwrap_or(false),
            seeder: peer.is_seeder,
        });
    }
    entries
}
