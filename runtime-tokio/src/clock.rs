//! The clock of all machines of one peer, and the alarm of each.

use std::pin::Pin;

use tokio::time::{self, Sleep};
use towpath_core::time::Instant;

/// Maps tokio's clock onto the core's: nanoseconds since the peer started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: time::Instant::now() }
    }

    pub(crate) fn now(self) -> Instant {
        Instant::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn on_the_wall(self, at: Instant) -> time::Instant {
        self.origin + at.since(Instant::ZERO)
    }
}

/// The deadline of one machine. Deadlines move later with every byte that comes; the timer is set
/// anew only when it rang too early, or when the deadline moved earlier.
#[derive(Debug)]
pub(crate) struct Alarm {
    clock: Clock,
    due: Instant,
    armed: Instant,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    pub(crate) fn new(clock: Clock) -> Self {
        let sleep = Box::pin(time::sleep_until(clock.origin));
        Self { clock, due: Instant::NEVER, armed: Instant::NEVER, sleep }
    }

    pub(crate) const fn set(&mut self, due: Instant) {
        self.due = due;
    }

    /// Waits until the deadline; for ever if there is none. May be dropped and called again.
    pub(crate) async fn ring(&mut self) {
        if self.due == Instant::NEVER {
            return std::future::pending().await;
        }
        loop {
            if self.due < self.armed {
                self.armed = self.due;
                self.sleep.as_mut().reset(self.clock.on_the_wall(self.due));
            }
            self.sleep.as_mut().await;
            self.armed = Instant::NEVER;
            if self.clock.now() >= self.due {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_alarm_follows_its_deadline_both_ways() {
        let clock = Clock::start();
        let mut alarm = Alarm::new(clock);
        let at = |seconds| Instant::ZERO + Duration::from_secs(seconds);
        for (first, then) in [(10, 20), (40, 30), (35, 35)] {
            alarm.set(at(first));
            let _ = time::timeout(Duration::from_millis(1), alarm.ring()).await;
            alarm.set(at(then));
            alarm.ring().await;
            assert!(clock.now() >= at(then) && clock.now() < at(then + 1), "{:?}", clock.now());
        }
        alarm.set(Instant::NEVER);
        let hour = Duration::from_secs(3_600);
        assert!(time::timeout(hour, alarm.ring()).await.is_err());
    }
}
