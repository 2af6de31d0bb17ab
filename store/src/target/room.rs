//! Whether there is room.

use std::os::fd::AsFd;
use std::path::Path;

use crate::error::{Error, human_bytes};

/// What a download still needs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Need {
    pub(super) bytes: u64,
    /// Files, folders and links to be made.
    pub(super) entries: u64,
}

/// Refuses what cannot fit in the file system of `folder`, which people know as `path`.
pub(super) fn check(folder: impl AsFd, path: &Path, need: Need) -> Result<(), Error> {
    let stat = rustix::fs::fstatvfs(folder).map_err(Error::at("look at", path))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if need.bytes > free {
        let (need, free) = (human_bytes(need.bytes), human_bytes(free));
        let at = path.display();
        return Err(Error::new(
            "disk_full",
            format!("disk full: need {need} in {at}, {free} free"),
        ));
    }
    // File systems without a fixed number of files say 0.
    if stat.f_files > 0 && need.entries > stat.f_favail {
        let (need, free, at) = (need.entries, stat.f_favail, path.display());
        let message = format!("disk full: need {need} files and folders in {at}, {free} free");
        return Err(Error::new("disk_full", message));
    }
    Ok(())
}

/// Bytes that a file takes on a file system of such blocks.
pub(super) fn on_disk(length_bytes: u64, block_bytes: u64) -> u64 {
    length_bytes.next_multiple_of(block_bytes.max(1))
}
