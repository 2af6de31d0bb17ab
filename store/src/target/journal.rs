//! What of a download is on disk, in a file that only grows.
//!
//! A header names the download; records of 16 bytes follow, each with a checksum over its place and
//! its content, so that a torn tail, or a stale block of an earlier life, is seen and cut off. A
//! *written* record says that a run of chunks, with its tree nodes, was handed to the system: that
//! survives the death of the process, not of the machine. A *synced* record says that everything
//! before a place in the journal was on the disk when it was appended. After an end without a final
//! sync the chunks between the last synced place and the tail are only *written*: they are hashed
//! again.
//!
//! ```text
//! header  "towpath journal1" ‖ id, 32 bytes ‖ 12 zero bytes ‖ CRC-32 of all before
//! record  kind u8 ‖ space u8 ‖ 2 zero bytes ‖ first u32 ‖ count u32
//!         ‖ CRC-32 of place u64 and these 12 bytes
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

use towpath_core::id::{FileId, Space};
use towpath_core::limits::MAX_SHARE_CHUNKS;

use crate::bits::Bits;
use crate::lock;

const MAGIC: &[u8; 16] = b"towpath journal1";
const HEADER_BYTES: usize = 64;
const RECORD_BYTES: usize = 16;
const WRITTEN: u8 = 1;
const SYNCED: u8 = 2;

/// The journal of one download, open for appending.
#[derive(Debug)]
pub(crate) struct Journal {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    /// Records so far.
    records: u64,
    /// How many of them were synced when last asked.
    synced: u64,
}

/// What a journal said: per space the chunks that were written, and those of them that were synced.
#[derive(Debug, Default, Clone)]
pub(crate) struct Replay {
    sets: [(Bits, Bits); 2],
}

impl Replay {
    /// The chunks of `space`, which has so many: all that were written, and those that were synced.
    pub(crate) fn sets(&self, space: Space, chunks: u64) -> (Bits, Bits) {
        let (written, synced) = &self.sets[space as usize];
        (written.resized(chunks), synced.resized(chunks))
    }

    /// The same without knowing how many chunks there are.
    pub(crate) fn all(&self, space: Space) -> (Bits, Bits) {
        self.sets[space as usize].clone()
    }

    pub(crate) fn is_empty_in(&self, space: Space) -> bool {
        self.sets[space as usize].0.ones() == 0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sets.iter().all(|(written, _)| written.ones() == 0)
    }
}

impl Journal {
    /// A new, empty journal in `file`.
    pub(crate) fn create(file: File, id: FileId) -> io::Result<Self> {
        file.set_len(0)?;
        file.write_all_at(&header(id), 0)?;
        Ok(Self { inner: Mutex::new(Inner { file, records: 0, synced: 0 }) })
    }

    /// Reads a journal and cuts off its torn tail; `None` if it is not one of this download.
    pub(crate) fn open(file: File, id: FileId) -> io::Result<Option<(Self, Replay)>> {
        let mut head = [0; HEADER_BYTES];
        if file.metadata()?.len() < HEADER_BYTES as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut head, 0)?;
        if head != header(id) {
            return Ok(None);
        }
        // Twice: a synced record speaks of the records before its mark, which may stand before
        // others.
        let (mut synced, mut lengths) = (0, [0; 2]);
        let records = for_each(&file, |_, record| match record {
            Record::Written { space, first, count } => {
                lengths[space] = u64::max(lengths[space], u64::from(first) + u64::from(count));
            }
            Record::Synced { mark } => synced = u64::max(synced, mark),
        })?;
        let mut replay = Replay { sets: lengths.map(|len| (Bits::new(len), Bits::new(len))) };
        for_each(&file, |at, record| {
            if let Record::Written { space, first, count } = record {
                let (written, safe) = &mut replay.sets[space];
                let run = u64::from(first)..u64::from(first) + u64::from(count);
                if at < synced {
                    safe.set_run(run.clone());
                }
                written.set_run(run);
            }
        })?;
        file.set_len(place(records))?;
        // The mark stands before its own record: nothing but marks after it is as good as synced.
        let synced = if synced + 1 == records { records } else { synced };
        Ok(Some((Self { inner: Mutex::new(Inner { file, records, synced }) }, replay)))
    }

    /// Marks a chunk as written.
    pub(crate) fn written(&self, space: Space, index: u64) -> io::Result<()> {
        lock(&self.inner).append(WRITTEN, space as u8, narrow(index), 1)
    }

    /// The place up to which everything was written by now; to be given to [`Self::synced`].
    pub(crate) fn mark(&self) -> u64 {
        lock(&self.inner).records
    }

    /// Whether everything up to now has been marked as synced.
    pub(crate) fn is_synced(&self) -> bool {
        let inner = lock(&self.inner);
        inner.synced >= inner.records
    }

    /// Marks everything before `mark` as synced.
    pub(crate) fn synced(&self, mark: u64) -> io::Result<()> {
        let mut inner = lock(&self.inner);
        inner.append(SYNCED, 0, (mark >> 32) as u32, mark as u32)?;
        // The record itself needs no sync: without it a little is hashed again.
        inner.synced = if inner.records == mark + 1 { inner.records } else { mark };
        Ok(())
    }

    /// Replaces the journal by a short one that says: these are synced, and of the other spaces
    /// what the journal said before. `temporary` and `name` are paths in the same folder.
    pub(crate) fn rewrite(
        &self,
        temporary: &Path,
        name: &Path,
        id: FileId,
        spaces: [(Bits, Bits); 2],
    ) -> io::Result<()> {
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(temporary)?;
        let fresh = Self::create(file, id)?;
        let mut inner = fresh.inner.into_inner().expect("nobody else holds a new lock");
        let mut bytes = Vec::new();
        for (space, (_, synced)) in spaces.iter().enumerate() {
            inner.push_runs(space as u8, synced, &mut bytes);
        }
        let mark = inner.records;
        bytes.extend(encode(SYNCED, 0, (mark >> 32) as u32, mark as u32, mark));
        inner.records += 1;
        for (space, (written, synced)) in spaces.iter().enumerate() {
            inner.push_runs(space as u8, &written.without(synced), &mut bytes);
        }
        inner.file.write_all_at(&bytes, HEADER_BYTES as u64)?;
        inner.file.sync_all()?;
        std::fs::rename(temporary, name)?;
        inner.synced = mark + 1;
        *lock(&self.inner) = inner;
        Ok(())
    }
}

impl Inner {
    fn append(&mut self, kind: u8, space: u8, first: u32, count: u32) -> io::Result<()> {
        // At its place, not at the end: a record that the disk took only in part is overwritten.
        let record = encode(kind, space, first, count, self.records);
        self.file.write_all_at(&record, place(self.records))?;
        self.records += 1;
        Ok(())
    }

    fn push_runs(&mut self, space: u8, bits: &Bits, bytes: &mut Vec<u8>) {
        for (first, count) in bits.runs() {
            bytes.extend(encode(WRITTEN, space, narrow(first), narrow(count), self.records));
            self.records += 1;
        }
    }
}

fn place(record: u64) -> u64 {
    HEADER_BYTES as u64 + record * RECORD_BYTES as u64
}

fn narrow(number: u64) -> u32 {
    u32::try_from(number).expect("a share has fewer than 2^32 chunks")
}

fn header(id: FileId) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..16].copy_from_slice(MAGIC);
    bytes[16..48].copy_from_slice(&id.0);
    let sum = crc32(&bytes[..60]);
    bytes[60..].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn encode(kind: u8, space: u8, first: u32, count: u32, at: u64) -> [u8; RECORD_BYTES] {
    let mut bytes = [0; RECORD_BYTES];
    bytes[0] = kind;
    bytes[1] = space;
    bytes[4..8].copy_from_slice(&first.to_be_bytes());
    bytes[8..12].copy_from_slice(&count.to_be_bytes());
    let sum = record_sum(&bytes, at);
    bytes[12..].copy_from_slice(&sum.to_be_bytes());
    bytes
}

fn record_sum(record: &[u8; RECORD_BYTES], at: u64) -> u32 {
    let mut summed = [0; 20];
    summed[..8].copy_from_slice(&at.to_be_bytes());
    summed[8..].copy_from_slice(&record[..12]);
    crc32(&summed)
}

enum Record {
    Written { space: usize, first: u32, count: u32 },
    Synced { mark: u64 },
}

/// Reads all good records; how many there are.
fn for_each(file: &File, mut visit: impl FnMut(u64, Record)) -> io::Result<u64> {
    let mut left = file.metadata()?.len().saturating_sub(HEADER_BYTES as u64);
    let mut block = vec![0; 4096 * RECORD_BYTES];
    let mut records = 0;
    while left >= RECORD_BYTES as u64 {
        let size = left.min(block.len() as u64) as usize / RECORD_BYTES * RECORD_BYTES;
        file.read_exact_at(&mut block[..size], place(records))?;
        for bytes in block[..size].as_chunks::<RECORD_BYTES>().0 {
            let Some(record) = decode(bytes, records) else { return Ok(records) };
            visit(records, record);
            records += 1;
        }
        left -= size as u64;
    }
    Ok(records)
}

fn decode(record: &[u8; RECORD_BYTES], at: u64) -> Option<Record> {
    let number =
        |i: usize| u32::from_be_bytes([record[i], record[i + 1], record[i + 2], record[i + 3]]);
    if number(12) != record_sum(record, at) {
        return None;
    }
    let (space, first, count) = (usize::from(record[1]), number(4), number(8));
    match record[0] {
        WRITTEN if space < 2 && u64::from(first) + u64::from(count) <= MAX_SHARE_CHUNKS => {
            Some(Record::Written { space, first, count })
        }
        SYNCED => {
            let mark = u64::from(first) << 32 | u64::from(count);
            // Of what comes behind it a mark knows nothing.
            (mark <= at).then_some(Record::Synced { mark })
        }
        _ => None,
    }
}

/// CRC-32 (ISO-HDLC), bit by bit: twenty bytes a chunk need no table.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests;
