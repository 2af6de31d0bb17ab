//! Noise on the wire is dropped and counted, never answered: one counter per reason.

use alloc::collections::BTreeMap;

/// How often something was dropped, by reason. Reasons are `snake_case` and fixed at compile time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters(BTreeMap<&'static str, u64>);

impl Counters {
    /// One more for `reason`.
    pub fn count(&mut self, reason: &'static str) {
        let slot = self.0.entry(reason).or_default();
        *slot = slot.saturating_add(1);
    }

    /// How often `reason` was counted.
    #[must_use]
    pub fn get(&self, reason: &str) -> u64 {
        self.0.get(reason).copied().unwrap_or(0)
    }

    /// All reasons and their counts, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(reason, count)| (*reason, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_counted_by_itself() {
        let mut counters = Counters::default();
        counters.count("stale");
        counters.count("odd");
        counters.count("stale");
        assert_eq!((counters.get("stale"), counters.get("odd"), counters.get("never")), (2, 1, 0));
        assert!(counters.iter().eq([("odd", 1), ("stale", 2)]));
    }
}
