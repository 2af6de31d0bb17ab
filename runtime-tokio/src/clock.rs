//! The alarm of one machine.

use std::pin::Pin;

use tokio::time::{self, Sleep};
use towpath_core::time::Instant;
use towpath_runtime::clock::{Clock, Deadline};

/// Rings at the deadline of one machine.
#[derive(Debug)]
pub(crate) struct Alarm {
    deadline: Deadline,
    sleep: Pin<Box<Sleep>>,
}

impl Alarm {
    pub(crate) fn new(clock: Clock) -> Self {
        let sleep = Box::pin(time::sleep_until(time::Instant::now()));
        Self { deadline: Deadline::new(clock), sleep }
    }

    /// Waits until `due`; for ever if that is never. May be dropped and called again.
    pub(crate) async fn ring(&mut self, due: Instant) {
        self.deadline.set(due);
        if self.deadline.is_never() {
            return std::future::pending().await;
        }
        loop {
            if let Some(at) = self.deadline.arm() {
                self.sleep.as_mut().reset(at.into());
            }
            self.sleep.as_mut().await;
            if self.deadline.rang() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn an_alarm_follows_its_deadline_both_ways() {
        let clock = Clock::start();
        let mut alarm = Alarm::new(clock);
        let hour = Instant::ZERO + Duration::from_secs(3_600);
        let soon = || clock.now() + Duration::from_millis(5);
        for first in [hour, soon(), Instant::NEVER] {
            let _ = time::timeout(Duration::from_millis(1), alarm.ring(first)).await;
            let then = soon();
            alarm.ring(then).await;
            assert!(clock.now() >= then);
        }
    }
}
