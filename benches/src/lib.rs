//! What several benches need: two sessions and a relay in memory, and the mark around what is
//! measured of them.

pub mod relay;
pub mod sessions;

use std::time::{Duration, Instant};

/// The name by which callgrind finds [`counted_region`].
pub const COUNTED_REGION: &str = "counted_region";

/// Work between whose beginning and end callgrind counts instructions: a function of its own, so
/// that it can be told by its name.
#[inline(never)]
pub fn counted_region<T>(work: impl FnOnce() -> T) -> T {
    work()
}

/// Measures some of the inputs that a machine takes.
#[derive(Debug, Default)]
pub struct Meter {
    /// Whether the next inputs are measured.
    pub on: bool,
    /// Time that measured inputs took.
    pub spent: Duration,
}

impl Meter {
    /// Does the work, and measures it if the meter is on.
    pub fn run<T>(&mut self, work: impl FnOnce() -> T) -> T {
        if !self.on {
            return work();
        }
        let start = Instant::now();
        let result = counted_region(work);
        self.spent += start.elapsed();
        result
    }
}
