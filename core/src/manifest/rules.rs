//! What a manifest must obey: rules of an entry alone (`View::check`), and rules between entries
//! (`Rules::take`).
//!
//! Between entries only one path is remembered, the last one, with the lengths of those of its
//! prefixes that are folders. Because entries come in depth-first order, the parent of the next
//! entry is one of these prefixes, or it is missing.

use alloc::vec::Vec;

use crate::codec::DecodeError;
use crate::id::Hash;
use crate::limits::{
    MAX_FILE_BYTES, MAX_MANIFEST_ENTRIES, MAX_NAME_BYTES, MAX_PATH_BYTES, MAX_PATH_DEPTH,
    MAX_SHARE_CHUNKS,
};
use crate::merkle::{ZERO_HASH, chunk_count};

/// An entry that borrows its bytes: what is checked, encoded and decoded without a copy.
// spec K9: this is all that is told of an entry
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) path: &'a [u8],
    pub(super) mode: u16,
    pub(super) mtime: (i64, u32),
    pub(super) what: ViewWhat<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum ViewWhat<'a> {
    Folder,
    File { length_bytes: u64, root: Hash },
    Link { target: &'a [u8] },
}

impl View<'_> {
    /// The rules of an entry alone (spec C16, C17, C20, C23, C24).
    pub(super) fn check(&self) -> Result<(), DecodeError> {
        if self.mode > 0o777 {
            return Err(DecodeError("bad_mode"));
        }
        if self.mtime.1 > 999_999_999 {
            return Err(DecodeError("bad_nanoseconds"));
        }
        match self.what {
            ViewWhat::Folder if self.path.is_empty() => Ok(()),
            ViewWhat::Folder => check_path(self.path),
            ViewWhat::File { length_bytes, root } => {
                if length_bytes > MAX_FILE_BYTES {
                    return Err(DecodeError("file_too_long"));
                }
                if length_bytes == 0 && root != ZERO_HASH {
                    return Err(DecodeError("root_of_empty_file"));
                }
                check_path(self.path)
            }
            ViewWhat::Link { target } => {
                check_path(self.path)?;
                check_target(self.path, target).map(drop)
            }
        }
    }
}

/// A path of names, below the share's folder (spec C17).
fn check_path(path: &[u8]) -> Result<(), DecodeError> {
    if path.is_empty() {
        return Err(DecodeError("path_empty"));
    }
    // spec C17d: lengths and depth
    if path.len() > MAX_PATH_BYTES {
        return Err(DecodeError("path_too_long"));
    }
    // spec C17b
    if path[0] == b'/' {
        return Err(DecodeError("path_absolute"));
    }
    if path.contains(&0) {
        return Err(DecodeError("path_nul"));
    }
    let mut depth = 0;
    for name in path.split(|byte| *byte == b'/') {
        depth += 1;
        // spec C17c
        match name {
            b"" => return Err(DecodeError("path_empty_component")),
            b".." if planted!(FollowDots) => {}
            b"." | b".." => return Err(DecodeError("path_dot_component")),
            name if name.len() > MAX_NAME_BYTES => return Err(DecodeError("name_too_long")),
            _ => {}
        }
    }
    if depth > MAX_PATH_DEPTH { Err(DecodeError("path_too_deep")) } else { Ok(()) }
}

/// A link's target; how many folders it climbs (spec C23, C24).
pub(super) fn check_target(path: &[u8], target: &[u8]) -> Result<usize, DecodeError> {
    if target.is_empty() {
        return Err(DecodeError("link_empty"));
    }
    if target.len() > MAX_PATH_BYTES {
        return Err(DecodeError("link_too_long"));
    }
    if target[0] == b'/' {
        return Err(DecodeError("link_absolute"));
    }
    if target.contains(&0) {
        return Err(DecodeError("link_nul"));
    }
    let depth = path.iter().filter(|byte| **byte == b'/').count();
    let mut climbs = 0;
    let mut named = false;
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            // Behind a name that is a link, `..` would climb from where that link leads.
            b".." if named => return Err(DecodeError("link_dot_dot_after_name")),
            b".." => climbs += 1,
            _ => named = true,
        }
    }
    if climbs > depth { Err(DecodeError("link_leaves_share")) } else { Ok(climbs) }
}

/// `/` below all other bytes makes the order of bytes the order of a walk, depth first.
pub(super) const fn sort_key(byte: &u8) -> u8 {
    // NUL, which would compare as equal, is in no path.
    if *byte == b'/' { 0 } else { *byte }
}

/// The rules between entries, and the sums.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) chunks: u64,
    pub(super) bytes: u64,
    pub(super) entries: u64,
    /// The path of the last entry.
    pub(super) last: Vec<u8>,
    /// Lengths of the prefixes of `last` that are folders, itself included, in rising order.
    pub(super) open: Vec<usize>,
}

impl Rules {
    /// Checks the next entry and remembers it; the number of its first chunk in the share. An entry
    /// that is refused changes nothing.
    pub(super) fn take(&mut self, entry: &View<'_>) -> Result<u64, DecodeError> {
        entry.check()?;
        // spec C15b: entries
        if self.entries >= MAX_MANIFEST_ENTRIES {
            return Err(DecodeError("too_many_entries"));
        }
        let open = self.place(entry.path)?;
        let first_chunk = self.chunks;
        if let ViewWhat::File { length_bytes, .. } = entry.what {
            // spec C20b: the chunks of all files
            let chunks = first_chunk + chunk_count(length_bytes);
            if chunks > MAX_SHARE_CHUNKS {
                return Err(DecodeError("too_many_chunks"));
            }
            self.chunks = chunks;
            self.bytes += length_bytes;
        }
        self.entries += 1;
        self.open.truncate(open);
        if matches!(entry.what, ViewWhat::Folder) && !entry.path.is_empty() {
            self.open.push(entry.path.len());
        }
        self.last.clear();
        self.last.extend_from_slice(entry.path);
        Ok(first_chunk)
    }

    /// Whether `path` may follow the last entry (spec C18, C19); how many of the open folders it
    /// lies in.
    fn place(&self, path: &[u8]) -> Result<usize, DecodeError> {
        let same = path.iter().zip(&self.last).take_while(|(a, b)| a == b).count();
        match (path.get(same), self.last.get(same)) {
            _ if self.entries == 0 => {}
            (None, None) => return Err(DecodeError("duplicate")),
            (None, Some(_)) => return Err(DecodeError("wrong_order")),
            (Some(new), Some(old)) if sort_key(new) < sort_key(old) => {
                return Err(DecodeError("wrong_order"));
            }
            (Some(_), _) => {}
        }
        let is_above = |folder: usize| folder <= same && path.get(folder) == Some(&b'/');
        let open = self.open.iter().rposition(|folder| is_above(*folder)).map_or(0, |i| i + 1);
        let parent = path.iter().rposition(|byte| *byte == b'/');
        let deepest = open.checked_sub(1).map(|i| self.open[i]);
        if parent == deepest {
            return Ok(open);
        }
        let under_last = is_above(self.last.len());
        let last_is_folder = self.open.last() == Some(&self.last.len());
        if under_last && planted!(FollowLink) {
            return Ok(open);
        }
        if under_last && !last_is_folder {
            return Err(DecodeError("parent_not_folder"));
        }
        Err(DecodeError("parent_missing"))
    }
}
