//! Dice for scenarios: numbers from a seed, or from bytes first and then from a seed, so that a
//! fuzzer can choose what happens.

use towpath_core::rng::Rng;

/// Throws numbers.
#[derive(Debug)]
pub struct Dice {
    /// What is thrown first, the last byte first.
    bytes: Vec<u8>,
    rng: Rng,
}

impl Dice {
    /// Dice whose every throw comes from `rng`.
    #[must_use]
    pub const fn new(rng: Rng) -> Self {
        Self { bytes: Vec::new(), rng }
    }

    /// Dice that throw `bytes`, and then as `rng` does.
    #[must_use]
    pub fn loaded(bytes: &[u8], rng: Rng) -> Self {
        Self { bytes: bytes.iter().rev().copied().collect(), rng }
    }

    /// A number in `0..bound`; 0 for a bound of 0. Takes as few bytes as the bound needs.
    pub fn below(&mut self, bound: u64) -> u64 {
        let needed = (u64::BITS - bound.saturating_sub(1).leading_zeros()).div_ceil(8).max(1);
        let Some(rest) = self.bytes.len().checked_sub(needed as usize) else {
            self.bytes.clear();
            return self.rng.below(bound);
        };
        let thrown = self.bytes.drain(rest..).rev();
        let number = thrown.fold(0, |number, byte| number << 8 | u64::from(byte));
        number.checked_rem(bound).unwrap_or(0)
    }

    /// Randomness of its own for something that no fuzzer needs to choose.
    ///
    /// # Panics
    /// If the same pair was forked before.
    #[must_use]
    pub fn fork(&mut self, label: &'static str, id: u64) -> Rng {
        self.rng.fork(label, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_thrown_first_and_then_the_seed() {
        let rng = Rng::new([3; 32]);
        let mut dice = Dice::loaded(&[7, 250, 1, 2, 9], rng.clone());
        assert_eq!([dice.below(256), dice.below(100), dice.below(0)], [7, 50, 0]);
        assert_eq!(dice.below(1 << 16), 2 << 8 | 9);
        let mut same = Dice::new(rng);
        for bound in [2, 10, 1 << 40] {
            assert_eq!(dice.below(bound), same.below(bound));
        }
    }
}
