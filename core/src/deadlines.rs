//! One queue of deadlines for a machine and its children, each with the reason why it stands there.
//!
//! A deadline is known by its key; setting it again moves it. Setting, clearing and taking the next
//! due one cost O(log n), so that ten thousand idle children cost nothing.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::time::Instant;

/// Deadlines by key, the earliest first.
#[derive(Debug, Clone)]
pub struct Deadlines<K> {
    by_time: BTreeSet<(Instant, K)>,
    by_key: BTreeMap<K, Instant>,
}

impl<K: Ord + Clone> Default for Deadlines<K> {
    fn default() -> Self {
        Self { by_time: BTreeSet::new(), by_key: BTreeMap::new() }
    }
}

impl<K: Ord + Clone> Deadlines<K> {
    /// Sets or moves the deadline of `key`; [`Instant::NEVER`] clears it.
    pub fn set(&mut self, key: K, at: Instant) {
        if self.by_key.get(&key) == Some(&at) {
            return;
        }
        if planted!(LoseTimer) && self.by_key.contains_key(&key) {
            return self.clear(&key);
        }
        self.clear(&key);
        if at < Instant::NEVER {
            self.by_key.insert(key.clone(), at);
            self.by_time.insert((at, key));
        }
    }

    /// Forgets the deadline of `key`, if it has one.
    pub fn clear(&mut self, key: &K) {
        if let Some(at) = self.by_key.remove(key) {
            self.by_time.remove(&(at, key.clone()));
        }
    }

    /// When `key` is due, if it is set.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<Instant> {
        self.by_key.get(key).copied()
    }

    /// Takes one deadline that is due at `now`, the earliest first.
    pub fn pop_due(&mut self, now: Instant) -> Option<K> {
        if self.next() > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// The earliest deadline, or [`Instant::NEVER`].
    #[must_use]
    pub fn next(&self) -> Instant {
        self.by_time.first().map_or(Instant::NEVER, |(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_and_only_when_due() {
        let mut deadlines = Deadlines::default();
        deadlines.set("b", Instant::from_nanos(20));
        deadlines.set("a", Instant::from_nanos(30));
        deadlines.set("a", Instant::from_nanos(10));
        assert_eq!(deadlines.next(), Instant::from_nanos(10));
        assert_eq!(deadlines.pop_due(Instant::from_nanos(15)), Some("a"));
        assert_eq!(deadlines.pop_due(Instant::from_nanos(15)), None);
        deadlines.set("b", Instant::NEVER);
        assert_eq!(deadlines.next(), Instant::NEVER);
    }

    #[test]
    fn a_deadline_is_known_until_it_was_taken_or_cleared() {
        let mut deadlines = Deadlines::default();
        deadlines.set("a", Instant::from_nanos(10));
        deadlines.set("b", Instant::from_nanos(20));
        assert_eq!(deadlines.get(&"a"), Some(Instant::from_nanos(10)));
        assert_eq!(deadlines.get(&"b"), Some(Instant::from_nanos(20)));
        assert_eq!(deadlines.pop_due(Instant::from_nanos(9)), None);
        assert_eq!(deadlines.pop_due(Instant::from_nanos(10)), Some("a"));
        assert_eq!(deadlines.get(&"a"), None);
        deadlines.clear(&"b");
        assert_eq!((deadlines.get(&"b"), deadlines.next()), (None, Instant::NEVER));
        deadlines.set("c", Instant::NEVER);
        assert_eq!(deadlines.get(&"c"), None);
    }
}
