//! A token bucket: how many bytes may pass now, and when the next ones may. (API fixed.)

use crate::time::Instant;

/// A token bucket over bytes. `None` as its rate lets everything pass.
#[derive(Debug, Clone)]
pub struct Limiter {}

impl Limiter {
    /// A bucket that fills with `bytes_per_second` and holds a burst of 100 ms, at least one chunk.
    #[must_use]
    pub fn new(_now: Instant, _bytes_per_second: Option<u64>) -> Self {
        todo!()
    }

    /// Takes `bytes` if the bucket is not in debt; it may go into debt by one taking, so that a chunk
    /// larger than the burst passes too.
    pub fn take(&mut self, _now: Instant, _bytes: u64) -> bool {
        todo!()
    }

    /// When the next taking will succeed: now or earlier if it would now.
    #[must_use]
    pub fn ready_at(&self) -> Instant {
        todo!()
    }
}
