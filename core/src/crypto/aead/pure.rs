//! The AEADs in pure Rust: for builds without `std`, for the browser, and as the other provider's
//! test.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadInOut, KeyInit};
use alloc::boxed::Box;
use chacha20poly1305::ChaCha20Poly1305;

use super::Forged;
use crate::limits::TAG_BYTES;
use crate::session::Suite;

/// The expanded key. Boxed, so that a session that has not begun is small.
pub(super) enum Key {
    AesGcm(Box<Aes256Gcm>),
    ChaChaPoly(ChaCha20Poly1305),
}

impl Key {
    pub(super) fn new(suite: Suite, bytes: &[u8; 32]) -> Self {
        match suite {
            Suite::AesGcm => Self::AesGcm(Box::new(Aes256Gcm::new(bytes.into()))),
            Suite::ChaChaPoly => Self::ChaChaPoly(ChaCha20Poly1305::new(bytes.into())),
        }
    }

    pub(super) fn seal(&self, nonce: &[u8; 12], ad: &[u8], data: &mut [u8]) -> [u8; TAG_BYTES] {
        let tag = match self {
            Self::AesGcm(key) => key.encrypt_inout_detached(nonce.into(), ad, data.into()),
            Self::ChaChaPoly(key) => key.encrypt_inout_detached(nonce.into(), ad, data.into()),
        };
        tag.expect("a record is far below the longest message of the AEAD").into()
    }

    /// `sealed` has room for its tag: the caller checked.
    pub(super) fn open_in_place(
        &self,
        nonce: &[u8; 12],
        ad: &[u8],
        sealed: &mut [u8],
    ) -> Result<(), Forged> {
        let (data, tag) = sealed.split_last_chunk_mut::<TAG_BYTES>().ok_or(Forged)?;
        self.open(nonce, ad, data.into(), tag)
    }

    /// `data` and `out` are equally long: the caller checked.
    pub(super) fn open_into(
        &self,
        nonce: &[u8; 12],
        ad: &[u8],
        data: &[u8],
        tag: &[u8; TAG_BYTES],
        out: &mut [u8],
    ) -> Result<(), Forged> {
        self.open(nonce, ad, InOutBuf::new(data, out).map_err(|_| Forged)?, tag)
    }

    fn open(
        &self,
        nonce: &[u8; 12],
        ad: &[u8],
        data: InOutBuf<'_, '_, u8>,
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), Forged> {
        let result = match self {
            Self::AesGcm(key) => key.decrypt_inout_detached(nonce.into(), ad, data, tag.into()),
            Self::ChaChaPoly(key) => key.decrypt_inout_detached(nonce.into(), ad, data, tag.into()),
        };
        result.map_err(|_| Forged)
    }
}
