//! Which chunks somebody has: what we can serve, and what a peer said before we could use it.

use alloc::vec;
use alloc::vec::Vec;

use crate::download::ChunkSet;
use crate::limits::MAX_EARLY_HAVE_BYTES;

/// What we have of one space of a content.
#[derive(Debug, Clone)]
pub(super) enum Holding {
    /// Nothing, or the space does not exist.
    Nothing,
    /// Some of its chunks.
    Some(ChunkSet),
    /// All of so many chunks.
    All(u64),
}

impl Holding {
    pub(super) fn has(&self, index: u64) -> bool {
        match self {
            Self::Nothing => false,
            // It is fitted: no bit is set behind its end.
            Self::Some(set) => bit(&set.bits, index),
            Self::All(chunks) => index < *chunks,
        }
    }

    /// How many chunks there are.
    pub(super) const fn chunks(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Some(set) => set.len,
            Self::All(chunks) => *chunks,
        }
    }

    pub(super) fn insert(&mut self, index: u64) {
        match self {
            Self::Some(set) if index < set.len => {
                if let Some(byte) = set.bits.get_mut((index / 8) as usize) {
                    *byte |= 0x80 >> (index % 8);
                }
            }
            Self::Nothing | Self::Some(_) | Self::All(_) => {}
        }
    }
}

/// Whether bit `index` is set, the highest bit of a byte first.
pub(super) fn bit(bits: &[u8], index: u64) -> bool {
    bits.get((index / 8) as usize).is_some_and(|byte| byte & (0x80 >> (index % 8)) != 0)
}

/// `set` made fit for `chunks`: the right number of bytes, and no bit behind the last chunk.
// spec M12: bits behind the last chunk count for nothing
pub(super) fn fitted(mut set: ChunkSet, chunks: u64) -> ChunkSet {
    set.len = chunks;
    set.bits.resize(chunks.div_ceil(8) as usize, 0);
    if !chunks.is_multiple_of(8)
        && let Some(last) = set.bits.last_mut()
    {
        *last &= 0xFF << (8 - chunks % 8);
    }
    set
}

/// How many bits are set.
pub(super) fn count(set: &ChunkSet) -> u64 {
    set.bits.iter().map(|byte| u64::from(byte.count_ones())).sum()
}

/// What a peer said to have of a space whose download has not begun.
#[derive(Debug, Clone, Default)]
pub(super) enum Early {
    #[default]
    Nothing,
    All,
    Bits(Vec<u8>),
}

impl Early {
    /// Notes bits from chunk `first` (a multiple of 8) on, as far as the limit goes.
    pub(super) fn note(&mut self, first: u64, bits: &[u8]) {
        let Ok(start) = usize::try_from(first / 8) else { return };
        let end = start.saturating_add(bits.len()).min(MAX_EARLY_HAVE_BYTES);
        if start >= end {
            return;
        }
        let known = match self {
            Self::All => return,
            Self::Bits(known) => known,
            Self::Nothing => {
                *self = Self::Bits(vec![]);
                let Self::Bits(known) = self else { return };
                known
            }
        };
        known.resize(end.max(known.len()), 0);
        for (old, new) in known[start..end].iter_mut().zip(bits) {
            *old |= new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_bits_are_merged_and_bounded() {
        let mut early = Early::default();
        early.note(8, &[0x80]);
        early.note(0, &[0x01]);
        assert!(matches!(&early, Early::Bits(bits) if bits == &[0x01, 0x80]));
        early.note(u64::MAX - 7, &[0xFF; 4]);
        early.note((MAX_EARLY_HAVE_BYTES as u64 - 1) * 8, &[0xFF; 4]);
        assert!(matches!(&early, Early::Bits(bits) if bits.len() == MAX_EARLY_HAVE_BYTES));
    }

    #[test]
    fn whoever_has_all_needs_no_bits() {
        let mut early = Early::All;
        early.note(0, &[1]);
        assert!(matches!(early, Early::All));
        let mut early = Early::default();
        early.note(0, &[]);
        assert!(matches!(early, Early::Nothing));
    }

    #[test]
    fn a_holding_knows_how_many_there_are_and_takes_no_more() {
        let mut some = Holding::Some(fitted(ChunkSet::empty(11), 11));
        for index in [0, 9, 10, 11, 15, u64::MAX] {
            some.insert(index);
            assert_eq!(some.has(index), index < 11);
        }
        let Holding::Some(set) = &some else { panic!("{some:?}") };
        assert_eq!((some.chunks(), &set.bits[..], count(set)), (11, &[0x80, 0x60][..], 3));
        let (mut all, mut nothing) = (Holding::All(5), Holding::Nothing);
        all.insert(5);
        nothing.insert(0);
        assert_eq!((all.chunks(), all.has(4), all.has(5)), (5, true, false));
        assert_eq!((nothing.chunks(), nothing.has(0)), (0, false));
        assert_eq!(fitted(ChunkSet { bits: vec![0xFF; 2], len: 16 }, 16).bits, [0xFF, 0xFF]);
    }

    // Spec M12
    #[test]
    fn a_fitted_set_has_no_bit_behind_its_end() {
        let set = fitted(ChunkSet { bits: vec![0xFF; 9], len: 72 }, 11);
        assert_eq!((set.bits.as_slice(), count(&set)), (&[0xFF, 0xE0][..], 11));
        assert!(Holding::Some(set.clone()).has(10));
        assert!(!Holding::Some(set).has(11));
    }
}
