//! How much may wait for a socket: as much as it takes in a moment, going by what it has taken.
//!
//! What was handed to a socket cannot be put into another order any more. Whoever has something
//! urgent to say waits for all of it, and on a slow wire a fixed number of bytes can take longer
//! than the other side takes for a death. So the number follows the socket: after each
//! [`PACE_PERIOD`] in which something always waited it is what goes out in [`RELAY_BACKLOG_TIME`];
//! after one in which nothing waited at times, the socket could have taken more, and the
//! number only grows. A period also ends with [`PACE_BYTES`]: a fast socket shows in milliseconds
//! what it is, and no buffer behind a slow one holds so much.

use crate::limits::{
    PACE_BYTES, PACE_PERIOD, RELAY_BACKLOG_BYTES, RELAY_BACKLOG_MIN_BYTES,
    RELAY_BACKLOG_START_BYTES, RELAY_BACKLOG_TIME,
};
use crate::time::Instant;

/// How much may wait for one socket.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    bytes: usize,
    since: Instant,
    taken_bytes: usize,
    /// Whether nothing waited at times since then.
    was_idle: bool,
}

impl Pace {
    /// What nothing is known of yet.
    pub(super) const fn new() -> Self {
        Self {
            bytes: RELAY_BACKLOG_START_BYTES,
            since: Instant::ZERO,
            taken_bytes: 0,
            was_idle: false,
        }
    }

    /// How many bytes may wait.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Something is handed to the socket, and nothing waited there before.
    pub(super) fn begin(&mut self, now: Instant) {
        self.was_idle = true;
        self.judge(now);
    }

    /// The socket took bytes, and so many still wait.
    pub(super) fn took(&mut self, now: Instant, bytes: usize, rest_bytes: usize) {
        self.taken_bytes = self.taken_bytes.saturating_add(bytes);
        self.was_idle |= rest_bytes == 0;
        if self.judge(now) {
            self.was_idle = rest_bytes == 0;
        }
    }

    /// Whether a period is over, after which the number is another.
    fn judge(&mut self, now: Instant) -> bool {
        let elapsed = now.since(self.since);
        if elapsed < PACE_PERIOD && self.taken_bytes < PACE_BYTES {
            return false;
        }
        let nanos = elapsed.as_nanos().max(1);
        let bytes = self.taken_bytes as u128 * RELAY_BACKLOG_TIME.as_nanos() / nanos;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let bytes = bytes.clamp(RELAY_BACKLOG_MIN_BYTES, RELAY_BACKLOG_BYTES);
        self.bytes = if self.was_idle { self.bytes.max(bytes) } else { bytes };
        (self.since, self.taken_bytes, self.was_idle) = (now, 0, false);
        true
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const LEAST: usize = RELAY_BACKLOG_MIN_BYTES;
    const MOST: usize = RELAY_BACKLOG_BYTES;

    /// Keeps a socket busy for `millis` that takes so many bytes at a time, as often as it can.
    fn run(pace: &mut Pace, from: u64, millis: u64, piece: usize, bytes_per_second: u64) -> usize {
        let at = |nanos| Instant::from_nanos(from * 1_000_000 + nanos);
        let (mut now, mut waiting) = (0, 0);
        while now < millis * 1_000_000 {
            if waiting == 0 {
                pace.begin(at(now));
            }
            waiting = waiting.max(pace.bytes());
            let taken = piece.min(waiting);
            now += taken as u64 * 1_000_000_000 / bytes_per_second;
            waiting -= taken;
            pace.took(at(now), taken, waiting);
        }
        pace.bytes()
    }

    #[test]
    fn it_follows_the_socket_down_and_up() {
        let mut pace = Pace::new();
        assert_eq!(run(&mut pace, 1_000, 2_000, 16_000, 100_000_000), MOST);
        let slow = run(&mut pace, 3_000, 10_000, 1_400, 100_000);
        assert!((20_000..30_000).contains(&slow), "{slow}");
        assert_eq!(run(&mut pace, 13_000, 10_000, 500, 1_000), LEAST);
        assert_eq!(run(&mut pace, 23_000, 1_000, 16_000, 100_000_000), MOST);
    }

    #[test]
    fn a_fast_socket_shows_it_before_the_period_is_over() {
        for start in [0, 1_000] {
            let mut pace = Pace::new();
            let millis = 2 * PACE_BYTES as u64 / 1_000_000;
            assert_eq!(run(&mut pace, start, millis, 16_000, 1_000_000_000), MOST);
        }
    }

    #[test]
    fn a_kernel_that_swallows_megabytes_before_a_slow_wire_is_not_believed() {
        let mut pace = Pace::new();
        let now = Instant::ZERO + Duration::from_secs(1);
        pace.begin(now);
        for _ in 0..1_023 {
            pace.took(now, 8 * 1024, 1);
        }
        assert_eq!(pace.bytes(), RELAY_BACKLOG_START_BYTES, "all at once, 8 KiB short of the most");
        pace.took(now + Duration::from_millis(1), 8 * 1024, 1);
        assert_eq!(pace.bytes(), MOST);
    }

    #[test]
    fn a_period_ends_to_the_nanosecond() {
        let mut pace = Pace::new();
        let now = Instant::ZERO + Duration::from_secs(1);
        pace.begin(now);
        pace.took(now + PACE_PERIOD.saturating_sub(Duration::from_nanos(1)), 1, 1);
        assert_eq!(pace.bytes(), RELAY_BACKLOG_START_BYTES);
        pace.took(now + PACE_PERIOD, 1, 1);
        assert_eq!(pace.bytes(), LEAST);
    }

    #[test]
    fn bytes_that_were_taken_in_no_time_are_no_division_by_it() {
        let mut pace = Pace::new();
        pace.begin(Instant::ZERO);
        pace.took(Instant::ZERO, PACE_BYTES, 1);
        assert_eq!(pace.bytes(), MOST);
    }

    #[test]
    fn a_socket_that_takes_everything_at_once_is_fast() {
        let mut pace = Pace::new();
        for milli in 1..600 {
            let now = Instant::ZERO + Duration::from_millis(milli);
            pace.begin(now);
            pace.took(now, pace.bytes(), 0);
        }
        assert_eq!(pace.bytes(), MOST);
    }

    #[test]
    fn how_long_nothing_was_handed_over_says_nothing_of_a_socket() {
        let mut pace = Pace::new();
        assert_eq!(run(&mut pace, 1_000, 2_000, 16_000, 100_000_000), MOST);
        let at = |millis| Instant::ZERO + Duration::from_millis(millis);
        pace.took(at(3_010), 1_000, 0);
        pace.begin(at(60_000));
        pace.took(at(60_400), 1_000, 100_000);
        assert_eq!(pace.bytes(), LEAST, "1 kB in 0.4 s, and more always waited");
    }

    #[test]
    fn a_socket_that_took_the_little_that_there_was_is_not_slow() {
        let mut pace = Pace::new();
        pace.begin(Instant::ZERO + Duration::from_secs(1));
        pace.took(Instant::ZERO + Duration::from_millis(1_400), 10, 0);
        assert_eq!(pace.bytes(), RELAY_BACKLOG_START_BYTES);
    }

    #[test]
    fn who_says_little_shows_nothing() {
        let mut pace = Pace::new();
        for second in 1..100 {
            let now = Instant::ZERO + Duration::from_secs(second);
            pace.begin(now);
            pace.took(now + Duration::from_millis(20), 10, 0);
        }
        assert_eq!(pace.bytes(), RELAY_BACKLOG_START_BYTES);
    }

    #[test]
    fn a_buffer_behind_the_socket_that_swallows_at_once_is_no_fast_wire() {
        let mut pace = Pace::new();
        let mut now = Instant::ZERO + Duration::from_secs(1);
        pace.begin(now);
        for _ in 0..20 {
            // 32 KiB at once, then nothing for eight seconds.
            for _ in 0..32 {
                pace.took(now, 1_024, 0);
                pace.begin(now);
            }
            now = now + Duration::from_secs(8);
            pace.took(now, 1_024, 1_024);
        }
        assert!(pace.bytes() <= RELAY_BACKLOG_START_BYTES, "{}", pace.bytes());
    }
}
