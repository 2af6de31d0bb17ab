//! How large a window is: it doubles when it was used up within two round trips.
//!
//! A window that is smaller than the bandwidth-delay product is used up once in each round trip;
//! one that is twice as large takes two. So it settles between twice and four times that product,
//! and starts again where it stood after a pause.

use core::time::Duration;

use crate::limits::{RELAY_RTT_MAX, RELAY_RTT_MIN, RELAY_WINDOW_MAX_BYTES};
use crate::time::Instant;

/// The size of one window, and how fast it is used.
#[derive(Debug, Clone)]
pub(super) struct Window {
    bytes: usize,
    /// Used since `since`.
    used_bytes: usize,
    since: Instant,
}

impl Window {
    pub(super) const fn new(bytes: usize) -> Self {
        Self { bytes, used_bytes: 0, since: Instant::ZERO }
    }

    /// Its size now.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// So many bytes of it were used; doubles it if all of it was within two round trips.
    pub(super) fn used(&mut self, now: Instant, bytes: usize, round_trip: Duration) {
        if self.used_bytes == 0 {
            self.since = now;
        }
        self.used_bytes += bytes;
        if self.used_bytes < self.bytes {
            return;
        }
        if now.since(self.since) <= round_trip.clamp(RELAY_RTT_MIN, RELAY_RTT_MAX) * 2 {
            self.bytes = (self.bytes * 2).min(RELAY_WINDOW_MAX_BYTES);
        }
        self.used_bytes = 0;
    }

    /// Makes it smaller, or larger.
    pub(super) fn set(&mut self, bytes: usize) {
        *self = Self::new(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::RELAY_WINDOW_START_BYTES;

    /// How large the window gets on a path of this rate and round trip, and after how many round
    /// trips.
    fn settle(bytes_per_second: u64, round_trip: Duration) -> (usize, u32) {
        let mut window = Window::new(RELAY_WINDOW_START_BYTES);
        let mut now = Instant::ZERO;
        let mut last = (window.bytes(), 0);
        for round in 1..50 {
            let start = now;
            let bytes = window.bytes();
            for _ in 0..16 {
                let nanos = bytes as u64 / 16 * 1_000_000_000 / bytes_per_second;
                now = now + Duration::from_nanos(nanos);
                window.used(now, bytes / 16, round_trip);
            }
            now = now.max(start + round_trip);
            if window.bytes() != last.0 {
                last = (window.bytes(), round);
            }
        }
        last
    }

    #[test]
    fn it_grows_to_the_bandwidth_delay_product_and_stops() {
        let (bytes, rounds) = settle(125_000_000, Duration::from_millis(100));
        assert_eq!(bytes, RELAY_WINDOW_MAX_BYTES);
        assert!(rounds <= 5, "{rounds}");
        let (bytes, _) = settle(12_500_000, Duration::from_millis(100));
        assert!((2_500_000..=5_100_000).contains(&bytes), "{bytes}");
        let (bytes, _) = settle(1_000_000, Duration::from_millis(20));
        assert_eq!(bytes, RELAY_WINDOW_START_BYTES);
    }

    #[test]
    fn a_pause_is_not_counted() {
        let mut window = Window::new(1_000);
        window.used(Instant::ZERO, 1_000, Duration::from_millis(10));
        assert_eq!(window.bytes(), 2_000);
        let later = Instant::ZERO + Duration::from_secs(60);
        window.used(later, 1_999, Duration::from_millis(10));
        window.used(later + Duration::from_millis(15), 1, Duration::from_millis(10));
        assert_eq!(window.bytes(), 4_000);
    }
}
