//! The two AEADs of the cipher suites, with the nonces that Noise gives them.
//!
//! A nonce is four zero bytes and the 64-bit counter, big-endian for AES-GCM and little-endian for
//! ChaCha20-Poly1305 (Noise specification, sections 12.3 and 12.4). Which library does the work is
//! decided at compile time; both pass the same vectors.

#[cfg(feature = "aws-lc-rs")]
mod aws;
#[cfg(any(test, not(feature = "aws-lc-rs")))]
mod pure;

use core::fmt;

use crate::limits::TAG_BYTES;
use crate::session::Suite;

#[cfg(feature = "aws-lc-rs")]
use aws as provider;
#[cfg(not(feature = "aws-lc-rs"))]
use pure as provider;

/// The nonce that Noise keeps for `Rekey()` (specification, section 4.2).
const REKEY_NONCE: u64 = u64::MAX;

/// Bytes that do not belong to the tag that came with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forged;

impl fmt::Display for Forged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the authentication tag does not match")
    }
}

impl core::error::Error for Forged {}

/// A key of one of the two AEADs.
pub struct Key {
    suite: Suite,
    key: provider::Key,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?}, ..)", self.suite)
    }
}

impl Key {
    /// Makes a key ready for use. The caller erases its own copy of the bytes.
    #[must_use]
    pub fn new(suite: Suite, bytes: &[u8; 32]) -> Self {
        Self { suite, key: provider::Key::new(suite, bytes) }
    }

    /// Encrypts `data` in place and answers its tag. `data` is far below the limits of both AEADs.
    #[must_use]
    pub fn seal(&self, counter: u64, ad: &[u8], data: &mut [u8]) -> [u8; TAG_BYTES] {
        self.key.seal(&nonce(self.suite, counter), ad, data)
    }

    /// Decrypts `sealed`, whose last 16 bytes are the tag, in place; answers the plaintext's
    /// length.
    ///
    /// # Errors
    /// [`Forged`] if the tag is missing or wrong; `sealed` then holds nothing of use.
    pub fn open_in_place(
        &self,
        counter: u64,
        ad: &[u8],
        sealed: &mut [u8],
    ) -> Result<usize, Forged> {
        let length = sealed.len().checked_sub(TAG_BYTES).ok_or(Forged)?;
        self.key.open_in_place(&nonce(self.suite, counter), ad, sealed)?;
        Ok(length)
    }

    /// Decrypts `sealed`, whose last 16 bytes are the tag, into `out`.
    ///
    /// # Errors
    /// [`Forged`] if the tag is missing or wrong, or if `out` is not exactly as long as the
    /// plaintext; `out` then holds nothing of use.
    pub fn open_into(
        &self,
        counter: u64,
        ad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), Forged> {
        let (data, tag) = sealed.split_last_chunk::<TAG_BYTES>().ok_or(Forged)?;
        if data.len() != out.len() {
            return Err(Forged);
        }
        self.key.open_into(&nonce(self.suite, counter), ad, data, tag, out)
    }

    /// The key that follows this one: Noise `Rekey()`, the first 32 bytes of 32 encrypted zeros.
    // spec S20: Noise Rekey()
    #[must_use]
    pub fn next(&self) -> Self {
        let mut bytes = [0; 32];
        let _ = self.seal(REKEY_NONCE, &[], &mut bytes);
        let next = Self::new(self.suite, &bytes);
        zeroize::Zeroize::zeroize(&mut bytes);
        next
    }
}

// spec S17: the counter's end differs with the suite
fn nonce(suite: Suite, counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    let bytes = match suite {
        Suite::AesGcm => counter.to_be_bytes(),
        Suite::ChaChaPoly => counter.to_le_bytes(),
    };
    nonce[4..].copy_from_slice(&bytes);
    nonce
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    fn both() -> [Key; 2] {
        [Key::new(Suite::AesGcm, &[7; 32]), Key::new(Suite::ChaChaPoly, &[7; 32])]
    }

    #[test]
    fn what_is_sealed_opens_both_ways() {
        for key in both() {
            let mut sealed = *b"through the canal";
            let tag = key.seal(3, b"ad", &mut sealed);
            let mut whole = Vec::from(sealed);
            whole.extend_from_slice(&tag);
            let mut out = [0; 17];
            key.open_into(3, b"ad", &whole, &mut out).unwrap();
            assert_eq!(&out, b"through the canal");
            assert_eq!(key.open_in_place(3, b"ad", &mut whole), Ok(17));
            assert_eq!(&whole[..17], b"through the canal");
        }
    }

    #[test]
    fn a_forgery_reads_as_one() {
        assert_eq!(alloc::format!("{Forged}"), "the authentication tag does not match");
    }

    #[test]
    fn every_changed_bit_is_noticed() {
        for key in both() {
            let mut whole = [1, 2, 3, 4, 5].to_vec();
            let tag = key.seal(0, &[], &mut whole);
            whole.extend_from_slice(&tag);
            for bit in 0..whole.len() * 8 {
                let mut bad = whole.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(key.open_into(0, &[], &bad, &mut [0; 5]), Err(Forged));
                assert_eq!(key.open_in_place(0, &[], &mut bad), Err(Forged));
            }
            assert_eq!(key.open_into(1, &[], &whole, &mut [0; 5]), Err(Forged));
            assert_eq!(key.open_into(0, b"x", &whole, &mut [0; 5]), Err(Forged));
            assert_eq!(key.open_into(0, &[], &whole, &mut [0; 4]), Err(Forged));
            assert_eq!(key.open_in_place(0, &[], &mut [0; 15]), Err(Forged));
        }
    }

    #[test]
    fn the_providers_agree() {
        for suite in [Suite::AesGcm, Suite::ChaChaPoly] {
            for length in [0, 1, 15, 16, 17, 63, 64, 65, 1_000, 65_519] {
                let key = [length as u8; 32];
                let counter = 0x0102_0304_0506_0708 + length as u64;
                let plain: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
                let mut one = plain.clone();
                let mut other = plain.clone();
                let one_tag = Key::new(suite, &key).seal(counter, b"ad", &mut one);
                let reference = pure::Key::new(suite, &key);
                let other_tag = reference.seal(&nonce(suite, counter), b"ad", &mut other);
                assert_eq!((&one, one_tag), (&other, other_tag));
                one.extend_from_slice(&one_tag);
                let mut out = vec![0; length];
                let (data, nonce) = (&one[..length], nonce(suite, counter));
                reference.open_into(&nonce, b"ad", data, &one_tag, &mut out).unwrap();
                assert_eq!(out, plain);
                reference.open_in_place(&nonce, b"ad", &mut one).unwrap();
                assert_eq!(&one[..length], &plain[..]);
            }
        }
    }

    #[test]
    fn rekeying_gives_another_key_and_both_sides_the_same() {
        for key in both() {
            let mut one = [0; 4];
            let mut other = [0; 4];
            let tag = key.next().seal(0, &[], &mut one);
            assert_eq!(key.next().seal(0, &[], &mut other), tag);
            assert_ne!(key.seal(0, &[], &mut [0; 4]), tag);
        }
    }
}
