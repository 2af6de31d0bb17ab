//! A running hash of everything that happens, so that two runs of a seed can be compared to the
//! byte.

/// The hash. Not for cryptography: it is fast, and any difference changes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trace(u64);

impl Trace {
    /// Adds a number.
    pub const fn number(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }

    /// Adds bytes that were sent: their length and their end. That end is a tag over all of them,
    /// or over the last record of several; every record has its turn, since few are sent together.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        if let Some(tag) = bytes.last_chunk::<8>() {
            self.number(u64::from_le_bytes(*tag));
        }
    }

    /// What it is so far.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}
