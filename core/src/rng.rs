//! Randomness that may be known: jitter, order, identifiers. **Never keys.**
//!
//! One 32-byte seed at the root; each child machine gets `fork(label, id)`, so that a new draw in
//! one machine changes nothing in another. The stream is SHA-256 in counter mode: slow for a random
//! number generator, and nothing here draws often.

use alloc::collections::BTreeSet;

use sha2::{Digest, Sha256};

/// A forkable deterministic random stream.
#[derive(Debug, Clone)]
pub struct Rng {
    seed: [u8; 32],
    counter: u64,
    forks: BTreeSet<(&'static str, u64)>,
}

impl Rng {
    /// A stream that is wholly determined by `seed`.
    #[must_use]
    pub const fn new(seed: [u8; 32]) -> Self {
        Self { seed, counter: 0, forks: BTreeSet::new() }
    }

    /// An independent stream for a child machine.
    ///
    /// # Panics
    /// If the same pair was forked before: two children would draw the same numbers. Children that
    /// come and go for ever are numbered by a counter, and forked with [`Rng::fork_numbered`].
    #[must_use]
    pub fn fork(&mut self, label: &'static str, id: u64) -> Self {
        assert!(self.forks.insert((label, id)), "forked twice: {label} {id}");
        self.derive(label, id)
    }

    /// As [`Rng::fork`] for ids that the caller draws from a counter that only grows, so that no
    /// list of the used ones is kept.
    #[must_use]
    pub fn fork_numbered(&self, label: &'static str, id: u64) -> Self {
        self.derive(label, id)
    }

    fn derive(&self, label: &str, id: u64) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"towpath fork");
        hash.update(self.seed);
        hash.update(label.as_bytes());
        hash.update([0]);
        hash.update(id.to_be_bytes());
        Self::new(hash.finalize().into())
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.seed);
        hash.update(self.counter.to_be_bytes());
        self.counter += 1;
        let block: [u8; 32] = hash.finalize().into();
        u64::from_be_bytes([
            block[0], block[1], block[2], block[3], block[4], block[5], block[6], block[7],
        ])
    }

    /// A number in `0..bound`; 0 for a bound of 0. The bias is below 2⁻³² for bounds below 2³².
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }

    /// Puts `items` into random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_are_independent_of_draws() {
        let mut quiet = Rng::new([7; 32]);
        let mut busy = Rng::new([7; 32]);
        busy.next_u64();
        assert_eq!(quiet.fork("a", 1).next_u64(), busy.fork("a", 1).next_u64());
        assert_ne!(quiet.fork("a", 2).next_u64(), quiet.fork("b", 2).next_u64());
    }

    #[test]
    #[should_panic(expected = "forked twice")]
    fn the_same_fork_twice_is_our_bug() {
        let mut rng = Rng::new([0; 32]);
        let _ = rng.fork("a", 1);
        let _ = rng.fork("a", 1);
    }

    #[test]
    fn a_shuffle_may_leave_any_order() {
        let mut rng = Rng::new([1; 32]);
        let orders: BTreeSet<[u8; 3]> = (0..200)
            .map(|_| {
                let mut items = [1, 2, 3];
                rng.shuffle(&mut items);
                items
            })
            .collect();
        assert_eq!(orders.len(), 6, "{orders:?}");
    }

    #[test]
    fn a_number_is_below_its_bound_and_may_be_any_below_it() {
        let mut rng = Rng::new([2; 32]);
        assert_eq!((rng.below(0), rng.below(1)), (0, 0));
        let drawn: BTreeSet<u64> = (0..200).map(|_| rng.below(5)).collect();
        assert!(drawn.iter().copied().eq(0..5), "{drawn:?}");
    }
}
