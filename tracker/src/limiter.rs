//! A token bucket for each IP address: so many calls at once, so many per second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::limits::MAX_BUCKETS;

/// All buckets. A bucket that is full again is not kept.
#[derive(Debug)]
pub(crate) struct Limiter {
    burst: f64,
    per_second: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Limiter {
    pub(crate) fn new(burst: u32, per_second: u32) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { burst: f64::from(burst.max(1)), per_second, buckets: Mutex::default() }
    }

    /// Takes `cost` tokens.
    ///
    /// # Errors
    /// The seconds until there are so many again, at least 1.
    pub(crate) fn take(&self, now: Instant, ip: IpAddr, cost: u32) -> Result<(), u32> {
        let cost = f64::from(cost).min(self.burst);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_BUCKETS {
            buckets.retain(|_, bucket| self.tokens(bucket, now) < self.burst);
            if buckets.len() >= MAX_BUCKETS {
                buckets.clear();
            }
        }
        let bucket = buckets.entry(ip).or_insert(Bucket { tokens: self.burst, at: now });
        bucket.tokens = self.tokens(bucket, now);
        bucket.at = now;
        if bucket.tokens >= cost {
            bucket.tokens -= cost;
            return Ok(());
        }
        Err((((cost - bucket.tokens) / self.per_second).ceil() as u32).max(1))
    }

    fn tokens(&self, bucket: &Bucket, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.tokens + passed * self.per_second).min(self.burst)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let limiter = Limiter::new(3, 2);
        let start = Instant::now();
        let (one, two) = ([1, 1, 1, 1].into(), [2, 2, 2, 2].into());
        for _ in 0..3 {
            assert_eq!(limiter.take(start, one, 1), Ok(()));
        }
        assert_eq!(limiter.take(start, one, 1), Err(1));
        assert_eq!(limiter.take(start, two, 1), Ok(()), "another address is not touched");
        let later = start + Duration::from_secs(1);
        assert_eq!(limiter.take(later, one, 1), Ok(()));
        assert_eq!(limiter.take(later, one, 1), Ok(()));
        assert_eq!(limiter.take(later, one, 1), Err(1));
        assert_eq!(limiter.take(later, two, 3), Ok(()));
        assert_eq!(limiter.take(later, two, 3), Err(2));
        let filled = later + Duration::from_secs(60);
        assert_eq!(limiter.take(filled, two, 9), Ok(()), "a full bucket pays for everything");
    }

    #[test]
    fn the_table_is_bounded() {
        let limiter = Limiter::new(1, 1);
        let now = Instant::now();
        for n in 0..MAX_BUCKETS as u32 + 10 {
            let _ = limiter.take(now, IpAddr::V4(n.into()), 1);
        }
        assert!(limiter.buckets.lock().unwrap().len() <= MAX_BUCKETS);
    }
}
