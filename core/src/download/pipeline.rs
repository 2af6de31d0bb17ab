//! How many requests one peer should have open: its bandwidth-delay product, twice (P12).
//!
//! The rate is counted in chunks, so that the window follows whatever size chunks have: each
//! arrival gives the sample *chunks that came since this one was asked ÷ time since then*, and the
//! best of the last one to two periods counts. The delay is the least time from request to arrival.
//! While the pipe is not full the rate is window ÷ delay, so that a window of twice the product
//! doubles with each round trip; once it is full, rate and window stand still.
//!
//! A full pipe shows delays that are longer than the path's own, so a least delay that was not seen
//! again for [`ROUND_TRIP_LIFETIME`] is measured anew: the window shrinks to a quarter until one
//! request was asked and answered within it.

use crate::limits::{
    INITIAL_PIPELINE_CHUNKS, MAX_INCOMING_REQUESTS, MIN_PIPELINE_BYTES, PIPELINE_GAIN,
    PIPELINE_QUEUE_TIME, RATE_LIFETIME, ROUND_TRIP_LIFETIME,
};
use crate::time::Instant;

/// Rates are in billionths of a chunk per second.
const SCALE: u128 = 1_000_000_000;
const SECOND: u128 = 1_000_000_000;

/// What a request remembers for its sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) asked_at: Instant,
    /// Chunks that had come from the peer by then.
    delivered: u64,
    /// Asked within the short window that measures the delay.
    probe: bool,
}

/// The window of one peer.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    delivered: u64,
    /// Least time from request to arrival, in nanoseconds.
    delay: Option<u64>,
    /// When that was seen last.
    delay_at: Instant,
    probing: bool,
    /// Best rate of this period and of the one before.
    rates: [u64; 2],
    period_at: Instant,
}

impl Pipeline {
    /// Delivered rate in billionths of a chunk per second; 0 while unknown.
    pub(super) fn rate(&self) -> u64 {
        self.rates[0].max(self.rates[1])
    }

    /// Nanoseconds until the peer has brought `chunks` chunks from now on; `None` while unknown.
    pub(super) fn time_for(&self, chunks: usize) -> Option<u64> {
        let rate = u128::from(self.rate());
        let nanos = (chunks as u128 * SCALE * SECOND).checked_div(rate)?;
        Some(u64::try_from(nanos).unwrap_or(u64::MAX).max(self.delay.unwrap_or(0)))
    }

    /// A request goes out while `open` others are open.
    pub(super) fn ask(&self, now: Instant, open: usize, chunk_bytes: u64) -> Mark {
        let probe = self.probing && open < self.window(chunk_bytes);
        Mark { asked_at: now, delivered: self.delivered, probe }
    }

    /// Its chunk came.
    pub(super) fn arrived(&mut self, now: Instant, mark: Mark) {
        let nanos = u64::try_from(now.since(mark.asked_at).as_nanos()).unwrap_or(u64::MAX);
        // Clocks may be coarse; nothing takes less than a microsecond.
        let nanos = nanos.max(1_000);
        self.delivered += 1;
        self.delay_sample(now, nanos, mark.probe);
        let chunks = u128::from(self.delivered - mark.delivered);
        let rate = chunks * SCALE * SECOND / u128::from(nanos);
        self.rate_sample(now, u64::try_from(rate).unwrap_or(u64::MAX));
    }

    fn delay_sample(&mut self, now: Instant, nanos: u64, probe: bool) {
        let least = self.delay.unwrap_or(u64::MAX);
        if probe || nanos <= least {
            self.delay = Some(nanos);
            self.delay_at = now;
            self.probing = false;
            return;
        }
        let lifetime = ROUND_TRIP_LIFETIME.as_nanos().max(32 * u128::from(least));
        if now.since(self.delay_at).as_nanos() > lifetime {
            self.probing = true;
        }
    }

    fn rate_sample(&mut self, now: Instant, rate: u64) {
        let period = RATE_LIFETIME.as_nanos().max(8 * u128::from(self.delay.unwrap_or(0)));
        let age = now.since(self.period_at).as_nanos();
        if age >= 2 * period {
            self.rates = [0, 0];
            self.period_at = now;
        } else if age >= period {
            self.rates = [0, self.rates[0]];
            self.period_at = now;
        }
        self.rates[0] = self.rates[0].max(rate);
    }

    /// The peer was silent: what was known of it is not true any more.
    pub(super) fn forget(&mut self) {
        *self = Self { delivered: self.delivered, ..Self::default() };
    }

    /// Requests that may be open, for chunks of so many bytes.
    // spec P12
    pub(super) fn window(&self, chunk_bytes: u64) -> usize {
        let least = (MIN_PIPELINE_BYTES / chunk_bytes.max(1)).max(INITIAL_PIPELINE_CHUNKS as u64);
        let rate = u128::from(self.rate());
        let in_time = |nanos: u128| (rate * nanos).div_ceil(SCALE * SECOND);
        let product = in_time(u128::from(self.delay.unwrap_or(0)));
        let product = u64::try_from(product).unwrap_or(u64::MAX).saturating_mul(PIPELINE_GAIN);
        let queue = in_time(PIPELINE_QUEUE_TIME.as_nanos());
        let spare = (least / 2).max(least.saturating_sub(product)).max(1);
        let spare = spare.min(u64::try_from(queue).unwrap_or(u64::MAX).max(1));
        let window = product.saturating_add(spare).min(MAX_INCOMING_REQUESTS as u64) as usize;
        if self.probing { (window / 4).max(2) } else { window }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::VecDeque;

    use super::*;

    const CHUNK: u64 = 256 * 1024;

    /// A peer behind a link of `rate` chunks per second and `delay` nanoseconds there and back; the
    /// window after so many arrivals and the time they took.
    fn run(pipeline: &mut Pipeline, from: u64, rate: u64, delay: u64, chunks: u64) -> (usize, u64) {
        let mut open = VecDeque::new();
        let (mut now, mut free_at) = (from, from);
        for _ in 0..chunks {
            let window = pipeline.window(CHUNK).max(1);
            while open.len() < window {
                let mark = pipeline.ask(Instant::from_nanos(now), open.len(), CHUNK);
                free_at = free_at.max(now + delay) + 1_000_000_000 / rate;
                open.push_back((free_at, mark));
            }
            let (at, mark) = open.pop_front().expect("the window is at least one");
            now = at;
            pipeline.arrived(Instant::from_nanos(now), mark);
        }
        (pipeline.window(CHUNK), now - from)
    }

    // Spec P12
    #[test]
    fn a_long_fat_path_is_filled() {
        let mut pipeline = Pipeline::default();
        // 1 Gbit/s and 100 ms: 47 chunks are on their way.
        let (window, nanos) = run(&mut pipeline, 0, 476, 100_000_000, 40_000);
        assert!((94..130).contains(&window), "{window}");
        let rate = 40_000 * 1_000_000_000 / nanos;
        assert!(rate > 460, "{rate} chunks/s of 476");
    }

    // Spec P12
    #[test]
    fn a_short_fast_path_stays_in_the_cache() {
        let mut pipeline = Pipeline::default();
        let (window, _) = run(&mut pipeline, 0, 6_000, 300_000, 100_000);
        assert!((8..=20).contains(&window), "{window}");
    }

    #[test]
    fn a_slow_peer_holds_few_chunks() {
        let mut pipeline = Pipeline::default();
        let (window, _) = run(&mut pipeline, 0, 1, 50_000_000, 20);
        assert!((2..=6).contains(&window), "{window}");
    }

    // Spec P12
    #[test]
    fn a_path_that_becomes_longer_is_filled_again() {
        let mut pipeline = Pipeline::default();
        let (_, nanos) = run(&mut pipeline, 0, 476, 1_000_000, 4_760);
        let (_, more) = run(&mut pipeline, nanos, 476, 150_000_000, 476 * 30);
        let (window, _) = run(&mut pipeline, nanos + more, 476, 150_000_000, 476 * 30);
        assert!((142..250).contains(&window), "{window}");
    }

    // Spec P12
    #[test]
    fn small_chunks_fill_the_pipeline_by_bytes() {
        let mut pipeline = Pipeline::default();
        run(&mut pipeline, 0, 6_000, 300_000, 1_000);
        assert!(pipeline.window(16 * 1024) >= 128);
        assert_eq!(pipeline.window(1), MAX_INCOMING_REQUESTS);
    }

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn rate_and_delay_tell_how_long_so_many_chunks_take() {
        let mut pipeline = Pipeline::default();
        assert_eq!(pipeline.time_for(1), None, "nothing is known yet");
        let marks = [pipeline.ask(at(0), 0, CHUNK), pipeline.ask(at(0), 1, CHUNK)];
        pipeline.arrived(at(10), marks[0]);
        assert_eq!(pipeline.rate(), 100 * 1_000_000_000);
        pipeline.arrived(at(16), marks[1]);
        assert_eq!(pipeline.rate(), 125 * 1_000_000_000, "two in 16 ms");
        assert_eq!(pipeline.time_for(5), Some(40_000_000));
        assert_eq!(pipeline.time_for(1), Some(10_000_000), "no less than the delay");
        pipeline.forget();
        assert_eq!((pipeline.time_for(1), pipeline.delivered), (None, 2));
    }

    #[test]
    fn a_rate_lives_for_one_to_two_periods_and_longer_on_a_far_path() {
        for (delay, period) in [(None, 1_000), (Some(1_000_000_000), 8_000)] {
            let mut pipeline = Pipeline { delay, ..Pipeline::default() };
            pipeline.rate_sample(at(0), 9);
            pipeline.rate_sample(at(period - 1), 5);
            assert_eq!(pipeline.rates, [9, 0], "the best of a period");
            pipeline.rate_sample(at(period), 5);
            assert_eq!(pipeline.rates, [5, 9], "and of the one before");
            pipeline.rate_sample(at(3 * period - 1), 4);
            assert_eq!(pipeline.rates, [4, 5]);
            pipeline.rate_sample(at(5 * period - 1), 1);
            assert_eq!(pipeline.rates, [1, 0], "after a pause nothing is left");
        }
    }

    #[test]
    fn a_delay_that_is_not_seen_again_is_measured_with_a_quarter_of_the_window() {
        let millis = 1_000_000;
        for (least, lifetime) in [(20, 10_000), (1_000, 32_000)] {
            let mut pipeline = Pipeline::default();
            pipeline.delay_sample(at(0), least * millis, false);
            pipeline.delay_sample(at(5), least * millis, false);
            pipeline.delay_sample(at(5 + lifetime), (least + 1) * millis, false);
            assert!(!pipeline.probing, "it lives that long");
            let full = pipeline.window(CHUNK);
            pipeline.delay_sample(at(6 + lifetime), (least + 1) * millis, false);
            assert!(pipeline.probing);
            let short = (full / 4).max(2);
            assert_eq!(pipeline.window(CHUNK), short);
            assert!(pipeline.ask(at(9), short - 1, CHUNK).probe);
            assert!(!pipeline.ask(at(9), short, CHUNK).probe, "it waits behind others");
            pipeline.delay_sample(at(7 + lifetime), (least + 9) * millis, true);
            assert_eq!((pipeline.delay, pipeline.probing), (Some((least + 9) * millis), false));
            assert!(!pipeline.ask(at(9), 0, CHUNK).probe);
        }
    }

    #[test]
    fn a_window_that_measures_the_delay_is_a_quarter() {
        let rates = [400_000_000_000, 0];
        let pipeline = Pipeline { delay: Some(100_000_000), rates, ..Pipeline::default() };
        let probing = Pipeline { probing: true, ..pipeline };
        assert_eq!(probing.window(CHUNK), (80 + 4) / 4);
        assert_eq!(Pipeline { probing: true, ..Pipeline::default() }.window(CHUNK), 2);
    }

    #[test]
    fn a_window_is_twice_the_product_and_something_to_spare() {
        let window = |rate: u64, delay_millis: u64, chunk_bytes| {
            let delay = Some(delay_millis * 1_000_000);
            let rates = [rate * 1_000_000_000, 0];
            Pipeline { delay, rates, ..Pipeline::default() }.window(chunk_bytes)
        };
        assert_eq!(window(400, 100, CHUNK), 80 + 4, "half of the least");
        assert_eq!(window(10, 100, CHUNK), 2 + 6, "filled up to the least");
        assert_eq!(window(1, 100, CHUNK), 2 + 2, "no more than two seconds bring");
        assert_eq!(window(400, 100, CHUNK / 4), 80 + 16);
        assert_eq!(window(400, 100, 0), 80 + 800, "again: what two seconds bring");
        assert_eq!(window(6_000, 300, 0), 1_024, "and no more than a peer takes");
        assert_eq!(Pipeline::default().window(CHUNK), 1, "an unknown peer brings nothing in time");
    }
}
