//! A token bucket: how many bytes may pass now, and when the next ones may.
//!
//! The bucket counts in billionths of a byte, so that one nanosecond adds exactly the rate in bytes
//! per second and nothing is ever rounded: after any number of takings exactly what the rate allows
//! has passed. A taking may put the bucket into debt; nothing passes until the debt is paid.

use crate::limits::{CHUNK_BYTES, LIMITER_BURST};
use crate::time::Instant;

/// Billionths in a byte: one nanosecond at one byte per second.
const UNIT: i128 = 1_000_000_000;

/// A token bucket over bytes. `None` as its rate lets everything pass.
#[derive(Debug, Clone)]
pub struct Limiter {
    /// Bytes per second; `None`: no limit.
    rate: Option<u64>,
    /// The most that the bucket holds, in billionths of a byte.
    burst: i128,
    /// What it held at `filled_at`; negative: debt.
    level: i128,
    /// The last moment that was seen.
    filled_at: Instant,
}

impl Limiter {
    /// A bucket that fills with `bytes_per_second` and holds a burst of 100 ms, at least one chunk.
    /// It begins full. A rate of 0 lets nothing pass.
    #[must_use]
    pub fn new(now: Instant, bytes_per_second: Option<u64>) -> Self {
        let rate = i128::from(bytes_per_second.unwrap_or(0));
        let chunk = CHUNK_BYTES as i128 * UNIT;
        let burst = (rate * LIMITER_BURST.as_nanos() as i128).max(chunk);
        let level = if bytes_per_second == Some(0) { -1 } else { burst };
        Self { rate: bytes_per_second, burst, level, filled_at: now }
    }

    /// Takes `bytes` if the bucket is not in debt; it may go into debt by one taking, so that a
    /// chunk larger than the burst passes too.
    pub fn take(&mut self, now: Instant, bytes: u64) -> bool {
        let Some(rate) = self.rate.filter(|_| !planted!(IgnoreLimit)) else { return true };
        let passed = now.since(self.filled_at).as_nanos() as i128;
        self.filled_at = self.filled_at.max(now);
        let gained = passed.saturating_mul(i128::from(rate));
        self.level = self.level.saturating_add(gained).min(self.burst);
        if self.level < 0 {
            return false;
        }
        self.level -= i128::from(bytes) * UNIT;
        true
    }

    /// When the next taking will succeed: now or earlier if it would now.
    #[must_use]
    pub fn ready_at(&self) -> Instant {
        let Some(rate) = self.rate else { return Instant::ZERO };
        if self.level >= 0 {
            return self.filled_at;
        }
        if rate == 0 {
            return Instant::NEVER;
        }
        // The debt is below 2^64 bytes, so the sum of the waits fits into 2^94 nanoseconds.
        let wait = self.level.unsigned_abs().div_ceil(u128::from(rate));
        let at = u128::from(self.filled_at.as_nanos()).saturating_add(wait);
        u64::try_from(at).map_or(Instant::NEVER, Instant::from_nanos)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn without_a_rate_everything_passes() {
        let mut limiter = Limiter::new(at(5), None);
        assert!((0..100).all(|_| limiter.take(at(5), u64::MAX)));
        assert!(limiter.ready_at() <= at(5));
    }

    #[test]
    fn a_rate_of_zero_lets_nothing_pass() {
        let mut limiter = Limiter::new(at(0), Some(0));
        assert!(!limiter.take(at(1_000_000), 1));
        assert_eq!(limiter.ready_at(), Instant::NEVER);
    }

    #[test]
    fn a_chunk_larger_than_the_burst_passes_and_is_paid_for() {
        let mut limiter = Limiter::new(at(0), Some(1_000));
        let chunk = CHUNK_BYTES as u64;
        assert!(limiter.take(at(0), chunk), "the bucket begins full");
        assert!(limiter.take(at(0), chunk), "empty is not in debt");
        assert!(!limiter.take(at(0), 1));
        assert_eq!(limiter.ready_at(), at(chunk));
        assert!(!limiter.take(at(chunk - 1), 1));
        assert!(limiter.take(at(chunk), 1));
    }

    #[test]
    fn time_that_goes_backwards_fills_nothing() {
        let mut limiter = Limiter::new(at(1_000), Some(1));
        assert!(limiter.take(at(1_000), 2 * CHUNK_BYTES as u64));
        let ready = limiter.ready_at();
        assert!(!limiter.take(at(0), 1));
        assert_eq!(limiter.ready_at(), ready);
    }

    proptest! {
        /// Whatever is taken and whenever, no more passes than burst + rate × time + one taking,
        /// and a taking at `ready_at` succeeds.
        #[test]
        fn never_more_than_the_rate(
            rate in 1_u64..10_000_000_000,
            takings in prop::collection::vec((0_u64..50_000_000, 0_u64..1_000_000), 1..200),
        ) {
            let mut limiter = Limiter::new(at(0), Some(rate));
            let (mut now, mut passed) = (0_u64, 0_u128);
            for (nanos, bytes) in takings {
                now += nanos;
                let ready = limiter.ready_at() <= Instant::from_nanos(now);
                let taken = limiter.take(Instant::from_nanos(now), bytes);
                prop_assert_eq!(taken, ready);
                if taken {
                    let burst = u128::from(rate / 10).max(CHUNK_BYTES as u128) + 1;
                    let allowed = burst + u128::from(rate) * u128::from(now) / 1_000_000_000;
                    prop_assert!(passed <= allowed, "{passed} > {allowed}");
                    passed += u128::from(bytes);
                }
            }
        }
    }
}
