//! Limits of the store, with unit and reason.

use std::time::Duration;

use towpath_core::id::{Descriptor, Kind};
use towpath_core::limits::{
    CHUNK_BYTES, MAX_FILE_BYTES, MAX_MANIFEST_BYTES, MAX_PATH_BYTES, MAX_SHARE_CHUNKS,
};

use crate::error::Error;

/// Entries between two points of the index that is kept in memory: 16,000 points for a million
/// entries.
pub(crate) const INDEX_STRIDE: u64 = 64;
/// Decoded stretches of a manifest kept in memory: downloads and reads go mostly in order, and each
/// receiver has its own place.
pub(crate) const INDEX_CACHE_BLOCKS: usize = 8;
/// The longest encoded entry: path, link target and the fixed fields.
pub(crate) const MAX_ENTRY_BYTES: usize = 2 * MAX_PATH_BYTES + 128;
/// Files of a share that are kept open for reading or writing.
pub(crate) const OPEN_FILES: usize = 32;
/// Folders of a target that are kept open.
pub(crate) const OPEN_FOLDERS: usize = 32;
/// Links that may be followed to find where a link leads: what Linux allows (path_resolution(7)).
pub(crate) const MAX_LINK_HOPS: usize = 40;
/// Entries looked up to see where the links of a manifest lead: most links need one, a link through
/// other links one for each folder on its way. Without a limit chains of deep links could keep a
/// receiver busy for days.
pub(crate) const LINK_LOOKS_PER_ENTRY: u64 = 4;
/// The same for a manifest of any size.
pub(crate) const LINK_LOOKS: u64 = 100_000;

/// What one hashing job reads: large enough to amortise opening the file, small enough that two
/// threads share one file evenly.
pub(crate) const HASH_JOB_BYTES: u64 = 4 * 1024 * 1024;
/// Small files that one hashing job takes together.
pub(crate) const HASH_JOB_FILES: usize = 64;
/// One read while hashing.
pub(crate) const HASH_READ_BYTES: usize = 1024 * 1024;
/// Threads that hash: beyond these the disk or the memory bus is the limit.
pub(crate) const MAX_HASH_THREADS: usize = 8;
/// Hashing jobs under way, and entries that wait for them: bounds memory.
pub(crate) const MAX_HASH_JOBS: usize = 32;
/// Entries that wait for a hash before them.
pub(crate) const MAX_WAITING_ENTRIES: usize = 4 * HASH_JOB_FILES;
/// Between two reports of progress.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// Two changes of a file within this time may carry the same time stamp: the coarsest tick of
/// common kernels (HZ=100), twice.
pub(crate) const TIMESTAMP_TICK: Duration = Duration::from_millis(20);

/// All entries of the cache together.
pub(crate) const MAX_CACHE_BYTES: u64 = 1024 * 1024 * 1024;
/// The longest header of a cache entry: paths of a command line (ARG_MAX is 2 MiB).
pub(crate) const MAX_CACHE_HEADER_BYTES: u64 = 4 * 1024 * 1024;
/// A temporary file of the cache that is older than this was left by a crash.
pub(crate) const STALE_TEMPORARY: Duration = Duration::from_secs(24 * 3600);

/// Nothing is allocated for a length that no share may have.
pub(crate) fn check_length(descriptor: Descriptor) -> Result<(), Error> {
    let most = match descriptor.kind {
        Kind::File => MAX_FILE_BYTES,
        Kind::Manifest => MAX_MANIFEST_BYTES,
    };
    let most = most.min(MAX_SHARE_CHUNKS * CHUNK_BYTES as u64);
    let length = descriptor.length_bytes;
    if length > most {
        return Err(Error::new(
            "manifest",
            format!("{length} bytes are more than the {most} that a share may have"),
        ));
    }
    Ok(())
}
