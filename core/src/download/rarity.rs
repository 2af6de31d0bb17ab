//! Which chunks are wanted, and which of them a peer is asked for next: the rarest, and among
//! equally rare ones the next in turn.
//!
//! The *turn* goes once round all chunks, from one that is drawn for each download. So requesters
//! that begin together at one seeder do not all ask it for the same chunks, but have something for
//! each other soon; and files are still written mostly in order.
//!
//! A chunk's *key* is the number of peers that have it without having everything. A peer that has
//! everything adds one to every chunk alike and so changes no order: it costs nothing per chunk. A
//! chunk that is not wanted (had, asked for, not yet due) has the key [`UNWANTED`]. One byte per
//! chunk, and two for each block of 1,024.
//!
//! A [`View`] keeps the best [`MAX_CANDIDATES`] wanted chunks of one peer, or of all peers that
//! have everything, sorted. It is filled by one pass over the chunks and then used up, so that a
//! pick costs a small part of a pass. A view may be stale: entries are checked when they are
//! picked. It never misses a chunk: either it is `whole`, or an empty view is filled again.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::ChunkSet;
use crate::limits::MAX_CANDIDATES;

/// The key of a chunk that is not wanted.
const UNWANTED: u8 = u8::MAX;
/// Chunks of a block.
const BLOCK: u64 = 1_024;

/// The keys of all chunks.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The chunk whose turn is first; below the number of chunks.
    first: u64,
    /// By turn.
    keys: Vec<u8>,
    /// Wanted chunks of each block, so that finished stretches are skipped.
    blocks: Vec<u16>,
}

impl Wanted {
    /// None of `chunks` chunks is wanted yet; `first` is the first in turn.
    pub(super) fn new(chunks: u64, first: u64) -> Self {
        let length = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self {
            first,
            keys: alloc::vec![UNWANTED; length(chunks)],
            blocks: alloc::vec![0; length(chunks.div_ceil(BLOCK))],
        }
    }

    /// When a chunk has its turn.
    pub(super) const fn turn(&self, chunk: u64) -> u64 {
        if chunk >= self.first {
            chunk - self.first
        } else {
            chunk + self.keys.len() as u64 - self.first
        }
    }

    /// The chunk that has this turn.
    const fn chunk(&self, turn: u64) -> u64 {
        let behind = self.keys.len() as u64 - self.first;
        if turn < behind { turn + self.first } else { turn - behind }
    }

    /// The key of a wanted chunk.
    pub(super) fn key(&self, chunk: u64) -> Option<u8> {
        if chunk < self.keys.len() as u64 { self.key_at(self.turn(chunk)) } else { None }
    }

    /// The key of the wanted chunk that has this turn.
    fn key_at(&self, turn: u64) -> Option<u8> {
        let key = self.keys.get(usize::try_from(turn).ok()?).copied()?;
        (key != UNWANTED).then_some(key)
    }

    pub(super) fn want(&mut self, chunk: u64, key: u8) {
        debug_assert!(key < UNWANTED, "more partial peers than MAX_PEERS_PER_DOWNLOAD");
        let turn = self.turn(chunk);
        let slot = &mut self.keys[turn as usize];
        if *slot == UNWANTED {
            self.blocks[(turn / BLOCK) as usize] += 1;
        }
        *slot = key;
    }

    pub(super) fn unwant(&mut self, chunk: u64) {
        let turn = self.turn(chunk);
        let slot = &mut self.keys[turn as usize];
        if *slot != UNWANTED {
            *slot = UNWANTED;
            self.blocks[(turn / BLOCK) as usize] -= 1;
        }
    }

    /// One partial peer more (or less) has this chunk.
    pub(super) fn shift(&mut self, chunk: u64, more: bool) {
        let turn = self.turn(chunk);
        let slot = &mut self.keys[turn as usize];
        if *slot != UNWANTED {
            *slot = if more { *slot + 1 } else { slot.saturating_sub(1) };
        }
    }

    /// The keys and turns of all wanted chunks, or of those of `has`, in turn.
    fn iter<'a>(&'a self, has: Option<&'a ChunkSet>) -> impl Iterator<Item = (u8, u64)> + 'a {
        let blocks = (0..).zip(&self.blocks).filter(|(_, wanted)| **wanted > 0);
        blocks
            .flat_map(|(block, _)| {
                let from = block * BLOCK;
                let to = (from + BLOCK).min(self.keys.len() as u64);
                (from..to).zip(&self.keys[from as usize..to as usize])
            })
            .filter(move |(turn, key)| {
                **key != UNWANTED && has.is_none_or(|has| has.contains(self.chunk(*turn)))
            })
            .map(|(turn, key)| (*key, turn))
    }
}

/// The best candidates of a peer.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Keys and turns.
    best: BTreeSet<(u8, u64)>,
    /// Whether `best` names every wanted chunk of the peer.
    whole: bool,
}

impl View {
    /// The turn of a wanted chunk that the peer has, new or with another key.
    pub(super) fn offer(&mut self, key: u8, turn: u64) {
        let behind = self.best.last().is_none_or(|last| (key, turn) > *last);
        if !self.whole && behind {
            return; // The next pass finds it.
        }
        self.best.insert((key, turn));
        if self.best.len() > MAX_CANDIDATES {
            self.best.pop_last();
            self.whole = false;
        }
    }

    /// Keys have sunk, or the peer has more than it had: begin anew.
    pub(super) fn reset(&mut self) {
        self.best.clear();
        self.whole = false;
    }

    /// The best wanted chunk that is not refused. `has`: the peer's chunks, `None` for all.
    /// `floor`: no key is below it. At most [`MAX_CANDIDATES`] - 1 chunks may be refused.
    // spec P8
    pub(super) fn pick(
        &mut self,
        wanted: &Wanted,
        has: Option<&ChunkSet>,
        floor: u8,
        refused: impl Fn(u64) -> bool,
    ) -> Option<u64> {
        loop {
            match self.search(wanted, &refused) {
                Some(chunk) => return Some(chunk),
                None if self.whole => return None,
                None => self.fill(wanted, has, floor),
            }
        }
    }

    /// For the view of everything: the best chunk that is not refused, if it is among the best of
    /// all. Any number may be refused.
    pub(super) fn peek(&mut self, wanted: &Wanted, refused: impl Fn(u64) -> bool) -> Option<u64> {
        if !self.whole && self.best.len() < MAX_CANDIDATES / 8 {
            self.fill(wanted, None, 0);
        }
        self.search(wanted, &refused)
    }

    /// The best candidate that is not refused; mends what is stale on the way.
    fn search(&mut self, wanted: &Wanted, refused: &impl Fn(u64) -> bool) -> Option<u64> {
        loop {
            let mut stale = Vec::new();
            let mut found = None;
            for entry in &self.best {
                let (chunk, current) = (wanted.chunk(entry.1), wanted.key_at(entry.1));
                if current != Some(entry.0) {
                    stale.push((*entry, current));
                } else if !refused(chunk) {
                    found = Some(chunk);
                    break;
                }
            }
            if stale.is_empty() {
                return found;
            }
            // A mended entry may be better than the one found: once more.
            for (entry, current) in stale {
                self.best.remove(&entry);
                if let Some(key) = current {
                    self.offer(key, entry.1);
                }
            }
        }
    }

    /// One pass over the wanted chunks.
    fn fill(&mut self, wanted: &Wanted, has: Option<&ChunkSet>, floor: u8) {
        let mut found: Vec<(u8, u64)> = Vec::new();
        let mut cut = UNWANTED;
        let mut at_floor = 0;
        self.whole = true;
        for (key, turn) in wanted.iter(has) {
            if key >= cut {
                self.whole = false; // There are as many better ones, and those come first.
                continue;
            }
            found.push((key, turn));
            at_floor += usize::from(key <= floor);
            if at_floor >= MAX_CANDIDATES {
                self.whole = false;
                break;
            }
            if found.len() == 2 * MAX_CANDIDATES {
                found.sort_unstable();
                found.truncate(MAX_CANDIDATES);
                cut = found[MAX_CANDIDATES - 1].0;
                self.whole = false;
            }
        }
        found.sort_unstable();
        if found.len() > MAX_CANDIDATES {
            found.truncate(MAX_CANDIDATES);
            self.whole = false;
        }
        self.best = found.into_iter().collect();
    }
}

#[cfg(test)]
mod tests;
