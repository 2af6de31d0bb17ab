//! Playing many seeds on several threads.
//!
//! Threads take the next seed when they are free; the report is in the order of the seeds, so that
//! it is the same however many threads there are. A panic in a machine is a failure of its seed and
//! not the end of the search.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::scenario::Outcome;

/// What a search found.
#[derive(Debug, Default)]
pub struct Report {
    /// How often each thing happened, in seeds that held.
    pub counts: BTreeMap<&'static str, u64>,
    /// Seeds that failed, and what did not hold.
    pub failures: BTreeMap<u64, String>,
    /// Seeds that held.
    pub passed: u64,
}

impl Report {
    /// What was expected to happen and did not.
    #[must_use]
    pub fn never<'a>(&self, expected: &[&'a str]) -> Vec<&'a str> {
        let happened = |what: &str| self.counts.get(what).is_some_and(|times| *times > 0);
        expected.iter().filter(|what| !happened(what)).copied().collect()
    }

    fn add(&mut self, seed: u64, result: Result<Outcome, String>) {
        match result {
            Ok(outcome) => {
                self.passed += 1;
                for (what, n) in outcome.counts {
                    *self.counts.entry(what).or_default() += n;
                }
            }
            Err(message) => {
                self.failures.insert(seed, message);
            }
        }
    }
}

thread_local! {
    /// The seed that this thread plays, for the words of a failed assertion.
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// The seed that the calling thread plays.
#[must_use]
pub fn current_seed() -> u64 {
    SEED.get()
}

/// Plays one seed; a panic is its failure.
///
/// # Errors
/// What did not hold.
pub fn one(seed: u64, play: impl Fn(u64) -> Result<Outcome, String>) -> Result<Outcome, String> {
    SEED.set(seed);
    // What a panic leaves half done is dropped with its world.
    catch_unwind(AssertUnwindSafe(|| play(seed))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("an assertion failed: {}", text.unwrap_or("without words")))
    })
}

/// Plays so many seeds on so many threads.
///
/// # Panics
/// A thread cannot be started.
pub fn search(
    from: u64,
    seeds: u64,
    jobs: usize,
    play: impl Fn(u64) -> Result<Outcome, String> + Sync,
) -> Report {
    let next = AtomicU64::new(from);
    let report = Mutex::new(Report::default());
    let end = from.saturating_add(seeds);
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return;
        }
        let result = one(seed, &play);
        report.lock().expect("adding up does not panic").add(seed, result);
    };
    std::thread::scope(|scope| {
        for _ in 1..jobs {
            scope.spawn(work);
        }
        work();
    });
    report.into_inner().expect("adding up does not panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn odd_seeds_hold(seed: u64) -> Result<Outcome, String> {
        assert!(seed != 4, "four");
        if seed.is_multiple_of(2) {
            return Err(format!("{seed} is even"));
        }
        Ok(Outcome { counts: BTreeMap::from([("odd", 1)]), trace: seed })
    }

    #[test]
    fn the_report_is_the_same_however_many_threads_there_are() {
        for jobs in [1, 3] {
            let report = search(1, 8, jobs, odd_seeds_hold);
            assert_eq!(report.passed, 4);
            assert_eq!(report.counts, BTreeMap::from([("odd", 4)]));
            let failed: Vec<u64> = report.failures.keys().copied().collect();
            assert_eq!(failed, [2, 4, 6, 8]);
            assert!(report.failures[&4].contains("four"));
            assert_eq!(report.never(&["odd", "even"]), ["even"]);
        }
    }
}
