//! The map of a program: file names, and for each function the regions of source that it is made
//! of, each with the counter, or the sum or difference of counters, that says how often it was
//! passed.

use std::collections::HashMap;

use super::profile::Counters;
use super::{Regions, Span, Words, md5};

/// What the file names of LLVM 18 and later are called (version 7, counted from 0).
const VERSION: u32 = 6;
/// The end column of a region that is only space between others.
const GAP: u64 = 1 << 31;

/// Adds the regions of a program, each with how often it was passed.
pub(super) fn read(
    map: &[u8],
    functions: &[u8],
    counters: &Counters,
    regions: &mut Regions,
) -> Result<(), String> {
    let files = file_names(map)?;
    let mut rest = Words(functions);
    while !rest.0.is_empty() {
        let start = rest.0.len();
        let name = rest.u64()?;
        let size = rest.u32()? as usize;
        let (shape, names) = (rest.u64()?, rest.u64()?);
        let mapping = rest.take(size)?;
        rest.take(align(start - rest.0.len()).min(rest.0.len()))?;
        let files = files.get(&names).ok_or("a function has no file names")?;
        let own = counters.get(&(name, shape)).map_or(&[][..], Vec::as_slice);
        function(mapping, files, own, regions)?;
    }
    Ok(())
}

/// Bytes up to the next multiple of eight.
const fn align(length: usize) -> usize {
    length.wrapping_neg() % 8
}

/// The lists of file names, by their hash.
fn file_names(map: &[u8]) -> Result<HashMap<u64, Vec<String>>, String> {
    let mut all = HashMap::new();
    let mut rest = Words(map);
    while !rest.0.is_empty() {
        let (_, size, _, version) = (rest.u32()?, rest.u32()? as usize, rest.u32()?, rest.u32()?);
        if version != VERSION {
            return Err(format!("its map has version {version}; only {VERSION} is known here"));
        }
        let blob = rest.take(size)?;
        rest.take(align(size).min(rest.0.len()))?;
        let mut words = Words(blob);
        let (count, _, compressed) = (words.leb_size()?, words.leb()?, words.leb()?);
        if compressed > 0 {
            return Err("its file names are compressed".into());
        }
        let mut names = Vec::new();
        for _ in 0..count {
            let length = words.leb_size()?;
            let name = String::from_utf8_lossy(words.take(length)?).into_owned();
            names.push(name);
        }
        all.insert(md5::low_half(blob), names);
    }
    Ok(all)
}

/// Reads one function.
fn function(
    mapping: &[u8],
    files: &[String],
    counters: &[u64],
    regions: &mut Regions,
) -> Result<(), String> {
    let mut words = Words(mapping);
    let mut own = Vec::new();
    for _ in 0..words.leb()? {
        let file = files.get(words.leb_size()?).ok_or("a file has no name")?;
        own.push(file);
    }
    let mut expressions = Vec::new();
    for _ in 0..words.leb()? {
        expressions.push((words.leb()?, words.leb()?));
    }
    let values = Values { counters, expressions: &expressions };
    for file in own {
        let of_file = regions.entry(file.clone()).or_default();
        let mut line = 0;
        for _ in 0..words.leb()? {
            let head = words.leb()?;
            let counted = head & 3 != 0 || head == 0;
            if !counted && head >> 3 == 4 {
                // A branch has two counters of its own.
                words.leb()?;
                words.leb()?;
            } else if !counted && head & 4 == 0 && head >> 3 != 2 {
                return Err("a region is of an unknown kind".into());
            }
            line += words.leb()?;
            let (column, lines, end_column) = (words.leb()?, words.leb()?, words.leb()?);
            if !counted || end_column & GAP != 0 {
                continue;
            }
            let span = Span {
                line: narrow(line)?,
                column: narrow(column)?,
                end_line: narrow(line + lines)?,
                end_column: narrow(end_column)?,
            };
            let passed = values.of(head, 0).max(0);
            *of_file.entry(span).or_default() += u64::try_from(passed).unwrap_or(u64::MAX);
        }
    }
    Ok(())
}

fn narrow(number: u64) -> Result<u32, String> {
    u32::try_from(number).map_err(|_| "a place is too far".into())
}

struct Values<'a> {
    counters: &'a [u64],
    expressions: &'a [(u64, u64)],
}

impl Values<'_> {
    /// The value of a counter, a difference, or a sum.
    fn of(&self, reference: u64, depth: usize) -> i128 {
        let number = usize::try_from(reference >> 2).unwrap_or(usize::MAX);
        let both = |sign: i128| {
            let Some((left, right)) = self.expressions.get(number) else { return 0 };
            if depth > self.expressions.len() {
                return 0;
            }
            self.of(*left, depth + 1) + sign * self.of(*right, depth + 1)
        };
        match reference & 3 {
            1 => self.counters.get(number).map_or(0, |count| i128::from(*count)),
            2 => both(-1),
            3 => both(1),
            _ => 0,
        }
    }
}
