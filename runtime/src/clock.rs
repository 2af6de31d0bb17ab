//! The clock of all machines of one peer, and when the timer of a task is to be set.

use std::time;

use towpath_core::time::Instant;

/// Maps the clock of the operating system onto the core's: nanoseconds since the peer started.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: time::Instant,
}

impl Clock {
    /// A clock that stands at zero now.
    #[must_use]
    pub fn start() -> Self {
        Self { origin: time::Instant::now() }
    }

    /// The time.
    #[must_use]
    pub fn now(self) -> Instant {
        Instant::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The same moment on the clock of the operating system.
    #[must_use]
    pub fn on_the_wall(self, at: Instant) -> time::Instant {
        self.origin + at.since(Instant::ZERO)
    }
}

/// The deadline of a machine, and the moment that a timer was set to. Deadlines move later with
/// every byte that comes; the timer is set anew only when it rang too early, or when the deadline
/// moved earlier.
#[derive(Debug)]
pub struct Deadline {
    clock: Clock,
    due: Instant,
    armed: Instant,
}

impl Deadline {
    /// No deadline.
    #[must_use]
    pub const fn new(clock: Clock) -> Self {
        Self { clock, due: Instant::NEVER, armed: Instant::NEVER }
    }

    /// From now on the machine is due at this moment.
    pub const fn set(&mut self, due: Instant) {
        self.due = due;
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_never(&self) -> bool {
        self.due == Instant::NEVER
    }

    /// What the timer must be set to, if it must be.
    pub fn arm(&mut self) -> Option<time::Instant> {
        if self.due >= self.armed {
            return None;
        }
        self.armed = self.due;
        Some(self.clock.on_the_wall(self.due))
    }

    /// The timer rang: whether the machine is due. If not, the timer is to be set again.
    pub fn rang(&mut self) -> bool {
        self.armed = Instant::NEVER;
        self.clock.now() >= self.due
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_timer_is_set_again_only_for_an_earlier_deadline_or_after_it_rang() {
        let clock = Clock::start();
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        let mut deadline = Deadline::new(clock);
        assert!(deadline.is_never() && deadline.arm().is_none());
        deadline.set(at(2_000));
        assert_eq!(deadline.arm(), Some(clock.on_the_wall(at(2_000))));
        deadline.set(at(3_000));
        assert_eq!(deadline.arm(), None);
        assert!(!deadline.rang());
        assert_eq!(deadline.arm(), Some(clock.on_the_wall(at(3_000))));
        deadline.set(at(1_000));
        assert_eq!(deadline.arm(), Some(clock.on_the_wall(at(1_000))));
        deadline.set(Instant::ZERO);
        assert!(deadline.arm().is_some() && deadline.rang());
    }
}
