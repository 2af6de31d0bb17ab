//! Rows as the databases hold them, and what they mean.
//!
//! A database is our own, but it may have been edited by hand: a row that makes no sense is
//! skipped.

use std::net::SocketAddr;
use std::sync::Arc;

use towpath_core::id::Kind;
use towpath_core::tracker_api::{kind_text, parse_address};

use crate::model::{FileKey, FileRow, PeerKey, PeerRow};

/// A row of `peers`.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct PeerRecord {
    pub(super) id: String,
    pub(super) owner_ip: Option<String>,
    pub(super) ip: String,
    pub(super) port: i64,
    pub(super) hostname: Option<String>,
    pub(super) addresses: String,
    pub(super) suites: String,
    pub(super) relay: bool,
    pub(super) registered_at: i64,
}

impl PeerRecord {
    pub(super) fn new(row: &PeerRow) -> Self {
        let addresses: Vec<String> = row.addresses.iter().map(ToString::to_string).collect();
        Self {
            id: row.key.to_string(),
            owner_ip: row.owner_ip.map(|ip| ip.to_string()),
            ip: row.founding_address.map(|address| address.ip().to_string()).unwrap_or_default(),
            port: row.founding_address.map_or(0, |address| address.port().into()),
            hostname: row.hostname.clone(),
            addresses: addresses.join(" "),
            suites: row.suites.join(" "),
            relay: row.relay,
            registered_at: row.registered_at,
        }
    }

    pub(super) fn read(self) -> Option<PeerRow> {
        let ip = self.ip.parse().ok();
        let port = u16::try_from(self.port).ok();
        Some(PeerRow {
            key: PeerKey::parse(&self.id)?,
            owner_ip: self.owner_ip.and_then(|ip| ip.parse().ok()),
            founding_address: ip.zip(port).map(|(ip, port)| SocketAddr::new(ip, port)),
            hostname: self.hostname,
            addresses: self.addresses.split(' ').filter_map(parse_address).collect(),
            suites: self.suites.split_whitespace().map(str::to_owned).collect(),
            relay: self.relay,
            registered_at: self.registered_at,
        })
    }
}

/// A row of `files`, without its chunks.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct FileRecord {
    pub(super) native: bool,
    pub(super) hash: String,
    pub(super) public: bool,
    pub(super) name: String,
    pub(super) named_by: String,
    pub(super) size: i64,
    pub(super) kind: Option<String>,
    pub(super) root: Option<String>,
    pub(super) chunk_size: i64,
    pub(super) chunk_count: i64,
    pub(super) added_at: i64,
}

impl FileRecord {
    pub(super) fn new(row: &FileRow) -> Self {
        // Sizes are checked when they come in; what does not fit here was never accepted.
        let signed = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
        Self {
            native: row.key.is_native(),
            hash: row.key.text(),
            public: row.public,
            name: row.name.clone(),
            named_by: row.named_by.to_string(),
            size: signed(row.size),
            kind: row.kind.map(|kind| kind_text(kind).to_owned()),
            root: row.root.clone(),
            chunk_size: signed(row.chunk_size),
            chunk_count: signed(row.chunk_count),
            added_at: row.added_at,
        }
    }

    pub(super) fn read(self) -> Option<FileRow> {
        let key = if self.native {
            FileKey::Native(self.hash.parse().ok()?)
        } else {
            FileKey::founding(&self.hash)?
        };
        let kinds = [Kind::File, Kind::Manifest];
        Some(FileRow {
            key,
            public: self.public,
            name: self.name,
            named_by: PeerKey::parse(&self.named_by)?,
            size: u64::try_from(self.size).ok()?,
            kind: self.kind.and_then(|text| kinds.into_iter().find(|k| kind_text(*k) == text)),
            root: self.root,
            chunk_size: u64::try_from(self.chunk_size).ok()?,
            chunk_count: u64::try_from(self.chunk_count).ok()?,
            added_at: self.added_at,
        })
    }
}

/// A file with whether one peer has all of it.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct HeldRecord {
    #[sqlx(flatten)]
    pub(super) file: FileRecord,
    pub(super) seeder: bool,
}

impl HeldRecord {
    pub(super) fn read(self) -> Option<(Arc<FileRow>, bool)> {
        Some((Arc::new(self.file.read()?), self.seeder))
    }
}
