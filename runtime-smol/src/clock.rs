//! The alarm of one machine, and futures that may take only so long.

use std::time::Duration;

use smol::Timer;
use smol::future::FutureExt;
use towpath_core::time::Instant;
use towpath_runtime::clock::{Clock, Deadline};

/// Rings at the deadline of one machine.
#[derive(Debug)]
pub(crate) struct Alarm {
    deadline: Deadline,
    timer: Timer,
}

impl Alarm {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { deadline: Deadline::new(clock), timer: Timer::never() }
    }

    /// Waits until `due`; for ever if that is never. May be dropped and called again.
    pub(crate) async fn ring(&mut self, due: Instant) {
        self.deadline.set(due);
        if self.deadline.is_never() {
            return std::future::pending().await;
        }
        loop {
            if let Some(at) = self.deadline.arm() {
                self.timer.set_at(at);
            }
            (&mut self.timer).await;
            if self.deadline.rang() {
                return;
            }
        }
    }
}

/// What `future` gives, if it does so in time.
pub(crate) async fn timeout<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let late = async {
        Timer::after(time).await;
        None
    };
    async { Some(future.await) }.or(late).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_follows_its_deadline_both_ways() {
        let clock = Clock::start();
        let mut alarm = Alarm::new(clock);
        let hour = Instant::ZERO + Duration::from_secs(3_600);
        let soon = || clock.now() + Duration::from_millis(5);
        smol::block_on(async {
            for first in [hour, soon(), Instant::NEVER] {
                let _ = timeout(Duration::from_millis(1), alarm.ring(first)).await;
                let then = soon();
                alarm.ring(then).await;
                assert!(clock.now() >= then);
            }
        });
    }
}
