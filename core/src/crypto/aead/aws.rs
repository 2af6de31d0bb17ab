//! The AEADs of aws-lc-rs: several times as fast where the processor has vectors.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::Forged;
use crate::limits::TAG_BYTES;
use crate::session::Suite;

/// The expanded key; the library erases it when it is dropped.
pub(super) struct Key(LessSafeKey);

impl Key {
    pub(super) fn new(suite: Suite, bytes: &[u8; 32]) -> Self {
        let algorithm = match suite {
            Suite::AesGcm => &AES_256_GCM,
            Suite::ChaChaPoly => &CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, bytes).expect("both algorithms take 32 bytes");
        Self(LessSafeKey::new(key))
    }

    pub(super) fn seal(&self, nonce: &[u8; 12], ad: &[u8], data: &mut [u8]) -> [u8; TAG_BYTES] {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = self
            .0
            .seal_in_place_separate_tag(nonce, Aad::from(ad), data)
            .expect("a record is far below the longest message of the AEAD");
        tag.as_ref().try_into().expect("both tags have 16 bytes")
    }

    pub(super) fn open_in_place(
        &self,
        nonce: &[u8; 12],
        ad: &[u8],
        sealed: &mut [u8],
    ) -> Result<(), Forged> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_in_place(nonce, Aad::from(ad), sealed).map(|_| ()).map_err(|_| Forged)
    }

    pub(super) fn open_into(
        &self,
        nonce: &[u8; 12],
        ad: &[u8],
        data: &[u8],
        tag: &[u8; TAG_BYTES],
        out: &mut [u8],
    ) -> Result<(), Forged> {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        self.0.open_separate_gather(nonce, Aad::from(ad), data, tag, out).map_err(|_| Forged)
    }
}
