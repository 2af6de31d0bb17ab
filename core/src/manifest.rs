//! The description of a folder: paths, lengths, roots, permissions, times, links.
//!
//! A manifest is bytes (kind 1), read in a stream with memory for one entry at a time, because a
//! folder may have millions. Entries come in depth-first order, siblings sorted by the bytes of
//! their names, so that a folder stands before what is in it, a duplicate is seen by comparing with
//! the entry before, and the same tree gives the same manifest. Links come in their place; a store
//! makes them last.
//!
//! ```text
//! manifest = "towpath manifest" ‖ version u8 = 1 ‖ entry*
//! entry    = kind u8 ‖ mode u16 ‖ mtime seconds i64 ‖ mtime nanoseconds u32
//!            ‖ path length u16 ‖ path
//!            ‖ kind 0, a folder: nothing
//!              kind 1, a file:   length u64 ‖ root [32]
//!              kind 2, a link:   target length u16 ‖ target
//! ```
//!
//! Numbers are big-endian. Paths stand whole in each entry, so that an entry can be read alone at
//! its offset. There is no number of entries: a manifest ends where its length ends.
//!
//! **Folders.** Every folder has an entry, before what is in it; an entry whose parent has none is
//! refused. Only the share's own folder may go without: its entry, which gives it its mode and
//! time, is the first one and has the empty path. A share of several paths has no such entry.
//!
//! **Links** cannot lead out. A target is relative, its `..` stand in front of all names, and they
//! climb no further than the share's folder. It must lead to an entry (or the share's folder), and
//! no entry has a link as its parent: so each target leads through real folders, or through links
//! to which the same applies, to an entry. Without the rule on `..` a link could climb out *behind*
//! another one: `a/up -> ..`, `a/out -> up/..` names nothing outside, and leads there.
//!
//! What is checked stands in `rules`, which [`Encoder`] and [`Decoder`] share.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::codec::{DecodeError, Reader, Write};
use crate::id::Hash;
use crate::limits::{MAX_MANIFEST_BYTES, MAX_PATH_BYTES};

mod rules;

use rules::{Rules, View, ViewWhat};

/// The first bytes of a manifest.
const MAGIC: &[u8; 16] = b"towpath manifest";
/// The version that this code writes and reads.
const VERSION: u8 = 1;
/// Bytes before the first entry.
const HEADER_BYTES: usize = MAGIC.len() + 1;

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path relative to the share's folder: components joined by `/`. Bytes, because Linux names
    /// are; no empty, `.` or `..` component, no NUL. Empty for the share's own folder, which comes
    /// first (spec C21).
    pub path: Vec<u8>,
    /// Permission bits, 0o777 at most. Those of a link mean nothing: written as 0o777, read as any.
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
        /// Relative to the link's folder, as `readlink` gives it; must stay inside and name an
        /// entry.
        target: Vec<u8>,
    },
}

/// The order of entries (spec C18): depth first, siblings by the bytes of their names. That is the
/// order of bytes with `/` below all others.
#[must_use]
pub fn compare_paths(left: &[u8], right: &[u8]) -> Ordering {
    left.iter().map(rules::sort_key).cmp(right.iter().map(rules::sort_key))
}

/// The path that the target of the link at `entry_path` names, relative to the share's folder
/// (empty: that folder itself; spec C25). `None` if no such link is allowed: its target is empty,
/// absolute or too long, leaves the share, or has `..` behind a name. Whether the path leads to an
/// entry, maybe through links, is for the caller to look up; a link is an entry too.
#[must_use]
pub fn resolve_link(entry_path: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let climbs = rules::check_target(entry_path, target).ok()?;
    let folders: Vec<&[u8]> = entry_path.split(|byte| *byte == b'/').collect();
    let stays = folders.len().checked_sub(1 + climbs)?;
    let names = target.split(|byte| *byte == b'/');
    let names = names.filter(|name| !matches!(*name, b"" | b"." | b".."));
    let path: Vec<&[u8]> = folders[..stays].iter().copied().chain(names).collect();
    Some(path.join(&b'/'))
}

/// Encodes entries (spec C22). Refuses what a [`Decoder`] would refuse.
#[derive(Debug, Default)]
pub struct Encoder {
    rules: Rules,
    /// Bytes of the entries so far.
    entry_bytes: u64,
}

impl Encoder {
    /// An encoder at the start of a manifest.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes of the header, first of all.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        [MAGIC.as_slice(), &[VERSION]].concat()
    }

    /// Appends the bytes of `entry` to `out`. An entry that is refused leaves the encoder and `out`
    /// as they were: it can be left out.
    ///
    /// # Errors
    /// Names the rule that the entry breaks.
    pub fn entry(&mut self, entry: &Entry, out: &mut Vec<u8>) -> Result<(), DecodeError> {
        let view = View::of(entry);
        let bytes = self.entry_bytes + view.encoded_bytes();
        // spec C22b: nothing is written that a reader refuses
        if HEADER_BYTES as u64 + bytes > MAX_MANIFEST_BYTES {
            return Err(DecodeError("manifest_too_long"));
        }
        self.rules.take(&view)?;
        self.entry_bytes = bytes;
        view.encode(out);
        Ok(())
    }

    /// Chunks and bytes of all files so far.
    #[must_use]
    pub const fn sums(&self) -> (u64, u64) {
        (self.rules.chunks, self.rules.bytes)
    }
}

/// Decodes a manifest that arrives in pieces, and checks every rule that can be checked entry by
/// entry (order, duplicates, depth, names, no link as a parent, sums). That a link's target is an
/// entry is checked by the store, which can look it up.
///
/// It holds the bytes that were pushed and not yet decoded, one path, and a number for each folder
/// on it. Drain [`Decoder::next_entry`] after each push.
#[derive(Debug)]
pub struct Decoder {
    /// Length of the whole manifest.
    length: u64,
    /// Bytes pushed so far.
    received: u64,
    /// Bytes that came, from `start` on not yet decoded.
    buffer: Vec<u8>,
    start: usize,
    header_read: bool,
    rules: Rules,
    /// The first rule that was broken: nothing is decoded behind it.
    failed: Option<DecodeError>,
}

impl Decoder {
    /// A decoder for a manifest of this length.
    ///
    /// # Errors
    /// `manifest_too_long`.
    pub fn new(length_bytes: u64) -> Result<Self, DecodeError> {
        // spec C15b: bytes
        if length_bytes > MAX_MANIFEST_BYTES {
            return Err(DecodeError("manifest_too_long"));
        }
        Ok(Self {
            length: length_bytes,
            received: 0,
            buffer: Vec::new(),
            start: 0,
            header_read: false,
            rules: Rules::default(),
            failed: None,
        })
    }

    /// Takes the next bytes. More than the manifest's length are an error of the next `next_entry`.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if bytes.len() as u64 > self.length - self.received {
            self.failed = Some(DecodeError("trailing_bytes"));
            return;
        }
        self.received += bytes.len() as u64;
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next entry with the byte offset at which it stands and the number of its first chunk in
    /// the share; `None` when more bytes are needed or the end is reached.
    ///
    /// # Errors
    /// Names the rule that is broken, now and for ever.
    pub fn next_entry(&mut self) -> Result<Option<(u64, u64, Entry)>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let next = match self.decode_next() {
            Err(DecodeError("truncated")) if self.received < self.length => Ok(None),
            next => next,
        };
        // spec C27: the whole manifest is refused, for ever
        self.failed = next.as_ref().err().copied();
        next
    }

    /// Spec C15.
    fn decode_next(&mut self) -> Result<Option<(u64, u64, Entry)>, DecodeError> {
        if !self.header_read {
            let mut reader = Reader::new(&self.buffer);
            if reader.take(MAGIC.len())? != MAGIC {
                return Err(DecodeError("not_a_manifest"));
            }
            if reader.u8()? != VERSION {
                return Err(DecodeError("unknown_manifest_version"));
            }
            self.header_read = true;
            self.start = HEADER_BYTES;
        }
        let bytes = &self.buffer[self.start..];
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut reader = Reader::new(bytes);
        let view = View::decode(&mut reader)?;
        let offset = self.received - bytes.len() as u64;
        let first_chunk = self.rules.take(&view)?;
        self.start = self.buffer.len() - reader.remaining();
        Ok(Some((offset, first_chunk, view.to_entry())))
    }

    /// Ends the decoding, after the last entry was taken: chunks and bytes of all files.
    ///
    /// # Errors
    /// `truncated`, or the rule that was broken before.
    // spec C15c: it ends where its last entry ends
    pub fn finish(self) -> Result<(u64, u64), DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let whole =
            self.header_read && self.received == self.length && self.start == self.buffer.len();
        if whole {
            Ok((self.rules.chunks, self.rules.bytes))
        } else {
            Err(DecodeError("truncated"))
        }
    }
}

/// Decodes one entry alone, at a known offset: for a store that looks entries up. Returns how many
/// bytes it has. Of the rules it checks those of a single entry.
///
/// # Errors
/// Names the rule that is broken; `truncated` if `bytes` end before the entry does, which has at
/// most [`crate::limits::MAX_MANIFEST_ENTRY_BYTES`].
pub fn decode_entry(bytes: &[u8]) -> Result<(usize, Entry), DecodeError> {
    let mut reader = Reader::new(bytes);
    let view = View::decode(&mut reader)?;
    view.check()?;
    Ok((bytes.len() - reader.remaining(), view.to_entry()))
}

impl<'a> View<'a> {
    fn of(entry: &'a Entry) -> Self {
        let what = match &entry.what {
            What::Folder => ViewWhat::Folder,
            What::File { length_bytes, root } => {
                ViewWhat::File { length_bytes: *length_bytes, root: *root }
            }
            What::Link { target } => ViewWhat::Link { target },
        };
        Self { path: &entry.path, mode: entry.mode, mtime: entry.mtime, what }
    }

    fn to_entry(self) -> Entry {
        let what = match self.what {
            ViewWhat::Folder => What::Folder,
            ViewWhat::File { length_bytes, root } => What::File { length_bytes, root },
            ViewWhat::Link { target } => What::Link { target: target.to_vec() },
        };
        Entry { path: self.path.to_vec(), mode: self.mode, mtime: self.mtime, what }
    }

    /// Bounds every length before it is believed; copies nothing, because the end may not have come
    /// yet.
    fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let kind = reader.u8()?;
        if kind > 2 {
            return Err(DecodeError("unknown_entry_kind"));
        }
        let mode = reader.u16()?;
        let mtime = (reader.u64()?.cast_signed(), reader.u32()?);
        let path = string(reader, "path_too_long")?;
        let what = match kind {
            0 => ViewWhat::Folder,
            1 => ViewWhat::File { length_bytes: reader.u64()?, root: Hash(reader.array()?) },
            _ => ViewWhat::Link { target: string(reader, "link_too_long")? },
        };
        Ok(Self { path, mode, mtime, what })
    }

    fn encoded_bytes(&self) -> u64 {
        let what = match self.what {
            ViewWhat::Folder => 0,
            ViewWhat::File { .. } => 40,
            ViewWhat::Link { target } => 2 + target.len(),
        };
        (17 + self.path.len() + what) as u64
    }

    /// After the rules were checked, so that the strings fit their lengths.
    fn encode(&self, out: &mut Vec<u8>) {
        let kind = match self.what {
            ViewWhat::Folder => 0,
            ViewWhat::File { .. } => 1,
            ViewWhat::Link { .. } => 2,
        };
        out.put_u8(kind);
        out.put_u16(self.mode);
        out.put_u64(self.mtime.0.cast_unsigned());
        out.put_u32(self.mtime.1);
        out.put_bytes16(self.path);
        match self.what {
            ViewWhat::Folder => {}
            ViewWhat::File { length_bytes, root } => {
                out.put_u64(length_bytes);
                out.put(&root.0);
            }
            ViewWhat::Link { target } => out.put_bytes16(target),
        }
    }
}

/// A path or a target; `rule` names what a longer one breaks.
fn string<'a>(reader: &mut Reader<'a>, rule: &'static str) -> Result<&'a [u8], DecodeError> {
    let length = usize::from(reader.u16()?);
    if length > MAX_PATH_BYTES { Err(DecodeError(rule)) } else { reader.take(length) }
}

#[cfg(test)]
mod tests;
