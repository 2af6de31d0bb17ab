//! The JSON of the tracker's REST calls, one type a body, for both sides.
//!
//! Names and nesting are those of the founding system (spec chapter "Tracker"); fields that only
//! native peers use are left out where they are empty. Readers are lenient where the founding
//! clients are sloppy (`null` for an empty list, fields that are missing) and strict on types. A
//! list is cut at its limit *while* it is read, so that a hostile body costs its own length and no
//! more.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::limits::{
    MAX_ADDRESSES_PER_PEER, MAX_ANNOUNCED_CHUNKS, MAX_LOOKUP_PEERS, MAX_SHARES_PER_INSTANCE,
};

/// Body of `POST /api/peers/register`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterBody {
    /// Native: key, a dot, instance number in hex. Founding: a UUID.
    pub peer_id: String,
    /// Founding peers: where they listen; empty: whence they speak.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ip: String,
    /// Founding peers: their port.
    #[serde(default, skip_serializing_if = "is_default")]
    pub port: u16,
    /// Founding peers: a name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Native peers: `IP:PORT`, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "addresses")]
    pub addresses: Vec<String>,
    /// Native peers: the cipher suites that they accept.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "suites")]
    pub suites: Vec<String>,
    /// Native peers: whether they accept circuits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub relay: bool,
}

/// Body of `POST /api/peers/heartbeat`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatBody {
    /// Who.
    pub peer_id: String,
    /// Everything that it has, native: locators.
    #[serde(default, deserialize_with = "hashes")]
    pub files_hashes: Vec<String>,
}

/// Body of `POST /api/files/announce`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnounceBody {
    /// Who.
    pub peer_id: String,
    /// What.
    pub file: FileBody,
    /// Native: whether the share is public.
    #[serde(default, skip_serializing_if = "is_default")]
    pub public: bool,
    /// Native: whether the announcer has all of it. Founding clients do not say; they have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_seeder: Option<bool>,
}

/// The `file` of an announce.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileBody {
    /// Native: the locator. Founding: SHA-256 of the file in hex.
    #[serde(default)]
    pub hash: String,
    /// Its name; not of a private share.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Its length in bytes; not of a private share.
    #[serde(default, skip_serializing_if = "is_default")]
    pub size: u64,
    /// Founding: bytes in a chunk.
    #[serde(default, skip_serializing_if = "is_default")]
    pub chunk_size: u64,
    /// Founding: its chunks.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "chunks")]
    pub chunks: Vec<ChunkBody>,
    /// Native public: the Merkle root in hex. Founding: not checked, not stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merkle_root: Option<String>,
    /// Native public: `file` or `manifest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// One chunk of a founding file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkBody {
    /// Its number.
    #[serde(default)]
    pub index: u64,
    /// Its SHA-256 in hex.
    #[serde(default)]
    pub hash: String,
    /// Its bytes.
    #[serde(default)]
    pub size: u64,
}

/// Answer to register, heartbeat, announce and delete.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneReply {
    /// Always true with status 200.
    #[serde(default)]
    pub success: bool,
    /// Register: a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Announce: the hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_id: Option<String>,
    /// Heartbeat: seconds until the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_heartbeat_in: Option<u32>,
}

/// Answer to `GET /api/files/{hash}/peers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupReply {
    /// As asked.
    #[serde(default)]
    pub file_hash: String,
    /// Empty for a private share.
    #[serde(default)]
    pub file_name: String,
    /// Zero for a private share.
    #[serde(default)]
    pub file_size: u64,
    /// Founding files.
    #[serde(default)]
    pub chunk_count: u64,
    /// Founding files.
    #[serde(default)]
    pub chunk_size: u64,
    /// Founding files; `null` for native ones.
    #[serde(default, deserialize_with = "ignored")]
    pub chunks: Option<Vec<ChunkBody>>,
    /// Who has it and is online; `null` or empty if nobody.
    #[serde(deserialize_with = "peers")]
    pub peers: Vec<PeerBody>,
}

/// One peer of a lookup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerBody {
    /// Native: key, a dot, instance number. Founding: a UUID.
    pub peer_id: String,
    /// Native: the key again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Native: the instance number again, 16 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// IP address of the first of the addresses; may be empty.
    #[serde(default)]
    pub ip: String,
    /// Port of the first of the addresses.
    #[serde(default)]
    pub port: u16,
    /// Founding peers: a name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Founding peers: numbers of all chunks; empty for native ones.
    #[serde(default, deserialize_with = "ignored_list")]
    pub chunks_available: Vec<u64>,
    /// Whether it has all.
    #[serde(default)]
    pub is_seeder: bool,
    /// Native: `IP:PORT`, best first.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "addresses")]
    pub addresses: Vec<String>,
    /// Native: the cipher suites that it accepts.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "suites")]
    pub suites: Vec<String>,
    /// Native: whether it accepts circuits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<bool>,
}

/// Every answer with a status of 400 and more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// One sentence.
    pub error: String,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Reads a list, or `null`, and keeps its first `max` items; the rest is read past.
fn bounded<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    from: D,
    max: usize,
) -> Result<Vec<T>, D::Error> {
    struct Bounded<T>(usize, PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_unit<E>(self) -> Result<Vec<T>, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while items.len() < self.0 {
                let Some(item) = seq.next_element()? else { return Ok(items) };
                items.push(item);
            }
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            Ok(items)
        }
    }

    from.deserialize_any(Bounded(max, PhantomData))
}

// One more than allowed is kept where the tracker must see that there were too many.

fn addresses<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    bounded(from, MAX_ADDRESSES_PER_PEER + 1)
}

fn suites<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    bounded(from, 8)
}

fn hashes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    bounded(from, MAX_SHARES_PER_INSTANCE + 1)
}

fn chunks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<ChunkBody>, D::Error> {
    bounded(from, MAX_ANNOUNCED_CHUNKS + 1)
}

// Twice the limit, because founding peers and duplicates among them do not count.
fn peers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PeerBody>, D::Error> {
    bounded(from, 2 * MAX_LOOKUP_PEERS)
}

// What native clients have no use for is not even kept.

fn ignored<'de, D: Deserializer<'de>, T>(from: D) -> Result<Option<T>, D::Error> {
    IgnoredAny::deserialize(from).map(|_| None)
}

fn ignored_list<'de, D: Deserializer<'de>, T>(from: D) -> Result<Vec<T>, D::Error> {
    IgnoredAny::deserialize(from).map(|_| Vec::new())
}
