//! What must hold of a host after everything that happens to it.

use towpath_core::limits::{CHUNK_BYTES, MAX_OUTGOING_REQUESTS, MAX_OUTSTANDING_BYTES};
use towpath_core::time::Instant;

use super::{Errand, Wish, World};
use crate::peer::Peer;

/// What may be received ahead of a pipe's reader.
const MAX_AHEAD_BYTES: u64 = 16 << 20;

/// Ticks of one machine in a second: a driver that is woken more often spins. A second of the world
/// may hold many deadlines of many links, never so many.
const MAX_TICKS_PER_SECOND: u32 = 2_000;

/// How often a host was ticked.
#[derive(Debug, Default)]
pub(super) struct Ticks {
    second: u64,
    times: u32,
}

impl World {
    /// What must always hold of a host.
    pub(super) fn check(&self, number: usize) -> Result<(), String> {
        let host = &self.hosts[number];
        let Some(peer) = &host.peer else { return Ok(()) };
        if let Some((what, bytes)) = peer.held_too_much {
            return Err(format!("host {number}: {bytes} {what}"));
        }
        let (of_one, of_all) = peer.open_requests();
        let most = MAX_OUTSTANDING_BYTES as usize / CHUNK_BYTES * host.errands.len();
        let small_files = host.errands.iter().any(|errand| errand.content().contents().is_some());
        if of_one > MAX_OUTGOING_REQUESTS || of_all > most && !small_files {
            return Err(format!("host {number} has {of_one} requests on a link, {of_all} in all"));
        }
        for errand in &host.errands {
            Self::check_errand(peer, errand).map_err(|what| format!("host {number} {what}"))?;
        }
        Ok(())
    }

    fn check_errand(peer: &Peer, errand: &Errand) -> Result<(), String> {
        let Some(key) = errand.key else { return Ok(()) };
        let progress = peer.progress(key);
        if progress.verified_bytes > errand.content.length_bytes() {
            return Err("counts more verified bytes than there are".into());
        }
        if progress.by_path_bytes.iter().sum::<u64>() != progress.received_bytes {
            return Err(format!("counts bytes that do not add up: {progress:?}"));
        }
        match errand.wish {
            Wish::Pipe(..) => {
                let ahead = progress.received_bytes.saturating_sub(errand.piped_bytes);
                if ahead > MAX_AHEAD_BYTES + errand.disk.false_bytes {
                    return Err(format!("received {ahead} bytes ahead of its reader"));
                }
            }
            // Of a folder that goes on, the node knows chunks and not their lengths: it estimates.
            Wish::Get(_) if errand.content.contents().is_none() => {
                let written = errand.disk.written_bytes();
                if progress.verified_bytes > written {
                    let verified = progress.verified_bytes;
                    return Err(format!("counts {verified} bytes, and {written} are written"));
                }
            }
            Wish::Get(_) | Wish::Share => {}
        }
        Ok(())
    }

    /// Nobody's clock rings all the time.
    pub(super) fn check_ticks(&mut self, number: usize) -> Result<(), String> {
        let second = self.now.since(Instant::ZERO).as_secs();
        let ticks = &mut self.hosts[number].ticks;
        if ticks.second != second {
            *ticks = Ticks { second, times: 0 };
        }
        ticks.times += 1;
        if ticks.times > MAX_TICKS_PER_SECOND {
            return Err(format!("host {number} spins: {} ticks in a second", ticks.times));
        }
        Ok(())
    }
}
