//! What the tracker knows: peers, files, and who has what. Plain values, shared by memory and
//! database.
//!
//! There are two namespaces. *Native* peers are a key and an instance number and prove it with a
//! token; their files are locators. *Founding* peers (clients of the system that came before) name
//! themselves, and their files are whatever hash they say. The two never touch: the type of the key
//! tells them apart, and no text of a founding peer reads as that of a native one.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use towpath_core::id::{Instance, Kind, Locator};
use towpath_core::tracker_api::{instance_text, parse_instance};

use crate::limits::MAX_FOUNDING_ID_BYTES;

/// Who.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PeerKey {
    /// Proven by a token.
    Native(Instance),
    /// As it names itself.
    Founding(Arc<str>),
}

impl PeerKey {
    /// Reads a `peer_id`; `None` if it is neither.
    // spec T20: what is native in form is native
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(instance) = parse_instance(text) {
            return Some(Self::Native(instance));
        }
        is_plain(text).then(|| Self::Founding(text.into()))
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Native(instance) => f.write_str(&instance_text(instance)),
            Self::Founding(text) => f.write_str(text),
        }
    }
}

/// What.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FileKey {
    /// A locator.
    Native(Locator),
    /// As it was announced.
    Founding(Arc<str>),
}

impl FileKey {
    /// A founding file's hash; `None` if it is not one plain word.
    pub(crate) fn founding(text: &str) -> Option<Self> {
        is_plain(text).then(|| Self::Founding(text.into()))
    }

    pub(crate) const fn is_native(&self) -> bool {
        matches!(self, Self::Native(_))
    }

    pub(crate) fn text(&self) -> String {
        match self {
            Self::Native(locator) => locator.to_string(),
            Self::Founding(text) => text.to_string(),
        }
    }
}

/// One word of letters, digits and the signs that UUIDs and prefixed hashes have.
fn is_plain(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.' | b':');
    !text.is_empty() && text.len() <= MAX_FOUNDING_ID_BYTES && text.bytes().all(plain)
}

/// A registered peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerRow {
    pub(crate) key: PeerKey,
    /// Founding only: the address that may speak for it while it is online.
    pub(crate) owner_ip: Option<IpAddr>,
    /// Founding only; `None`: announced something but never registered.
    pub(crate) founding_address: Option<SocketAddr>,
    pub(crate) hostname: Option<String>,
    pub(crate) addresses: Vec<SocketAddr>,
    /// Names of suites, as announced.
    pub(crate) suites: Vec<String>,
    pub(crate) relay: bool,
    /// Seconds since 1970.
    pub(crate) registered_at: i64,
}

/// Something that was announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileRow {
    pub(crate) key: FileKey,
    /// Listed and searched.
    pub(crate) public: bool,
    pub(crate) name: String,
    /// Whose name that is: the first who announced it.
    pub(crate) named_by: PeerKey,
    pub(crate) size: u64,
    pub(crate) kind: Option<Kind>,
    /// Hex.
    pub(crate) root: Option<String>,
    pub(crate) chunk_size: u64,
    pub(crate) chunk_count: u64,
    /// Seconds since 1970.
    pub(crate) added_at: i64,
}

/// A change, in the order in which the database makes it and memory follows.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A peer says where it is.
    Register(PeerRow),
    /// A peer has something. `by` is written only if the peer is not known.
    Announce {
        by: Box<PeerRow>,
        file: Box<FileRow>,
        /// Founding only: JSON.
        chunks: Option<String>,
        seeder: bool,
    },
    /// A peer has something no more.
    Withdraw(PeerKey, FileKey),
    /// A peer goes.
    Remove(PeerKey),
    /// The operator deletes a file.
    DeleteFile(FileKey),
    /// A peer that is not in memory speaks: read what it had announced.
    Recall(PeerKey),
    /// These were seen.
    Touch(Vec<PeerKey>),
    /// Drop what was not seen since.
    Prune {
        /// Seconds since 1970.
        before: i64,
    },
}

/// What came of a change.
#[derive(Debug, Clone)]
pub(crate) enum Changed {
    /// It is as it should be.
    Done,
    /// Announce: the file as it is now.
    File(Arc<FileRow>),
    /// Recall: what was found.
    Recalled(Option<Arc<Recalled>>),
    /// Delete: whether there was something.
    Existed(bool),
}

/// A peer and all that it had announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recalled {
    pub(crate) peer: PeerRow,
    /// With whether it has all of it.
    pub(crate) files: Vec<(Arc<FileRow>, bool)>,
}
