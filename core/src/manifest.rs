//! The description of a folder: paths, lengths, roots, permissions, times, links. (API fixed.)
//!
//! A manifest is bytes (kind 1), read in a stream with memory for one entry at a time, because a folder
//! may have millions. Entries come in depth-first order, siblings sorted by the bytes of their names, so
//! that a folder stands before what is in it, a duplicate is seen by comparing with the entry before,
//! and the same tree gives the same manifest. Links come in their place; a store makes them last.

use alloc::vec::Vec;

use crate::codec::DecodeError;
use crate::id::Hash;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path relative to the share's folder: components joined by `/`. Bytes, because Linux names are;
    /// no empty, `.` or `..` component, no NUL.
    pub path: Vec<u8>,
    /// Permission bits, 0o777 at most.
    pub mode: u16,
    /// Modification time: seconds since 1970 and nanoseconds.
    pub mtime: (i64, u32),
    /// What it is.
    pub what: What,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A folder.
    Folder,
    /// A file.
    File {
        /// Its length.
        length_bytes: u64,
        /// Its Merkle root; zeros if it is empty.
        root: Hash,
    },
    /// A symbolic link to another entry of this manifest.
    Link {
        /// Relative to the link's folder, as `readlink` gives it; must stay inside and name an entry.
        target: Vec<u8>,
    },
}

/// Encodes entries. Refuses what a [`Decoder`] would refuse.
#[derive(Debug, Default)]
pub struct Encoder {}

impl Encoder {
    /// An encoder at the start of a manifest.
    #[must_use]
    pub fn new() -> Self {
        todo!()
    }

    /// The bytes of the header, first of all.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        todo!()
    }

    /// Appends the bytes of `entry` to `out`.
    ///
    /// # Errors
    /// Names the rule that the entry breaks.
    pub fn entry(&mut self, _entry: &Entry, _out: &mut Vec<u8>) -> Result<(), DecodeError> {
        todo!()
    }
}

/// Decodes a manifest that arrives in pieces, and checks every rule that can be checked entry by entry
/// (order, duplicates, depth, names, no link as a parent, sums). That a link's target is an entry is
/// checked by the store, which can look it up.
#[derive(Debug)]
pub struct Decoder {}

impl Decoder {
    /// A decoder for a manifest of this length.
    ///
    /// # Errors
    /// `manifest_too_long`.
    pub fn new(_length_bytes: u64) -> Result<Self, DecodeError> {
        todo!()
    }

    /// Takes the next bytes.
    pub fn push(&mut self, _bytes: &[u8]) {
        todo!()
    }

    /// The next entry with the byte offset at which it stands and the number of its first chunk in the
    /// share; `None` when more bytes are needed or the end is reached.
    ///
    /// # Errors
    /// Names the rule that is broken.
    pub fn next_entry(&mut self) -> Result<Option<(u64, u64, Entry)>, DecodeError> {
        todo!()
    }

    /// Ends the decoding: chunks and bytes of all files.
    ///
    /// # Errors
    /// `truncated`.
    pub fn finish(self) -> Result<(u64, u64), DecodeError> {
        todo!()
    }
}

/// Decodes one entry alone, at a known offset: for a store that looks entries up. Returns how many bytes
/// it has.
///
/// # Errors
/// Names the rule that is broken.
pub fn decode_entry(_bytes: &[u8]) -> Result<(usize, Entry), DecodeError> {
    todo!()
}
