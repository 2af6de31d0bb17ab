//! One direction of a session: a key, a counter, and the rekey that both sides do at the same
//! record.
//!
//! A record is `length u16 ‖ Noise transport message`. This module knows the message alone; the
//! length prefix belongs to the stream ([`crate::session`]).

use core::fmt;

use crate::crypto::aead::{Forged, Key};
use crate::limits::{REKEY_RECORDS, TAG_BYTES};
use crate::session::Suite;

/// Seals or opens the records of one direction, in order.
pub struct RecordCipher {
    key: Key,
    /// Records so far; the nonce of the next one. Rekeying does not reset it (Noise, section 11.3).
    counter: u64,
    rekey_every: u64,
}

impl fmt::Debug for RecordCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordCipher({:?}, record {})", self.key, self.counter)
    }
}

impl RecordCipher {
    /// The cipher of a direction that has not carried anything yet.
    #[must_use]
    pub fn new(suite: Suite, key: &[u8; 32]) -> Self {
        Self { key: Key::new(suite, key), counter: 0, rekey_every: REKEY_RECORDS }
    }

    /// The same with another number of records between rekeys: for tests and vectors, because the
    /// protocol's number is [`REKEY_RECORDS`].
    ///
    /// # Panics
    /// If `records` is 0, or if this direction has carried a record already.
    #[must_use]
    pub fn with_rekey_every(mut self, records: u64) -> Self {
        assert!(records > 0 && self.counter == 0, "rekeying is fixed before the first record");
        self.rekey_every = records;
        self
    }

    /// How many records this direction has carried.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.counter
    }

    /// Encrypts the next record in place and answers its tag.
    #[must_use]
    pub fn seal(&mut self, data: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = self.key.seal(self.counter, &[], data);
        if planted!(NeverRekey) {
            self.rekey_every = u64::MAX;
        }
        self.advance();
        tag
    }

    /// Decrypts the next record, tag last, in place; answers the plaintext's length.
    ///
    /// # Errors
    /// [`Forged`]; this cipher is then as it was.
    // spec K13: each counter opens one record, once
    pub fn open_in_place(&mut self, sealed: &mut [u8]) -> Result<usize, Forged> {
        let length = self.key.open_in_place(self.counter, &[], sealed)?;
        self.advance();
        Ok(length)
    }

    /// Decrypts the next record, tag last, into `out`, which is exactly as long as the plaintext.
    ///
    /// # Errors
    /// [`Forged`]; this cipher is then as it was, and `out` holds nothing of use.
    pub fn open_into(&mut self, sealed: &[u8], out: &mut [u8]) -> Result<(), Forged> {
        self.key.open_into(self.counter, &[], sealed, out)?;
        self.advance();
        Ok(())
    }

    fn advance(&mut self) {
        if planted!(ReuseNonce) && self.counter == 40 {
            return;
        }
        self.counter += 1;
        assert!(self.counter < u64::MAX, "a direction never carries 2^64 records");
        // spec S20: the counter goes on
        if self.counter.is_multiple_of(self.rekey_every) {
            self.key = self.key.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::vec::Vec;

    use super::*;

    fn seal(cipher: &mut RecordCipher, text: &[u8]) -> Vec<u8> {
        let mut record = text.to_vec();
        let tag = cipher.seal(&mut record);
        record.extend_from_slice(&tag);
        record
    }

    #[test]
    fn both_sides_rekey_at_the_same_record() {
        for suite in [Suite::AesGcm, Suite::ChaChaPoly] {
            let new = || RecordCipher::new(suite, &[9; 32]).with_rekey_every(3);
            let (mut sender, mut receiver) = (new(), new());
            let mut never = RecordCipher::new(suite, &[9; 32]);
            for number in 0..10_u8 {
                let mut record = seal(&mut sender, &[number; 5]);
                assert_eq!(record == seal(&mut never, &[number; 5]), number < 3);
                assert_eq!(receiver.open_in_place(&mut record), Ok(5));
                assert_eq!(record[..5], [number; 5]);
            }
            assert_eq!(receiver.records(), 10);
        }
    }

    #[test]
    fn no_two_records_have_the_same_nonce() {
        for suite in [Suite::AesGcm, Suite::ChaChaPoly] {
            let mut cipher = RecordCipher::new(suite, &[9; 32]);
            let tags: BTreeSet<_> = (0..1_000).map(|_| cipher.seal(&mut [0; 8])).collect();
            assert_eq!((tags.len(), cipher.records()), (1_000, 1_000));
        }
    }

    #[test]
    fn a_forged_record_changes_nothing() {
        let mut sender = RecordCipher::new(Suite::ChaChaPoly, &[1; 32]);
        let mut receiver = RecordCipher::new(Suite::ChaChaPoly, &[1; 32]);
        let record = seal(&mut sender, b"abc");
        let mut bad = record.clone();
        bad[0] ^= 1;
        let mut out = [0; 3];
        assert_eq!(receiver.open_into(&bad, &mut out), Err(Forged));
        assert_eq!(receiver.open_into(&record, &mut out), Ok(()));
        assert_eq!(&out, b"abc");
        assert_eq!(receiver.open_into(&record, &mut out), Err(Forged), "replayed");
    }
}
