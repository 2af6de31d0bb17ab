//! Reading and writing wire values: big-endian, bounded, and never past the end.
//!
//! A [`Reader`] refuses instead of panicking, and a length is checked against its limit and against
//! the bytes that are really there before anything is allocated for it.

use alloc::vec::Vec;
use core::fmt;

/// Why bytes could not be decoded: one stable `snake_case` word that names the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError(pub &'static str);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for DecodeError {}

/// Reads big-endian values from the front of a slice.
#[derive(Debug, Clone)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader over `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.0.len()
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// `truncated` if there are fewer.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(DecodeError("truncated"))?;
        self.0 = tail;
        Ok(head)
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// `truncated`.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(DecodeError("truncated"))?;
        self.0 = tail;
        Ok(*head)
    }

    /// The next byte.
    ///
    /// # Errors
    /// `truncated`.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// The next two bytes.
    ///
    /// # Errors
    /// `truncated`.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// The next four bytes.
    ///
    /// # Errors
    /// `truncated`.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// The next eight bytes.
    ///
    /// # Errors
    /// `truncated`.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A byte string behind a u16 length of at most `max_bytes`.
    ///
    /// # Errors
    /// `too_long` or `truncated`.
    pub fn bytes16(&mut self, max_bytes: usize) -> Result<&'a [u8], DecodeError> {
        let len = usize::from(self.u16()?);
        if len > max_bytes {
            return Err(DecodeError("too_long"));
        }
        self.take(len)
    }

    /// A UTF-8 string behind a u16 length of at most `max_bytes`.
    ///
    /// # Errors
    /// `too_long`, `truncated` or `not_utf8`.
    pub fn str16(&mut self, max_bytes: usize) -> Result<&'a str, DecodeError> {
        core::str::from_utf8(self.bytes16(max_bytes)?).map_err(|_| DecodeError("not_utf8"))
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// `trailing_bytes` if anything is left.
    pub const fn finish(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError("trailing_bytes")) }
    }
}

/// Appends big-endian values to a vector.
pub trait Write {
    /// Appends raw bytes.
    fn put(&mut self, bytes: &[u8]);

    /// Appends one byte.
    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    /// Appends two bytes.
    fn put_u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    /// Appends four bytes.
    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    /// Appends eight bytes.
    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }

    /// Appends a byte string behind its u16 length.
    ///
    /// # Panics
    /// If it is longer than 65,535 bytes: the caller's limit should have been lower.
    fn put_bytes16(&mut self, bytes: &[u8]) {
        let len = u16::try_from(bytes.len()).expect("caller keeps strings below their limit");
        self.put_u16(len);
        self.put(bytes);
    }
}

impl Write for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Write for bytes::BytesMut {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_byte_string_has_its_limit_and_no_less() {
        for (length, limit, taken) in [(0, 0, true), (3, 3, true), (4, 3, false), (3, 4, true)] {
            let mut out = Vec::new();
            out.put_bytes16(&alloc::vec![b'a'; length]);
            let mut reader = Reader::new(&out);
            let bytes = reader.bytes16(limit);
            assert_eq!(bytes.map(<[u8]>::len), if taken { Ok(length) } else { TOO_LONG });
            let text = Reader::new(&out).str16(limit);
            assert_eq!(text.map(str::len), if taken { Ok(length) } else { TOO_LONG });
            assert_eq!(reader.finish().is_ok(), taken || length == 0);
        }
        assert_eq!(Reader::new(&[0, 2, b'a']).bytes16(9), Err(DecodeError("truncated")));
        assert_eq!(Reader::new(&[0, 1, 0xFF]).str16(9), Err(DecodeError("not_utf8")));
    }

    #[test]
    fn an_error_reads_as_the_rule_that_was_broken() {
        assert_eq!(DecodeError("too_long").to_string(), "too_long");
    }

    const TOO_LONG: Result<usize, DecodeError> = Err(DecodeError("too_long"));
}
