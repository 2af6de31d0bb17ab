//! Hashing files on several threads, the results in order.
//!
//! A job is a stretch of one large file or a handful of small files. Each piece opens its file,
//! checks that it is the one that was listed before and after reading, and gives the hashes of its
//! chunks.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, OnceLock};
use std::thread::Scope;

use rustix::fs::{Advice, SeekFrom};
use towpath_core::id::Hash;
use towpath_core::limits::CHUNK_BYTES;
use towpath_core::merkle::{chunk_count, chunk_hash, chunk_length};

use super::base::Base;
use super::list::Stat;
use crate::error::Error;
use crate::limits::{HASH_READ_BYTES, MAX_HASH_THREADS, PROGRESS_INTERVAL};
use crate::lock;

/// Some chunks of one file.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) path: Vec<u8>,
    pub(crate) stat: Stat,
    /// First chunk, and how many.
    pub(crate) first: u64,
    pub(crate) count: u64,
}

struct Job {
    number: u64,
    pieces: Vec<Piece>,
}

/// The hashes of the chunks of each piece of a job.
type Done = Result<Vec<Vec<Hash>>, Error>;

/// What the threads share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Bytes hashed so far.
    pub(crate) bytes: AtomicU64,
    stop: AtomicBool,
}

/// A pool of threads that hash.
pub(crate) struct Pool<'a> {
    shared: &'a Shared,
    jobs: Option<Sender<Job>>,
    done: Receiver<(u64, Done)>,
    next_job: u64,
    next_done: u64,
    early: BTreeMap<u64, Done>,
}

impl<'a> Pool<'a> {
    /// Starts the threads.
    pub(crate) fn start(scope: &'a Scope<'a, '_>, base: &'a Base, shared: &'a Shared) -> Self {
        let (jobs, queue) = channel::<Job>();
        let (results, done) = channel();
        let queue = std::sync::Arc::new(Mutex::new(queue));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..threads.min(MAX_HASH_THREADS) {
            let (queue, results) = (queue.clone(), results.clone());
            scope.spawn(move || {
                let mut buffer = vec![0; HASH_READ_BYTES];
                loop {
                    // The lock is held while waiting, and another thread waits for the lock.
                    let job = lock(&queue).recv();
                    let Ok(job) = job else { return };
                    let pieces = job.pieces.iter();
                    let done = pieces.map(|piece| hash(base, piece, &mut buffer, shared)).collect();
                    if results.send((job.number, done)).is_err() {
                        return;
                    }
                }
            });
        }
        Self { shared, jobs: Some(jobs), done, next_job: 0, next_done: 0, early: BTreeMap::new() }
    }

    /// Jobs that are under way or waiting to be taken.
    pub(crate) fn under_way(&self) -> u64 {
        self.next_job - self.next_done
    }

    pub(crate) fn submit(&mut self, pieces: Vec<Piece>) {
        let job = Job { number: self.next_job, pieces };
        self.next_job += 1;
        let jobs = self.jobs.as_ref().expect("the queue is open until the pool is dropped");
        // A thread that died of a panic shows when its result is awaited.
        let _ = jobs.send(job);
    }

    /// The next job's hashes, in order. `waiting` is called while nothing comes.
    pub(crate) fn next(&mut self, mut waiting: impl FnMut()) -> Done {
        loop {
            if let Some(done) = self.early.remove(&self.next_done) {
                self.next_done += 1;
                return done;
            }
            match self.done.recv_timeout(PROGRESS_INTERVAL) {
                Ok((number, done)) => {
                    self.early.insert(number, done);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new("io", "the threads that hash ended early"));
                }
            }
            waiting();
        }
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
    }
}

fn hash(
    base: &Base,
    piece: &Piece,
    buffer: &mut [u8],
    shared: &Shared,
) -> Result<Vec<Hash>, Error> {
    let cannot = |error: &io::Error| Error::io("read", &base.on_disk(&piece.path), error);
    let changed = || Error::changed(&base.on_disk(&piece.path));
    let file = base.open(&piece.path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => changed(),
        _ => cannot(&error),
    })?;
    if Stat::of(&file).map_err(|error| cannot(&error))? != piece.stat {
        return Err(changed());
    }
    let hashes = read_and_hash(&file, piece, buffer, shared);
    let hashes = hashes.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => changed(),
        _ => cannot(&error),
    })?;
    if Stat::of(&file).map_err(|error| cannot(&error))? != piece.stat {
        return Err(changed());
    }
    Ok(hashes)
}

fn read_and_hash(
    file: &File,
    piece: &Piece,
    buffer: &mut [u8],
    shared: &Shared,
) -> io::Result<Vec<Hash>> {
    let length = piece.stat.size;
    let end = (piece.first + piece.count).min(chunk_count(length));
    let mut hashes = Vec::with_capacity(piece.count as usize);
    let mut holes = if piece.count > 1 { Holes::of(file, length) } else { Holes::none() };
    let start = piece.first * CHUNK_BYTES as u64;
    let bytes = std::num::NonZeroU64::new(piece.count * CHUNK_BYTES as u64);
    if piece.count > 1 {
        // Only advice: the disk may begin with the end of the stretch while we hash its beginning.
        let _ = rustix::fs::fadvise(file, start, bytes, Advice::WillNeed);
    }
    let mut chunk = piece.first;
    while chunk < end && !shared.stop.load(Ordering::Relaxed) {
        if chunk + 1 < chunk_count(length) && holes.covers(file, chunk) {
            hashes.push(zero_chunk());
            shared.bytes.fetch_add(CHUNK_BYTES as u64, Ordering::Relaxed);
            chunk += 1;
            continue;
        }
        let last = end.min(chunk + (buffer.len() / CHUNK_BYTES) as u64);
        let offset = chunk * CHUNK_BYTES as u64;
        let size = (length - offset).min((last - chunk) * CHUNK_BYTES as u64) as usize;
        file.read_exact_at(&mut buffer[..size], offset)?;
        for data in buffer[..size].chunks(CHUNK_BYTES) {
            debug_assert_eq!(data.len(), chunk_length(length, chunk));
            hashes.push(chunk_hash(length, data));
            chunk += 1;
        }
        shared.bytes.fetch_add(size as u64, Ordering::Relaxed);
    }
    Ok(hashes)
}

/// Where a sparse file has nothing, so that nothing needs to be read.
struct Holes {
    is_sparse: bool,
    /// No data before this offset, as far as it was looked for.
    data_from: Option<u64>,
    asked_at: u64,
}

impl Holes {
    fn of(file: &File, length: u64) -> Self {
        use std::os::unix::fs::MetadataExt;
        let blocks = file.metadata().map_or(u64::MAX, |metadata| metadata.blocks());
        Self { is_sparse: blocks.saturating_mul(512) < length, data_from: None, asked_at: 0 }
    }

    fn none() -> Self {
        Self { is_sparse: false, data_from: None, asked_at: 0 }
    }

    fn covers(&mut self, file: &File, chunk: u64) -> bool {
        if !self.is_sparse {
            return false;
        }
        let (start, end) = (chunk * CHUNK_BYTES as u64, (chunk + 1) * CHUNK_BYTES as u64);
        if self.data_from.is_none_or(|from| from <= start || self.asked_at > start) {
            self.asked_at = start;
            self.data_from = match rustix::fs::seek(file, SeekFrom::Data(start)) {
                Ok(from) => Some(from),
                // No data from here to the end.
                Err(rustix::io::Errno::NXIO) => Some(u64::MAX),
                Err(_) => {
                    self.is_sparse = false;
                    return false;
                }
            };
        }
        self.data_from.is_some_and(|from| from >= end)
    }
}

/// The hash of a whole chunk of zeros.
fn zero_chunk() -> Hash {
    static ZERO: OnceLock<Hash> = OnceLock::new();
    *ZERO.get_or_init(|| chunk_hash(2 * CHUNK_BYTES as u64, &vec![0; CHUNK_BYTES]))
}
