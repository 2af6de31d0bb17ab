//! The sections of a 64-bit ELF file that hold the map.

use super::Words;

/// File names, and functions with their regions.
pub(super) fn sections(bytes: &[u8]) -> Result<(&[u8], &[u8]), String> {
    if !bytes.starts_with(b"\x7FELF\x02\x01") {
        return Err("it is no 64-bit little-endian ELF program".into());
    }
    let at = |offset: usize| Words(bytes.get(offset..).unwrap_or_default());
    let table = at(0x28).size()?;
    let two = |offset: usize| at(offset).array().map(|two| usize::from(u16::from_le_bytes(two)));
    let (size, count, names) = (two(0x3A)?, two(0x3C)?, two(0x3E)?);
    let section = |number: usize| -> Result<(usize, &[u8]), String> {
        let mut words = at(table + number * size);
        let name = words.u32()? as usize;
        words.take(20)?;
        let (offset, length) = (words.size()?, words.size()?);
        let bytes = bytes.get(offset..).and_then(|rest| rest.get(..length));
        // Sections without bytes in the file have an offset and a length all the same.
        Ok((name, bytes.unwrap_or_default()))
    };
    let (_, names) = section(names)?;
    let (mut map, mut functions) = (None, None);
    for number in 0..count {
        let (name, bytes) = section(number)?;
        match names.get(name..).and_then(|rest| rest.split(|byte| *byte == 0).next()) {
            Some(b"__llvm_covmap") => map = Some(bytes),
            Some(b"__llvm_covfun") => functions = Some(bytes),
            _ => {}
        }
    }
    let sections = map.zip(functions);
    sections.ok_or_else(|| "it was not built with -C instrument-coverage".into())
}
