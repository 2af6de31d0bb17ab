//! The token that a login yields: who it is, until when, and an HMAC over both. Nothing is stored.
//!
//! `base64url(peer 32 ‖ instance u64 ‖ expiry u64 ‖ HMAC-SHA-256(key, "towpath token v1" ‖ the 48
//! bytes before))` without padding, 107 characters; the expiry is in seconds since 1970. It works
//! after a restart with the same key, and its form is nobody's business but the tracker's.

use alloc::string::String;
use alloc::vec::Vec;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::codec::{Reader, Write};
use crate::id::{Instance, PeerId};
use crate::limits::MAX_RELAY_TOKEN_BYTES;
use crate::time::UnixTime;

const LABEL: &[u8] = b"towpath token v1";
const CLAIM_BYTES: usize = 48;

/// The token of `instance`, good until `expiry`.
pub(super) fn make(token_key: &[u8; 32], instance: &Instance, expiry: UnixTime) -> String {
    let mut bytes = Vec::with_capacity(CLAIM_BYTES + 32);
    bytes.put(&instance.peer.0);
    bytes.put_u64(instance.number);
    bytes.put(&expiry.0.to_be_bytes());
    let tag = mac(token_key, &bytes).finalize().into_bytes();
    bytes.put(&tag);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Checks a token that a login yielded: whose it is, if it is ours and not expired.
#[must_use]
// spec R11 and T6: nothing but the key is remembered of a token
pub fn check_token(token_key: &[u8; 32], token: &str, now: UnixTime) -> Option<Instance> {
    if token.len() > MAX_RELAY_TOKEN_BYTES {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (claim, tag) = bytes.split_at_checked(CLAIM_BYTES)?;
    mac(token_key, claim).verify_slice(tag).ok()?;
    let mut reader = Reader::new(claim);
    let peer = PeerId(reader.array().ok()?);
    let number = reader.u64().ok()?;
    let expiry = i64::from_be_bytes(reader.array().ok()?);
    (now.0 < expiry).then_some(Instance { peer, number })
}

fn mac(token_key: &[u8; 32], claim: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(token_key).expect("HMAC takes keys of any length");
    mac.update(LABEL);
    mac.update(claim);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: Instance = Instance { peer: PeerId([3; 32]), number: 9 };

    // Spec T6
    #[test]
    fn a_token_is_good_until_it_expires_and_under_its_key_alone() {
        let token = make(&[1; 32], &ME, UnixTime(1_000));
        assert_eq!(token.len(), 107);
        assert_eq!(check_token(&[1; 32], &token, UnixTime(999)), Some(ME));
        assert_eq!(check_token(&[1; 32], &token, UnixTime(1_000)), None);
        assert_eq!(check_token(&[2; 32], &token, UnixTime(999)), None);
    }

    #[test]
    fn a_changed_token_is_no_token() {
        let token = make(&[1; 32], &ME, UnixTime(1_000));
        for at in 0..token.len() {
            let mut bad = token.clone().into_bytes();
            bad[at] = if bad[at] == b'A' { b'B' } else { b'A' };
            let bad = String::from_utf8(bad).unwrap();
            assert_eq!(check_token(&[1; 32], &bad, UnixTime(0)), None, "{at}");
            assert_eq!(check_token(&[1; 32], &token[..at], UnixTime(0)), None);
        }
        assert_eq!(check_token(&[1; 32], &"A".repeat(100_000), UnixTime(0)), None);
        assert_eq!(check_token(&[1; 32], "\u{fffd}", UnixTime(0)), None);
    }
}
