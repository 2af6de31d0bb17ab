//! Every numeric limit of the tracker, with its unit and its reason. Nothing is unlimited.
//!
//! What a stranger may send is bounded by constants; what an operator may want to change is in
//! [`Limits`], whose defaults are the values that the command uses.

use std::time::Duration;

/// Body of any call but an announce: a heartbeat that names 4,096 shares is 280 KiB.
pub(crate) const MAX_BODY_BYTES: usize = 512 * 1024;
/// Body of an announce: founding clients list all chunks of a file, 8 MiB for 16 GiB.
pub(crate) const MAX_ANNOUNCE_BYTES: usize = 8 * 1024 * 1024;
/// A body up to this size is read without asking: what native peers send all day is smaller, and
/// connections are counted.
pub(crate) const SMALL_BODY_BYTES: usize = 16 * 1024;
/// Bytes of longer bodies that all connections together may have in memory at once.
pub(crate) const BODY_BUDGET_BYTES: usize = 128 * 1024 * 1024;
/// Calls that a search counts as, because it goes through all names.
pub(crate) const SEARCH_COST: u32 = 10;
/// Request line and headers.
pub(crate) const MAX_HEAD_BYTES: usize = 16 * 1024;
/// A founding peer's or file's own identifier: UUIDs have 36, SHA-256 in hex 64.
pub(crate) const MAX_FOUNDING_ID_BYTES: usize = 80;
/// A host name (RFC 1035).
pub(crate) const MAX_HOSTNAME_BYTES: usize = 255;
/// A search.
pub(crate) const MAX_QUERY_BYTES: usize = 256;
/// Files on one page of a list.
pub(crate) const MAX_PAGE_FILES: usize = 1_000;
/// IP addresses that are remembered of one key: two families, a few networks.
pub(crate) const MAX_SPOKEN_IPS: usize = 8;
/// How long a key's public address counts as lately used.
pub(crate) const SPOKEN_FOR: Duration = Duration::from_hours(24);
/// Without a heartbeat or a relay session a peer is offline after this time (founding system).
pub(crate) const OFFLINE_AFTER: Duration = Duration::from_secs(90);
/// The end of a relay session may be a reconnection: the peer stays online for this long.
pub(crate) const RELAY_GRACE: Duration = Duration::from_secs(10);
/// Seconds between two heartbeats (founding system).
pub(crate) const HEARTBEAT_SECONDS: u32 = 30;
/// A heartbeat withdraws what it does not name, but not what was announced within this time: its
/// announce may have overtaken it.
pub(crate) const WITHDRAW_AFTER: Duration = Duration::from_mins(1);
/// The database learns this seldom that a peer is still there.
pub(crate) const TOUCH_INTERVAL: Duration = Duration::from_hours(6);
/// What was not seen for this long is dropped from the database.
pub(crate) const FORGET_AFTER: Duration = Duration::from_hours(30 * 24);
/// The database is cleaned this often.
pub(crate) const PRUNE_INTERVAL: Duration = Duration::from_hours(1);
/// Offline peers are dropped from memory this often. Answers do not depend on it.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Writes that wait for the database. More are refused with 503.
pub(crate) const WRITE_QUEUE: usize = 4_096;
/// Writes in one commit: bounds how long the first one of a group waits.
pub(crate) const GROUP_WRITES: usize = 512;
/// Peers in memory at once.
pub(crate) const MAX_PEERS: usize = 200_000;
/// Holders (a peer and what it has) in memory at once.
pub(crate) const MAX_HOLDERS: usize = 2_000_000;
/// Per-IP token buckets in memory at once; beyond it the fullest are forgotten.
pub(crate) const MAX_BUCKETS: usize = 100_000;
/// Largest WebSocket message on `/relay`: a data frame of 64 KiB and its head.
pub(crate) const MAX_RELAY_MESSAGE_BYTES: usize = 64 * 1024 + 1024;
/// Bytes that a connection takes over from the hub's queue: what the next writes will carry.
pub(crate) const RELAY_WRITE_BATCH_BYTES: usize = 512 * 1024;
/// Bytes that a connection reads before it is another one's turn: two full frames, which is small
/// beside the window of a circuit and large beside what a turn costs.
pub(crate) const RELAY_READ_TURN_BYTES: usize = 128 * 1024;
/// Inputs that wait for the hub.
pub(crate) const HUB_QUEUE: usize = 1_024;
/// Bytes that the hub may hold for slow receivers, all together.
pub(crate) const HUB_BUDGET_BYTES: usize = 256 * 1024 * 1024;

/// What an operator, or a test, may want to change.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Headers of a request must be whole within this time, and an idle connection is closed after
    /// it.
    pub header_timeout: Duration,
    /// A request must be read and answered within this time.
    pub request_timeout: Duration,
    /// Requests that are running when the tracker stops may go on for this long.
    pub shutdown_timeout: Duration,
    /// Connections in all.
    pub max_connections: usize,
    /// Connections from one IP address (IPv6: from one /64); loopback excepted.
    pub max_connections_per_ip: usize,
    /// Calls that one IP address may make at once before its rate counts.
    pub request_burst: u32,
    /// Calls that one IP address may make per second on average.
    pub requests_per_second: u32,
    /// Whether the limits per IP address also hold for loopback addresses. They usually belong to
    /// programs of this machine, or to a proxy.
    pub limit_loopback: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(10),
            max_connections: 60_000,
            max_connections_per_ip: 2_048,
            request_burst: 1_000,
            requests_per_second: 100,
            limit_loopback: false,
        }
    }
}
