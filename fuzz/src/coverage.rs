//! Which places of the source were reached: reads what `-C instrument-coverage` leaves, so that
//! nothing but Rust is needed.
//!
//! A program that was built so carries a map from regions of source to counters, and writes the
//! counters to a *raw profile* when it ends. Both formats belong to LLVM and are read here as far
//! as the compiler in use writes them; another version is refused with a sentence.
//!
//! | module | what it does |
//! |---|---|
//! | `elf` | the two sections of a program |
//! | `mapping` | functions, their regions and the counters that count them |
//! | `profile` | the counters |
//! | `report` | regions and lines of each file, and what no one reached |

mod elf;
mod mapping;
mod md5;
mod profile;
mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use report::{Ceiling, Figures, Report};

/// A stretch of source: begin and end, line and column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// First line, from 1.
    pub line: u32,
    /// Its column.
    pub column: u32,
    /// Last line.
    pub end_line: u32,
    /// Its column, the first one that does not belong to it.
    pub end_column: u32,
}

/// By file, how often each region was passed, all copies of a generic function together.
pub type Regions = BTreeMap<String, BTreeMap<Span, u64>>;

/// Reads programs and profiles of any number of runs of them.
///
/// # Errors
/// A file cannot be read, or is of a version that is not known.
pub fn read(programs: &[PathBuf], profiles: &[PathBuf]) -> Result<Regions, String> {
    let mut counters = profile::Counters::new();
    for path in profiles {
        profile::read(&load(path)?, &mut counters)
            .map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let mut regions = Regions::new();
    for path in programs {
        let bytes = load(path)?;
        let sections = elf::sections(&bytes);
        sections
            .and_then(|(map, functions)| mapping::read(map, functions, &counters, &mut regions))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(regions)
}

fn load(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Little-endian numbers from the front of a slice.
#[derive(Debug, Clone, Copy)]
struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let (head, tail) = self.0.split_at_checked(n).ok_or("it ends too early")?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (head, tail) = self.0.split_first_chunk().ok_or("it ends too early")?;
        self.0 = tail;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn size(&mut self) -> Result<usize, String> {
        usize::try_from(self.u64()?).map_err(|_| "a length is too large".to_owned())
    }

    /// A number in pieces of seven bits (LEB128).
    fn leb(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number is too long".into())
    }

    fn leb_size(&mut self) -> Result<usize, String> {
        usize::try_from(self.leb()?).map_err(|_| "a number is too large".to_owned())
    }
}
