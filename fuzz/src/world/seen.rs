//! What a host has seen of its download, over all its runs.

use std::collections::BTreeMap;

use towpath_core::download::DropReason;
use towpath_core::id::{Instance, PeerId};
use towpath_core::node::{Failure, PeerDropReason, Progress};
use towpath_core::path::PathKind;
use towpath_core::time::Instant;

/// What a host's application has seen.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// When its first run started.
    pub started_at: Option<Instant>,
    /// When its download was whole.
    pub finished_at: Option<Instant>,
    /// How often it was started.
    pub runs: u64,
    /// How often it failed for good.
    pub failed: Tally<Failure>,
    /// Paths that were chosen, why, and how often.
    pub paths: Tally<(PathKind, String)>,
    /// Peers that were dropped, why, and how often.
    pub dropped: Tally<(PeerId, PeerDropReason)>,
    /// Chunk bytes that it received, over all its runs.
    pub received_bytes: u64,
    /// The same by path.
    pub by_path_bytes: [u64; 3],
    /// Bytes that were received and not yet stored when a run ended.
    pub lost_bytes: u64,
    /// Chunk bytes that its disk gave to others.
    pub served_bytes: u64,
    /// Receivers that said they were done.
    pub done: u64,
    /// What went out to each receiver, as the node says.
    pub sent_bytes: BTreeMap<Instance, u64>,
}

impl Seen {
    pub(super) fn add(&mut self, progress: &Progress) {
        self.received_bytes += progress.received_bytes;
        for (sum, bytes) in self.by_path_bytes.iter_mut().zip(progress.by_path_bytes) {
            *sum += bytes;
        }
    }

    /// How often somebody was named a liar.
    #[must_use]
    pub fn liars(&self) -> u64 {
        let lied = PeerDropReason::Download(DropReason::FalseChunk);
        let named = self.dropped.0.iter().filter(|((_, reason), _)| *reason == lied);
        named.map(|(_, times)| times).sum()
    }
}

/// What was seen, and how often.
#[derive(Debug, Clone)]
pub struct Tally<T>(pub Vec<(T, u64)>);

impl<T> Default for Tally<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Tally<T> {
    pub(super) fn note(&mut self, what: T) {
        match self.0.iter_mut().find(|(seen, _)| *seen == what) {
            Some((_, times)) => *times += 1,
            None => self.0.push((what, 1)),
        }
    }

    /// How often anything was seen.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, times)| times).sum()
    }
}
