//! The clocks of machines, which are not the world's.
//!
//! A machine that was suspended finds its clock far ahead, and its streams still open: nobody has
//! missed it. The tracker's wall clock is set now and then; a week ahead, every token has expired.
//! In some worlds a clock that is read twice goes back by a little, as clocks of several cores do.

use std::time::Duration;

use towpath_core::time::{Instant, UnixTime};

use super::{Happening as Any, Place, World};

#[derive(Debug)]
pub(super) enum Happening {
    /// The clock of a machine jumps ahead.
    Jump(Place, Duration),
    /// The tracker's wall clock is set, so many seconds ahead or back.
    Wall(i64),
}

/// How far a clock that is read twice goes back at most, in microseconds.
const MAX_JITTER_MICROS: u64 = 3_000;

impl World {
    /// Plans that the clock of a machine jumps ahead, as after a suspend.
    pub fn jump_at(&mut self, at: Instant, place: Place, by: Duration) {
        self.plan(at, Any::Clock(Happening::Jump(place, by)));
    }

    /// Plans that the tracker's wall clock is set.
    pub fn wall_clock_at(&mut self, at: Instant, seconds: i64) {
        self.plan(at, Any::Clock(Happening::Wall(seconds)));
    }

    pub(super) fn clock_happens(&mut self, what: Happening) {
        match what {
            Happening::Jump(Place::Host(host), by) => {
                self.count("clock jumped");
                self.hosts[host].ahead += by;
                let Some(peer) = &self.hosts[host].peer else { return };
                let deadline = peer.deadline();
                self.plan_tick(host, deadline);
            }
            Happening::Jump(Place::Hub, by) => {
                self.count("clock of the hub jumped");
                self.hub_clock_jumps(by);
            }
            Happening::Wall(seconds) => {
                self.count("wall clock set");
                self.wall_clock = UnixTime(self.wall_clock.0 + seconds);
            }
        }
    }

    /// What the clock of a host shows.
    pub(super) fn clock(&self, host: usize) -> Instant {
        self.now + self.hosts[host].ahead
    }

    /// The same as it is read in passing.
    pub(super) fn clock_in_passing(&mut self, host: usize) -> Instant {
        let clock = self.clock(host);
        if !self.jitters || self.rng.below(32) > 0 {
            return clock;
        }
        self.count("clock went back a little");
        let back = Duration::from_micros(self.rng.below(MAX_JITTER_MICROS));
        earlier(clock, back)
    }

    /// When the clock of a host will show this.
    pub(super) fn when_clock_shows(&self, host: usize, at: Instant) -> Instant {
        earlier(at, self.hosts[host].ahead)
    }
}

/// A moment as a clock sees it that is behind by so much.
pub(super) fn earlier(at: Instant, by: Duration) -> Instant {
    if at == Instant::NEVER {
        return at;
    }
    Instant::ZERO + at.since(Instant::ZERO).saturating_sub(by)
}
