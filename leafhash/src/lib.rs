//! SHA-256 of many independent messages of one length at once.
//!
//! One SHA-256 is a chain: each of its 64 rounds waits for the one before, and a processor that
//! could do several things at a time does one. The leaves of a Merkle tree do not wait for each
//! other, and neither do the nodes of one level, so that several are hashed side by side:
//!
//! | backend | how | what the processor needs |
//! |---|---|---|
//! | [`Backend::Avx512`] | sixteen messages, each in a lane of 512-bit vectors | AVX-512 F, BW |
//! | [`Backend::ShaNi`] | two messages in turn with the SHA instructions | SHA, SSE4.1 |
//! | [`Backend::Avx2`] | eight messages, each in a lane of 256-bit vectors | AVX2 |
//! | [`Backend::Portable`] | one after the other with the crate `sha2` | – |
//!
//! The best one is found when the program runs, without `std`. What does not fill a backend's lanes
//! goes to the next one: a lane that runs empty costs as much as a full one.
//!
//! This is the only crate that is shipped with `unsafe` code, all of it in the module `x86`:
//! vector loads and stores, each behind a slice of the right length, and the calls of functions
//! that need a processor's feature, each behind the check for it.

#![no_std]

use sha2::{Digest, Sha256};

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "vector intrinsics, and calls behind a check of the processor")]
mod x86;

#[cfg(test)]
mod tests;

/// Bytes that SHA-256 compresses at a time.
const BLOCK_BYTES: usize = 64;

/// A way to hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Sixteen lanes.
    Avx512,
    /// Two messages in turn with the processor's SHA instructions.
    ShaNi,
    /// Eight lanes.
    Avx2,
    /// One after the other.
    Portable,
}

impl Backend {
    /// All of them, the best first.
    pub const ALL: [Self; 4] = [Self::Avx512, Self::ShaNi, Self::Avx2, Self::Portable];

    /// The best one that this processor has.
    #[must_use]
    pub fn detect() -> Self {
        let mut all = Self::ALL.into_iter();
        all.find(|backend| backend.is_available()).unwrap_or(Self::Portable)
    }

    /// Whether this processor, and its operating system, can do it.
    #[must_use]
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        return x86::is_available(self);
        #[cfg(not(target_arch = "x86_64"))]
        return self == Self::Portable;
    }

    /// As [`hash_leaves`], with this backend.
    ///
    /// # Panics
    /// As [`hash_leaves`], and if the backend is not available.
    pub fn hash_leaves(self, data: &[u8], leaf_bytes: usize, out: &mut [[u8; 32]]) {
        assert!(self.is_available(), "the processor lacks what {self:?} needs");
        assert!(leaf_bytes > 0, "a leaf has at least one byte");
        assert_eq!(out.len(), data.len().div_ceil(leaf_bytes), "one hash for each leaf");
        // What fills blocks is hashed side by side; the end, or odd leaves, one by one.
        let whole =
            if leaf_bytes.is_multiple_of(BLOCK_BYTES) { data.len() / leaf_bytes } else { 0 };
        let (data, rest) = data.split_at(whole * leaf_bytes);
        let (out, rest_out) = out.split_at_mut(whole);
        #[cfg(target_arch = "x86_64")]
        x86::hash_whole(self, data, leaf_bytes, out);
        #[cfg(not(target_arch = "x86_64"))]
        hash_each(data, leaf_bytes, out);
        hash_each(rest, leaf_bytes, rest_out);
    }
}

/// Hashes each run of `leaf_bytes` bytes of `data` into one of `out`; the last run is as short as
/// it is. Nothing of `data` leaves nothing to hash. Leaves that are no multiple of 64 bytes long
/// gain nothing over `sha2`.
///
/// # Panics
/// If `leaf_bytes` is zero, or if `out` has not as many hashes as `data` has runs.
pub fn hash_leaves(data: &[u8], leaf_bytes: usize, out: &mut [[u8; 32]]) {
    Backend::detect().hash_leaves(data, leaf_bytes, out);
}

/// One after the other.
fn hash_each(data: &[u8], leaf_bytes: usize, out: &mut [[u8; 32]]) {
    for (leaf, hash) in data.chunks(leaf_bytes).zip(out) {
        *hash = Sha256::digest(leaf).into();
    }
}
