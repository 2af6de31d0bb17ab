//! What must hold at the end.

use std::time::Duration;

use towpath_core::download::DropReason;
use towpath_core::limits::{
    CHUNK_BYTES, ENDGAME_COPIES_DIVISOR, LIMITER_BURST, MAX_ENDGAME_COPIES,
    RELAY_WINDOW_START_BYTES,
};
use towpath_core::node::{Failure, PeerDropReason};
use towpath_core::path::Policy;
use towpath_core::time::Instant;

use super::{Scenario, Sort};
use crate::world::{Errand, Firewall, Manners, Seen, Wish, World};

/// What leaves a sharer beside the chunks of one run: handshakes, the tracker's words, what the
/// wire and the relay hold.
const LEFT_BYTES: u64 = 128 * 1024;

impl Scenario {
    pub(super) fn judge(&self, world: &mut World) -> Result<(), String> {
        let unfinished = world.unfinished(&self.must_finish);
        if !unfinished.is_empty() {
            return Err(format!("hosts {unfinished:?} did not finish by {:?}", world.now));
        }
        *world.counts.entry("token expired").or_default() += world.expired_tokens();
        for number in 0..world.hosts.len() {
            for index in 0..world.hosts[number].errands.len() {
                self.judge_errand(world, number, index)?;
            }
        }
        self.judge_goodbyes(world)?;
        self.judge_life(world)?;
        self.judge_time(world)?;
        match self.sort {
            Sort::Mixed | Sort::Slow | Sort::Inherited => Ok(()),
            Sort::Kills => Self::judge_kills(world),
            Sort::Escaping => Self::judge_escaping(world),
            Sort::Crowd => Self::judge_crowd(world),
            Sort::Limited => Self::judge_limits(world),
            Sort::Hostile => Ok(()),
        }
    }

    /// What must hold of one download.
    fn judge_errand(&self, world: &mut World, number: usize, index: usize) -> Result<(), String> {
        let Some(policy) = world.hosts[number].errands[index].wish.policy() else { return Ok(()) };
        let seen = world.figures(number, index);
        for (path, bytes) in ["direct", "punched", "relay"].iter().zip(seen.by_path_bytes) {
            if bytes > 0 {
                *world.counts.entry(path).or_default() += 1;
            }
        }
        *world.counts.entry("liar named").or_default() += seen.liars();
        if seen.by_path_bytes.iter().sum::<u64>() != seen.received_bytes {
            return Err(format!("host {number}: {:?} do not add up", seen.by_path_bytes));
        }
        let errand = &world.hosts[number].errands[index];
        self.judge_paths(world, number, policy, seen.by_path_bytes)?;
        self.judge_blame(world, number, errand, &seen)?;
        self.judge_waste(world, number, errand, &seen)?;
        Self::judge_failures(world, number, errand, &seen)
    }

    /// A policy is obeyed; where nothing went wrong, the path follows from the firewalls.
    fn judge_paths(
        &self,
        world: &World,
        number: usize,
        policy: Policy,
        bytes: [u64; 3],
    ) -> Result<(), String> {
        let [direct, _, relay] = bytes;
        if policy == Policy::Direct && relay > 0 || policy == Policy::Relay && direct > 0 {
            // A peer that is also served may have come to us by another path, and is used.
            let alone = world.hosts.len() == self.sharers + 1;
            if alone {
                return Err(format!("host {number} used a path that {policy:?} forbids"));
            }
        }
        if world.hosts.len() > self.sharers + 1 || !self.faults.is_empty() {
            return Ok(());
        }
        let open = |host: &usize| world.hosts[*host].firewall == Firewall::Open;
        if policy != Policy::Relay && (0..self.sharers).all(|host| open(&host)) && relay > 0 {
            return Err(format!("host {number} was relayed although everybody is open"));
        }
        if !(0..self.sharers).any(|host| open(&host)) && direct > 0 {
            return Err(format!("host {number} came through a closed firewall"));
        }
        Ok(())
    }

    /// Only liars are called liars, and only who changed has changed.
    fn judge_blame(
        &self,
        world: &World,
        number: usize,
        errand: &Errand,
        seen: &Seen,
    ) -> Result<(), String> {
        for ((peer, reason), _) in &seen.dropped.0 {
            if world.is_adversary(*peer) {
                continue;
            }
            // One user may have several hosts.
            let all_of = world.hosts.iter().filter(|host| host.peer_id() == *peer);
            let mut all_of = all_of.map(|host| host.manners).peekable();
            if all_of.peek().is_none() {
                return Err(format!("host {number} dropped {peer:?}, who is nobody"));
            }
            let lies = |manners| matches!(manners, Manners::FalseEvery(_) | Manners::FalseProof(_));
            let deserved = match reason {
                PeerDropReason::Download(DropReason::FalseChunk) => all_of.any(lies),
                PeerDropReason::Download(DropReason::SourceChanged) => {
                    all_of.any(|manners| matches!(manners, Manners::ChangedAt(_)))
                }
                PeerDropReason::Download(DropReason::Silent)
                | PeerDropReason::NotTheShare
                | PeerDropReason::Closed(_) => true,
            };
            if !deserved {
                return Err(format!("host {number} blames {peer:?} for {reason:?}"));
            }
        }
        if self.faults.is_empty() && errand.disk.false_bytes == 0 && seen.liars() > 0 {
            return Err(format!("host {number} names a liar, and was not lied to"));
        }
        Ok(())
    }

    /// What was received is what was needed, what was false, what was lost, and a few copies.
    fn judge_waste(
        &self,
        world: &World,
        number: usize,
        errand: &Errand,
        seen: &Seen,
    ) -> Result<(), String> {
        let length = errand.content().length_bytes();
        let wholes = match errand.wish {
            Wish::Pipe(..) => seen.runs,
            Wish::Get(_) | Wish::Share => 1,
        };
        let copies = length / ENDGAME_COPIES_DIVISOR + (MAX_ENDGAME_COPIES * CHUNK_BYTES) as u64;
        let one_source = world.hosts.len() == 2 && self.faults.is_empty();
        let copies = if one_source { 0 } else { copies * 2 * seen.runs };
        let most = length * wholes
            + errand.disk.false_bytes
            + errand.disk.torn_bytes
            + seen.lost_bytes
            + seen.failed.total() * CHUNK_BYTES as u64
            + late_bytes(world)
            + copies;
        if seen.received_bytes > most {
            let received = seen.received_bytes;
            return Err(format!("host {number} received {received} bytes, {most} at most are due"));
        }
        Ok(())
    }

    /// Who fails has a reason.
    fn judge_failures(
        world: &World,
        number: usize,
        errand: &Errand,
        seen: &Seen,
    ) -> Result<(), String> {
        for (failure, _) in &seen.failed.0 {
            let has_reason = match failure {
                Failure::NobodyOnline => errand.patience.is_some(),
                Failure::Store(_) => world.counts.contains_key("disk full"),
                Failure::Unknown => errand.content().secret.is_none(),
            };
            if !has_reason {
                return Err(format!("host {number} failed without a reason: {failure:?}"));
            }
        }
        Ok(())
    }

    /// Where nothing went wrong, nobody who is there is given up.
    pub(super) fn judge_life(&self, world: &World) -> Result<(), String> {
        for (number, host) in world.hosts.iter().enumerate() {
            if self.faults.is_empty() && host.gave_up > 0 {
                let gave_up = host.gave_up;
                return Err(format!("host {number} gave {gave_up} links up, and all were there"));
            }
            if self.faults.is_empty() && host.given_up_by_hub > 0 {
                return Err(format!("the hub gave host {number} up, which was there"));
            }
        }
        Ok(())
    }

    /// Where nothing went wrong, sharers hear that their receivers are done.
    fn judge_goodbyes(&self, world: &World) -> Result<(), String> {
        if !self.faults.is_empty() || self.sharers != 1 || self.sort == Sort::Crowd {
            return Ok(());
        }
        // Who has just finished may not have been heard yet. Who lost a link may have finished
        // over another one that had not yet opened the share at this sharer.
        let heard = |at: Instant| world.now.since(at) > Duration::from_secs(3);
        let is_heard =
            |seen: &Seen| seen.finished_at.is_some_and(heard) && seen.dropped.0.is_empty();
        let errands = || world.hosts.iter().flat_map(|host| &host.errands);
        let finished = errands().filter(|errand| is_heard(&errand.seen)).count();
        let done = errands().map(|errand| errand.seen.done).sum::<u64>();
        if done < finished as u64 {
            return Err(format!("{finished} finished, and only {done} said so"));
        }
        Ok(())
    }

    /// The crowd helps itself: the sharer gives each chunk a few times, not to everybody.
    fn judge_crowd(world: &World) -> Result<(), String> {
        let content = world.hosts[0].errands[0].content();
        let served = world.hosts[0].errands[0].seen.served_bytes;
        let getters = world.hosts.len() as u64 - 1;
        if served > content.length_bytes() * getters * 3 / 4 {
            let length = content.length_bytes();
            return Err(format!("the sharer gave {served} bytes of {length} to {getters} getters"));
        }
        Ok(())
    }

    /// Nobody takes a manifest that leads out, and everybody has seen it.
    fn judge_escaping(world: &World) -> Result<(), String> {
        let refused = world.counts.get("manifest refused").copied().unwrap_or_default();
        let getters = world.hosts.len() as u64 - 1;
        if refused != getters {
            return Err(format!("{refused} of {getters} refused a manifest that leads out"));
        }
        Ok(())
    }

    /// Who is killed again and again does not begin again and again.
    fn judge_kills(world: &mut World) -> Result<(), String> {
        let (sharer, getter) = (&world.hosts[0], &world.hosts[1].errands[0]);
        let length = getter.content().length_bytes();
        let runs = getter.seen.runs;
        let way = sharer.quality.latency + world.hosts[1].quality.latency;
        let on_the_way = sharer.quality.up_bytes_per_second * way.as_millis() as u64 * 2 / 1_000;
        let relayed = world.hosts[1].errands[0].wish.policy() == Some(Policy::Relay);
        let at_the_hub = if relayed { RELAY_WINDOW_START_BYTES as u64 } else { 0 };
        let most = getter.seen.lost_bytes
            + getter.disk.torn_bytes
            + runs * (CHUNK_BYTES as u64 + on_the_way + at_the_hub + LEFT_BYTES)
            + length / 100;
        let again = sharer.sent_bytes.saturating_sub(length);
        if again > most {
            return Err(format!(
                "{again} bytes of {length} were sent again, {most} at most are due"
            ));
        }
        *world.counts.entry("KiB sent to the killed").or_default() += length >> 10;
        *world.counts.entry("KiB sent again to them").or_default() += again >> 10;
        Ok(())
    }

    /// A limit is obeyed, and used.
    fn judge_limits(world: &World) -> Result<(), String> {
        let [sharer, getter] = [&world.hosts[0], &world.hosts[1]];
        let limit = sharer.config.limit_up.or(getter.config.limit_down);
        let (Some(limit), Some(finished)) = (limit, getter.finished_at()) else {
            return Ok(());
        };
        let getter = &getter.errands[0];
        let started = getter.seen.started_at.unwrap_or(Instant::ZERO);
        let took = finished.since(started).as_secs_f64();
        let length = getter.content().length_bytes() as f64;
        let burst = (limit as f64 * LIMITER_BURST.as_secs_f64()).max(CHUNK_BYTES as f64);
        let debt = CHUNK_BYTES as f64;
        let least = (length - burst - debt) / limit as f64;
        let most = length / limit as f64 * 1.1 + 3.0;
        if took < least || took > most {
            return Err(format!("took {took:.2} s; the limit says {least:.2} s to {most:.2} s"));
        }
        Ok(())
    }
}

/// What was sent after it had been taken back: it is of no use, or what others were asked for in
/// its stead is of none.
fn late_bytes(world: &World) -> u64 {
    world.hosts.iter().map(|host| host.late_bytes).sum()
}
