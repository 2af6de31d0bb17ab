//! A raw profile: the counters of one run.
//!
//! Version 10, of LLVM 19 and later: a header of sixteen numbers, build ids, one record of 64 bytes
//! for each function, the counters.

use std::collections::HashMap;

use super::Words;

/// The counters of each function, by the hash of its name and of its shape; several runs together.
pub(super) type Counters = HashMap<(u64, u64), Vec<u64>>;

const MAGIC: u64 = u64::from_be_bytes(*b"\xFFlprofr\x81");
const VERSION: u64 = 10;
/// Flags in the highest byte of the version.
const VERSION_BITS: u64 = (1 << 56) - 1;
const RECORD_BYTES: u64 = 64;

/// Adds the counters of a run.
pub(super) fn read(bytes: &[u8], counters: &mut Counters) -> Result<(), String> {
    let mut words = Words(bytes);
    if words.u64()? != MAGIC {
        return Err("it is no raw profile".into());
    }
    let version = words.u64()? & VERSION_BITS;
    if version != VERSION {
        return Err(format!("it has version {version}; only {VERSION} is known here"));
    }
    let (ids, records, before) = (words.size()?, words.size()?, words.size()?);
    let count = words.size()?;
    words.take(4 * 8)?;
    let delta = words.u64()?;
    words.take(5 * 8)?;
    words.take(ids)?;
    let mut data = Words(words.take(records * RECORD_BYTES as usize)?);
    words.take(before)?;
    let all = words.take(count * 8)?;
    for record in 0..records as u64 {
        let mut words = Words(data.take(RECORD_BYTES as usize)?);
        let key = (words.u64()?, words.u64()?);
        let pointer = words.u64()?;
        words.take(3 * 8)?;
        let own = words.u32()? as usize;
        // Pointers are relative to their own record, `delta` to the first one.
        let start = pointer.wrapping_sub(delta.wrapping_sub(record * RECORD_BYTES));
        let start = usize::try_from(start).map_err(|_| "a counter is nowhere")?;
        let own = all.get(start..).and_then(|rest| rest.get(..own * 8));
        let own = own.ok_or("a counter is nowhere")?.as_chunks::<8>().0;
        let sums = counters.entry(key).or_insert_with(|| vec![0; own.len()]);
        for (sum, counter) in sums.iter_mut().zip(own) {
            *sum = sum.saturating_add(u64::from_le_bytes(*counter));
        }
    }
    Ok(())
}
