//! The list of what a walk found, in two files: names (of any length) and stats (of one length), so
//! that the stat of entry `n` is read without reading the names before it. Two lists are equal if
//! nothing that was found has changed.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rustix::fs::Stat as SystemStat;

use crate::tree::Section;

/// Bytes of a stat in a list.
pub(crate) const STAT_BYTES: usize = 56;

/// What tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stat {
    pub(crate) size: u64,
    pub(crate) mtime: (i64, u32),
    pub(crate) ctime: (i64, u32),
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl Stat {
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let m = file.metadata()?;
        Ok(Self {
            size: m.size(),
            mtime: (m.mtime(), m.mtime_nsec() as u32),
            ctime: (m.ctime(), m.ctime_nsec() as u32),
            device: m.dev(),
            inode: m.ino(),
        })
    }

    pub(crate) fn from_system(stat: &SystemStat) -> Self {
        Self {
            size: stat.st_size as u64,
            mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
            ctime: (stat.st_ctime, stat.st_ctime_nsec as u32),
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Folder,
    File,
    /// A link with this target.
    Link(Vec<u8>),
}

/// One entry of a list. Of folders and links only the time of the last change is kept in `stat`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) path: Vec<u8>,
    pub(crate) mode: u16,
    pub(crate) found: Found,
    pub(crate) stat: Stat,
}

/// Writes a list.
#[derive(Debug)]
pub(crate) struct ListWriter {
    names: BufWriter<File>,
    stats: BufWriter<File>,
    names_length: u64,
    stats_length: u64,
}

/// A list on disk.
#[derive(Debug, Clone)]
pub(crate) struct List {
    pub(crate) names: Section,
    pub(crate) stats: Section,
}

impl ListWriter {
    pub(crate) fn new(names: File, stats: File) -> Self {
        let (names, stats) = (BufWriter::new(names), BufWriter::new(stats));
        Self { names, stats, names_length: 0, stats_length: 0 }
    }

    pub(crate) fn push(&mut self, entry: &Listed) -> io::Result<()> {
        let target: &[u8] = match &entry.found {
            Found::Folder | Found::File => &[],
            Found::Link(target) => target,
        };
        for text in [&entry.path, target] {
            let length = u16::try_from(text.len()).map_err(io::Error::other)?;
            self.names.write_all(&length.to_be_bytes())?;
            self.names.write_all(text)?;
            self.names_length += 2 + u64::from(length);
        }
        let mut bytes = [0; STAT_BYTES];
        let stat = &entry.stat;
        bytes[..8].copy_from_slice(&stat.size.to_be_bytes());
        bytes[8..16].copy_from_slice(&stat.mtime.0.to_be_bytes());
        bytes[16..20].copy_from_slice(&stat.mtime.1.to_be_bytes());
        bytes[20..28].copy_from_slice(&stat.ctime.0.to_be_bytes());
        bytes[28..32].copy_from_slice(&stat.ctime.1.to_be_bytes());
        bytes[32..40].copy_from_slice(&stat.device.to_be_bytes());
        bytes[40..48].copy_from_slice(&stat.inode.to_be_bytes());
        bytes[48..50].copy_from_slice(&entry.mode.to_be_bytes());
        bytes[50] = match entry.found {
            Found::Folder => 0,
            Found::File => 1,
            Found::Link(_) => 2,
        };
        self.stats.write_all(&bytes)?;
        self.stats_length += STAT_BYTES as u64;
        Ok(())
    }

    pub(crate) fn finish(self) -> io::Result<List> {
        let names = self.names.into_inner().map_err(io::IntoInnerError::into_error)?;
        let stats = self.stats.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(List {
            names: Section::whole(Arc::new(names), self.names_length),
            stats: Section::whole(Arc::new(stats), self.stats_length),
        })
    }
}

impl List {
    pub(crate) fn entries(&self) -> u64 {
        self.stats.length / STAT_BYTES as u64
    }

    /// Reads the list in order.
    pub(crate) fn read(&self) -> ListReader {
        let (names, stats) = (SectionReader::new(&self.names), SectionReader::new(&self.stats));
        ListReader {
            left: self.entries(),
            names: BufReader::new(names),
            stats: BufReader::new(stats),
        }
    }

    /// The stat of entry `ordinal`.
    pub(crate) fn stat(&self, ordinal: u64) -> io::Result<Stat> {
        let mut bytes = [0; STAT_BYTES];
        self.stats.read_exact_at(&mut bytes, ordinal * STAT_BYTES as u64)?;
        Ok(decode_stat(&bytes))
    }

    /// Whether both lists say the same.
    pub(crate) fn same(&self, other: &Self) -> io::Result<bool> {
        Ok(same_bytes(&self.stats, &other.stats)? && same_bytes(&self.names, &other.names)?)
    }
}

fn same_bytes(one: &Section, two: &Section) -> io::Result<bool> {
    const STEP: u64 = 64 * 1024;
    if one.length != two.length {
        return Ok(false);
    }
    let (mut a, mut b) = (vec![0; STEP as usize], vec![0; STEP as usize]);
    let mut at = 0;
    while at < one.length {
        let size = (one.length - at).min(STEP) as usize;
        one.read_exact_at(&mut a[..size], at)?;
        two.read_exact_at(&mut b[..size], at)?;
        if a[..size] != b[..size] {
            return Ok(false);
        }
        at += size as u64;
    }
    Ok(true)
}

fn decode_stat(bytes: &[u8; STAT_BYTES]) -> Stat {
    let long = |at: usize| {
        u64::from_be_bytes(*bytes[at..].first_chunk().expect("places are inside the record"))
    };
    let short = |at: usize| {
        u32::from_be_bytes(*bytes[at..].first_chunk().expect("places are inside the record"))
    };
    Stat {
        size: long(0),
        mtime: (long(8).cast_signed(), short(16)),
        ctime: (long(20).cast_signed(), short(28)),
        device: long(32),
        inode: long(40),
    }
}

/// Reads a list in order.
#[derive(Debug)]
pub(crate) struct ListReader {
    left: u64,
    names: BufReader<SectionReader>,
    stats: BufReader<SectionReader>,
}

impl ListReader {
    pub(crate) fn next(&mut self) -> io::Result<Option<Listed>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let path = self.text()?;
        let target = self.text()?;
        let mut bytes = [0; STAT_BYTES];
        self.stats.read_exact(&mut bytes)?;
        let found = match bytes[50] {
            0 => Found::Folder,
            1 => Found::File,
            2 => Found::Link(target),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        };
        let mode = u16::from_be_bytes([bytes[48], bytes[49]]);
        Ok(Some(Listed { path, mode, found, stat: decode_stat(&bytes) }))
    }

    fn text(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 2];
        self.names.read_exact(&mut length)?;
        let mut text = vec![0; usize::from(u16::from_be_bytes(length))];
        self.names.read_exact(&mut text)?;
        Ok(text)
    }
}

/// Reads a section from its beginning.
#[derive(Debug)]
pub(crate) struct SectionReader {
    section: Section,
    at: u64,
}

impl SectionReader {
    pub(crate) fn new(section: &Section) -> Self {
        Self { section: section.clone(), at: 0 }
    }
}

impl Read for SectionReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = (self.section.length - self.at).min(buffer.len() as u64) as usize;
        self.section.read_exact_at(&mut buffer[..size], self.at)?;
        self.at += size as u64;
        Ok(size)
    }
}
