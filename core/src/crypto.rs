//! AEADs, Noise handshakes, records, and the proof that opens a private share.
//!
//! [`aead`] is the one place that touches a cipher; it has two providers with the same behaviour
//! (pure Rust, and aws-lc-rs behind the feature of that name). [`noise`] runs a handshake and ends
//! in two [`record::RecordCipher`]s, one for each direction. Key material is erased when it is
//! dropped, as far as the libraries underneath allow.

pub mod aead;
pub mod noise;
pub mod proof;
pub mod record;

use x25519_dalek::{PublicKey, StaticSecret};

use crate::id::PeerId;

/// The peer that a secret key belongs to: its X25519 public key (RFC 7748).
// spec S1: a peer is this key
#[must_use]
pub fn public_key(secret_key: &[u8; 32]) -> PeerId {
    PeerId(PublicKey::from(&StaticSecret::from(*secret_key)).to_bytes())
}
