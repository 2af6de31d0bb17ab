//! Letting the machines of a host act: inputs, ticks, and the tracker's answers.

use std::time::Duration;

use towpath_core::node::CallId;
use towpath_core::time::Instant;
use towpath_core::tracker_api::{CallError, Request};

use super::{Happening, Place, Plant, World};
use crate::peer::{Effect, Peer, Work};

/// How long an HTTP call waits for its answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

impl World {
    pub(super) fn call(
        &mut self,
        host: usize,
        epoch: u32,
        call: CallId,
        request: &Request,
        token: Option<&str>,
    ) {
        let mut back = self.now + self.hosts[host].quality.latency;
        let place = Place::Host(host);
        let comes = !self.hosts[host].unplugged && !self.walls.stand_between(place, Place::Hub);
        let mut result = if comes && self.tracker_up {
            self.directory.call(self.now, self.wall_clock, request, token)
        } else {
            Err(CallError::Unreachable("the tracker is down".into()))
        };
        if let Some(lie) = self.directory.lied.take() {
            self.count(lie);
        }
        if !comes || self.walls.stand_between(Place::Hub, place) {
            back = self.now + CALL_TIMEOUT;
            result = Err(CallError::Unreachable("no answer".into()));
        }
        self.plan(back, Happening::Reply(host, epoch, call, result));
    }

    /// Tokens that were good once and were used again.
    pub(crate) const fn expired_tokens(&self) -> u64 {
        self.directory.expired_tokens
    }

    pub(super) fn tick(&mut self, host: usize, epoch: u32) -> Result<(), String> {
        let now = self.now;
        if self.hosts[host].tick_at != now {
            // An earlier one was planned after this one, and has planned the next.
            return Ok(());
        }
        if self.hosts[host].fiend.is_some() {
            return self.fiend_ticks(host, epoch);
        }
        let Some(peer) = self.peer(host, epoch) else { return Ok(()) };
        let deadline = peer.deadline();
        let deadline_here = self.when_clock_shows(host, deadline);
        if self.plant == Some(Plant::LostTicks) && self.rng.below(200) == 0 {
            return Ok(());
        }
        self.hosts[host].tick_at = Instant::NEVER;
        if self.hosts[host].frozen.is_some() {
            return Ok(());
        }
        if deadline_here > now {
            self.plan_tick(host, deadline);
            return Ok(());
        }
        self.check_ticks(host)?;
        let clock = self.clock(host);
        self.with(host, |peer| peer.tick(clock))
    }

    pub(super) fn peer(&mut self, host: usize, epoch: u32) -> Option<&mut Peer> {
        let host = &mut self.hosts[host];
        if host.epoch == epoch { host.peer.as_mut() } else { None }
    }

    pub(super) fn input(&mut self, host: usize, epoch: u32, work: Work) -> Result<(), String> {
        if self.hosts[host].fiend.is_some() {
            return self.fiend_input(host, epoch, work);
        }
        if self.peer(host, epoch).is_none() {
            return Ok(());
        }
        let clock = self.clock_in_passing(host);
        if let Some((_, waiting)) = &mut self.hosts[host].frozen {
            waiting.push_back(work);
            return Ok(());
        }
        self.with(host, |peer| peer.input(clock, work))
    }

    /// Lets a peer act, carries out what it wants, and looks after it.
    pub(super) fn with(&mut self, host: usize, act: impl FnOnce(&mut Peer)) -> Result<(), String> {
        let Some(peer) = self.hosts[host].peer.as_mut() else { return Ok(()) };
        act(peer);
        let deadline = peer.deadline();
        let effects = std::mem::take(&mut peer.effects);
        self.watch.look(&mut peer.oracle).map_err(|why| format!("host {host} {why}"))?;
        self.carry_out(host, effects, deadline)?;
        self.check(host)
    }

    /// Does what a peer or an adversary wants, and plans its next tick.
    pub(super) fn carry_out(
        &mut self,
        host: usize,
        effects: Vec<Effect>,
        deadline: Instant,
    ) -> Result<(), String> {
        let epoch = self.hosts[host].epoch;
        for effect in effects {
            if self.hosts[host].epoch != epoch {
                // Its process has ended on the way.
                break;
            }
            self.effect(host, epoch, effect)?;
        }
        if self.hosts[host].epoch == epoch {
            self.plan_tick(host, deadline);
        }
        Ok(())
    }

    /// Plans the next tick of a host, whose clock will show its deadline, unless an earlier one is
    /// planned already.
    pub(super) fn plan_tick(&mut self, host: usize, deadline: Instant) {
        let deadline = self.when_clock_shows(host, deadline);
        if deadline < self.hosts[host].tick_at {
            // Clocks are late, now and then by a millisecond.
            let late = Duration::from_micros(self.rng.below(4) * self.rng.below(250));
            self.hosts[host].tick_at = (deadline + late).max(self.now);
            let (at, epoch) = (self.hosts[host].tick_at, self.hosts[host].epoch);
            self.plan(at, Happening::Tick(host, epoch));
        }
    }
}
