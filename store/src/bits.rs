//! A set of numbers, one bit each, the highest bit of a byte first (as `ChunkSet` and the wire have
//! it).

use std::ops::Range;

/// The set.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bits {
    bytes: Vec<u8>,
    len: u64,
    ones: u64,
}

impl Bits {
    /// An empty set for the numbers below `len`.
    pub(crate) fn new(len: u64) -> Self {
        let bytes = usize::try_from(len.div_ceil(8)).expect("limits keep sets in memory");
        Self { bytes: vec![0; bytes], len, ones: 0 }
    }

    pub(crate) fn ones(&self) -> u64 {
        self.ones
    }

    pub(crate) fn is_full(&self) -> bool {
        self.ones == self.len
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether `index` is in the set; numbers beyond its end are not.
    pub(crate) fn get(&self, index: u64) -> bool {
        index < self.len && self.bytes[(index / 8) as usize] & (0x80 >> (index % 8)) != 0
    }

    /// The same set, cut or grown to the numbers below `len`.
    pub(crate) fn resized(&self, len: u64) -> Self {
        let mut bits = Self::new(len);
        let kept = bits.bytes.len().min(self.bytes.len());
        bits.bytes[..kept].copy_from_slice(&self.bytes[..kept]);
        if let Some(last) = bits.bytes.last_mut()
            && !len.is_multiple_of(8)
        {
            *last &= !(0xFF >> (len % 8));
        }
        bits.count();
        bits
    }

    /// What is in this set and not in `other`.
    pub(crate) fn without(&self, other: &Self) -> Self {
        let mut bits = self.clone();
        for (byte, not) in bits.bytes.iter_mut().zip(&other.bytes) {
            *byte &= !not;
        }
        bits.count();
        bits
    }

    fn count(&mut self) {
        self.ones = self.bytes.iter().map(|byte| u64::from(byte.count_ones())).sum();
    }

    /// Adds `index`; whether it is new.
    ///
    /// # Panics
    /// If `index` is beyond the end.
    pub(crate) fn set(&mut self, index: u64) -> bool {
        assert!(index < self.len, "callers check numbers against the set's length");
        let byte = &mut self.bytes[(index / 8) as usize];
        let mask = 0x80 >> (index % 8);
        let new = *byte & mask == 0;
        *byte |= mask;
        self.ones += u64::from(new);
        new
    }

    /// Adds all of `range`, whole bytes at once.
    ///
    /// # Panics
    /// If it ends beyond the end.
    pub(crate) fn set_run(&mut self, range: Range<u64>) {
        assert!(range.end <= self.len, "callers check numbers against the set's length");
        let mut at = range.start;
        while at < range.end {
            if at.is_multiple_of(8) && range.end - at >= 8 {
                let byte = &mut self.bytes[(at / 8) as usize];
                self.ones += u64::from(byte.count_zeros());
                *byte = 0xFF;
                at += 8;
            } else {
                self.set(at);
                at += 1;
            }
        }
    }

    /// Removes `index`.
    pub(crate) fn clear(&mut self, index: u64) {
        if self.get(index) {
            self.bytes[(index / 8) as usize] &= !(0x80 >> (index % 8));
            self.ones -= 1;
        }
    }

    /// Whether all of `range` is in the set. Looks from the end, because what comes in order lacks
    /// it last.
    pub(crate) fn has_all(&self, range: Range<u64>) -> bool {
        let mut at = range.end;
        while at > range.start {
            if at.is_multiple_of(8) && at - range.start >= 8 {
                if self.bytes[(at / 8 - 1) as usize] != 0xFF {
                    return false;
                }
                at -= 8;
            } else {
                at -= 1;
                if !self.get(at) {
                    return false;
                }
            }
        }
        true
    }

    /// The numbers in the set.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> {
        self.runs().flat_map(|(first, count)| first..first + count)
    }

    /// The runs of numbers in the set, as (first, count).
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            while at < self.len && !self.get(at) {
                // Whole empty bytes at once: sets are long and often nearly empty.
                at +=
                    if at.is_multiple_of(8) && self.bytes[(at / 8) as usize] == 0 { 8 } else { 1 };
            }
            let first = at;
            while at < self.len && self.get(at) {
                let whole = at.is_multiple_of(8) && at + 8 <= self.len;
                at += if whole && self.bytes[(at / 8) as usize] == 0xFF { 8 } else { 1 };
            }
            (at > first).then_some((first, at - first))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(
            len in 1_u64..200,
            numbers in prop::collection::vec((any::<u64>(), any::<bool>()), 0..300),
            from in any::<u64>(),
            to in any::<u64>(),
        ) {
            let mut bits = Bits::new(len);
            let mut model = BTreeSet::new();
            for (number, put) in numbers {
                let number = number % len;
                if put {
                    prop_assert_eq!(bits.set(number), model.insert(number));
                } else {
                    bits.clear(number);
                    model.remove(&number);
                }
            }
            prop_assert_eq!(bits.ones(), model.len() as u64);
            prop_assert_eq!(bits.is_full(), model.len() as u64 == len);
            let runs: Vec<u64> = bits.runs().flat_map(|(first, n)| first..first + n).collect();
            prop_assert_eq!(runs, model.iter().copied().collect::<Vec<_>>());
            let (cut, grown) = (bits.resized(len / 2), bits.resized(len + 9));
            prop_assert_eq!(cut.ones(), model.range(..len / 2).count() as u64);
            prop_assert_eq!((grown.ones(), grown.get(len + 8)), (bits.ones(), false));
            let (a, b) = (from % len, to % len);
            let range = a.min(b)..a.max(b) + 1;
            let all = range.clone().all(|n| model.contains(&n));
            prop_assert_eq!(bits.has_all(range.clone()), all);
            bits.set_run(range.clone());
            model.extend(range);
            prop_assert_eq!(bits.ones(), model.len() as u64);
            prop_assert!(bits.iter().eq(model.iter().copied()));
        }
    }
}
