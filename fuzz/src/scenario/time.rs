//! How long it may take.
//!
//! Where nothing goes wrong: as if all bytes of all getters passed through the slowest wire one
//! after another, with a little time for each to find the others. Where something did, that time
//! begins when all is mended, and the longest pauses of the machines are added: what the limits of
//! the core say.

use std::time::Duration;

use towpath_core::id::Space;
use towpath_core::limits::{
    MAX_SILENT_STRIKES, PEER_REST_MAX, RELAY_LIVENESS_TIMEOUT, REQUEST_TIMEOUT, UNAVAILABLE_RETRY,
};
use towpath_core::time::Instant;

use super::Scenario;
use crate::world::{Errand, Host, Manners, Wish, World};

/// Time to find the tracker, each other, and a path.
const MEETING: Duration = Duration::from_secs(20);

/// After the last fault somebody may still wait for the dead, the relay longest, and then rest as
/// long as one rests.
const RECOVERY: Duration =
    Duration::from_secs(RELAY_LIVENESS_TIMEOUT.as_secs() + PEER_REST_MAX.as_secs());

/// Sharers that lie, refuse and say nothing cost this much.
const RUDENESS: Duration = Duration::from_secs(
    REQUEST_TIMEOUT.as_secs() * (MAX_SILENT_STRIKES as u64 + 1) + 2 * UNAVAILABLE_RETRY.as_secs(),
);

impl Scenario {
    /// When everybody who can finish must have done so.
    pub(super) fn deadline(&self, world: &World) -> Instant {
        let begun = self.begun.max(self.mended_at).max(world.inherited_at);
        let mut allowed = self.fair_time(world);
        if !self.faults.is_empty() {
            allowed += RECOVERY;
        }
        let honest = |host: &Host| host.manners == Manners::Honest;
        if !world.hosts.iter().all(honest) || world.has_adversaries() {
            allowed += RUDENESS;
        }
        let failures = world.hosts.iter().flat_map(|host| &host.errands);
        let failures = failures.map(|errand| errand.seen.failed.total()).sum::<u64>();
        // Who has failed has used up its patience, and tries again after a while.
        let failed = u32::try_from(failures).unwrap_or(u32::MAX).min(20);
        begun + allowed + Duration::from_secs(10) * failed
    }

    /// What it takes when nobody does anything wrong.
    fn fair_time(&self, world: &World) -> Duration {
        let hosts = || world.hosts.iter();
        let fetches = || {
            let errands = hosts().flat_map(|host| &host.errands);
            errands.filter(|errand| errand.wish.policy().is_some())
        };
        let bytes_of = |errand: &Errand| errand.content().length_bytes() + chunks(errand) * 4_096;
        let bytes = usize::try_from(fetches().map(bytes_of).sum::<u64>()).expect("small");
        let all_chunks = u32::try_from(fetches().map(chunks).sum::<u64>()).expect("few");
        let wire_of = |host: &Host| host.quality.time_up(bytes).max(host.quality.time_down(bytes));
        let wire = hosts().map(wire_of).max().unwrap_or_default();
        let latency = hosts().map(|host| host.quality.latency).max().unwrap_or_default();
        let disk = hosts().map(|host| host.disk_latency).max().unwrap_or_default();
        let losses = hosts().map(|host| host.quality.losses_per_thousand).max().unwrap_or_default();
        let lost = u32::try_from(bytes as u64 / 10_000 * losses * 2 / 1_000).expect("few");
        let pauses = fetches().map(|errand| match errand.wish {
            Wish::Pipe(_, Some(pause)) => pause,
            Wish::Pipe(_, None) | Wish::Get(_) | Wish::Share => Duration::ZERO,
        });
        let reader = (pauses.max().unwrap_or_default() + latency * 4) * all_chunks;
        // The limit of a host that has one is a wire too, but only Limited has them, and judges.
        let limits = hosts().filter_map(|host| host.config.limit_up.or(host.config.limit_down));
        let limited = limits.map(|limit| Duration::from_secs(bytes as u64 / limit + 1)).max();
        wire * 5 / 4
            + latency * 200
            + disk * all_chunks * 2
            + (Duration::from_millis(200) + latency * 4) * lost
            + reader
            + limited.unwrap_or_default()
            + MEETING
    }

    /// Everybody who can finish has, in time.
    pub(super) fn judge_time(&self, world: &World) -> Result<(), String> {
        let deadline = self.deadline(world);
        for number in &self.must_finish {
            let finished_at = world.hosts[*number].finished_at();
            if finished_at.is_none_or(|at| at > deadline) {
                return Err(format!("host {number} finished at {finished_at:?} of {deadline:?}"));
            }
        }
        Ok(())
    }
}

fn chunks(errand: &Errand) -> u64 {
    let content = errand.content();
    content.shape(Space::Root).chunks + content.shape(Space::Contents).chunks
}
