//! A set of chunk numbers, as peers tell it to each other.

use alloc::vec::Vec;
use core::ops::Range;

/// A set of chunk numbers, one bit each, the highest bit of a byte first (as on the wire).
///
/// Safe against any length of `bits`: bytes that are missing count as zero, bits from `len` on are
/// ignored (P7).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChunkSet {
    /// Bits.
    pub bits: Vec<u8>,
    /// How many chunks there are.
    pub len: u64,
}

impl ChunkSet {
    /// None of `len` chunks. Takes no memory yet.
    #[must_use]
    pub const fn empty(len: u64) -> Self {
        Self { bits: Vec::new(), len }
    }

    /// All of `len` chunks. Takes `len` / 8 bytes.
    #[must_use]
    pub fn full(len: u64) -> Self {
        let mut bits = alloc::vec![0xFF; bytes_for(len)];
        if let Some(last) = bits.last_mut() {
            *last = !(0xFF_u16 >> ((len - 1) % 8 + 1)) as u8;
        }
        Self { bits, len }
    }

    /// Whether it holds this chunk.
    #[must_use]
    pub fn contains(&self, chunk: u64) -> bool {
        let byte = usize::try_from(chunk / 8).ok().and_then(|at| self.bits.get(at));
        chunk < self.len && byte.is_some_and(|byte| byte & (0x80 >> (chunk % 8)) != 0)
    }

    /// Adds a chunk; `true` if it is new. One from `len` on is ignored.
    pub fn insert(&mut self, chunk: u64) -> bool {
        if chunk >= self.len || self.contains(chunk) {
            return false;
        }
        if self.bits.len() < bytes_for(self.len) {
            self.bits.resize(bytes_for(self.len), 0);
        }
        self.bits[(chunk / 8) as usize] |= 0x80 >> (chunk % 8);
        true
    }

    /// Takes a chunk away; `true` if it was there.
    pub fn remove(&mut self, chunk: u64) -> bool {
        if !self.contains(chunk) {
            return false;
        }
        self.bits[(chunk / 8) as usize] &= !(0x80 >> (chunk % 8));
        true
    }

    /// How many chunks it holds.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.bytes().map(|(_, byte)| u64::from(byte.count_ones())).sum()
    }

    /// Whether it holds all chunks.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.count() == self.len
    }

    /// The runs of chunks that it holds, ascending, none touching the next.
    pub fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut from = 0;
        core::iter::from_fn(move || {
            let start = self.find(from, true)?;
            let end = self.find(start, false).unwrap_or(self.len);
            from = end;
            Some(start..end)
        })
    }

    /// The chunks that it holds, ascending.
    // spec P7
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.bytes().filter(|(_, byte)| *byte != 0).flat_map(|(at, byte)| {
            (0..8).filter(move |bit| byte & (0x80 >> bit) != 0).map(move |bit| at * 8 + bit)
        })
    }

    /// The bytes that count, with their numbers; bits from `len` on are cleared.
    fn bytes(&self) -> impl Iterator<Item = (u64, u8)> + '_ {
        let whole = self.len / 8;
        let mask = !(0xFF_u8 >> (self.len % 8));
        self.bits
            .iter()
            .take(bytes_for(self.len))
            .zip(0..)
            .map(move |(byte, at)| (at, if at < whole { *byte } else { byte & mask }))
    }

    /// The first chunk from `from` on that is in the set, or is not.
    fn find(&self, mut from: u64, wanted: bool) -> Option<u64> {
        let skip = if wanted { 0x00 } else { 0xFF };
        while from < self.len {
            let byte = usize::try_from(from / 8).ok().and_then(|at| self.bits.get(at)).copied();
            if from.is_multiple_of(8) && byte.unwrap_or(0) == skip {
                from = (from + 8).min(self.len);
            } else if self.contains(from) == wanted {
                return Some(from);
            } else {
                from += 1;
            }
        }
        None
    }
}

/// Bytes for so many bits.
fn bytes_for(len: u64) -> usize {
    usize::try_from(len.div_ceil(8)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    // Spec P7
    #[test]
    fn wrong_lengths_do_no_harm() {
        let long = ChunkSet { bits: alloc::vec![0xFF; 9], len: 11 };
        assert_eq!((long.count(), long.is_complete()), (11, true));
        assert!(!long.contains(11) && !long.contains(u64::MAX));
        let mut short = ChunkSet { bits: alloc::vec![0x80], len: 20 };
        assert!(short.contains(0) && !short.contains(19));
        assert!(short.insert(19) && !short.insert(19) && !short.insert(20));
        assert_eq!(short.ranges().collect::<Vec<_>>(), [0..1, 19..20]);
        assert!(ChunkSet::empty(0).is_complete() && ChunkSet::full(0).bits.is_empty());
    }

    proptest! {
        #[test]
        fn it_behaves_as_a_set(
            len in 0_u64..100,
            members in prop::collection::btree_set(0_u64..100, 0..100),
        ) {
            let mut set = ChunkSet::empty(len);
            for member in &members {
                prop_assert_eq!(set.insert(*member), *member < len);
            }
            let members: BTreeSet<_> = members.into_iter().filter(|one| *one < len).collect();
            prop_assert_eq!(set.count(), members.len() as u64);
            prop_assert_eq!(set.is_complete(), set.count() == len);
            prop_assert_eq!(set.iter().collect::<BTreeSet<_>>(), members.clone());
            let ranges: Vec<_> = set.ranges().collect();
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert_eq!(ranges.into_iter().flatten().collect::<BTreeSet<_>>(), members.clone());
            let full = ChunkSet::full(len);
            prop_assert_eq!(full.count(), len);
            prop_assert!(full.bits.len() as u64 == len.div_ceil(8) && full.iter().eq(0..len));
            for member in members {
                prop_assert!(set.remove(member) && !set.contains(member));
            }
            prop_assert_eq!(set.count(), 0);
        }
    }
}
