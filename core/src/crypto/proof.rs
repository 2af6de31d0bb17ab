//! The proof that opens a share: each side shows that it knows the secret, bound to this session.
//!
//! `HMAC-SHA-256(secret, "towpath proof v1" ‖ role ‖ locator ‖ handshake hash)` (RFC 2104), role 1
//! for the requester and 2 for the seeder. The handshake hash is the same only for the two ends of
//! one session, so that a proof that somebody saw is worth nothing elsewhere.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::id::{Locator, Secret};

/// Role byte of whoever opens a share.
pub const REQUESTER: u8 = 1;
/// Role byte of whoever has it.
pub const SEEDER: u8 = 2;

/// The proof of `role` for the share under `locator`. Public shares use [`Secret::PUBLIC`].
// spec M6
#[must_use]
pub fn make(secret: &Secret, role: u8, locator: Locator, handshake_hash: &[u8; 32]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose()).expect("HMAC takes every length");
    mac.update(b"towpath proof v1");
    mac.update(&[role]);
    mac.update(&locator.0);
    mac.update(handshake_hash);
    mac.finalize().into_bytes().into()
}

/// Whether `proof` is the one of `role`; takes the same time whatever it is.
// spec M7c
#[must_use]
pub fn check(
    secret: &Secret,
    role: u8,
    locator: Locator,
    handshake_hash: &[u8; 32],
    proof: &[u8; 32],
) -> bool {
    make(secret, role, locator, handshake_hash).ct_eq(proof).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Spec M6
    #[test]
    fn a_proof_is_bound_to_all_that_it_names() {
        let secret = Secret::new([1; 32]);
        let proof = make(&secret, REQUESTER, Locator([2; 32]), &[3; 32]);
        assert!(check(&secret, REQUESTER, Locator([2; 32]), &[3; 32], &proof));
        assert!(!check(&secret, SEEDER, Locator([2; 32]), &[3; 32], &proof));
        assert!(!check(&secret, REQUESTER, Locator([4; 32]), &[3; 32], &proof));
        assert!(!check(&secret, REQUESTER, Locator([2; 32]), &[4; 32], &proof));
        assert!(!check(&Secret::PUBLIC, REQUESTER, Locator([2; 32]), &[3; 32], &proof));
    }
}
