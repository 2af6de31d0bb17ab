//! The clear bytes at the start of every link, and the clear refusal (spec chapter "Session").
//!
//! The initiator's eight bytes say in what it wants to speak; they begin the Noise prologue, so
//! that nobody can change them unnoticed. Their first byte is neither an ASCII character nor the
//! start of a TLS or SSH greeting, so that a stranger is told apart by it. A responder that cannot
//! answer says why in seven fixed bytes. A refusal is not authenticated: it may cost a second try,
//! never the secrecy.

use crate::close::Incompatibility;
use crate::crypto::noise::Pattern;
use crate::session::Suite;

/// The first bytes of everything that is ours.
pub const MAGIC: [u8; 4] = [0x8E, b'T', b'o', b'w'];
/// The oldest version of the protocol that we speak.
pub const VERSION_MIN: u16 = 1;
/// The newest.
pub const VERSION_MAX: u16 = 1;
/// Length of the preamble.
pub const PREAMBLE_BYTES: usize = 8;
/// Length of a refusal: a record length that no handshake message has, the magic, the reason.
pub const REFUSAL_BYTES: usize = 7;

/// What an initiator wants to speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Preamble {
    /// The version whose preamble and handshake these are.
    pub version: u16,
    /// The handshake pattern.
    pub pattern: Pattern,
    /// The suite of handshake and records.
    pub suite: Suite,
}

impl Preamble {
    /// `magic ‖ version u16 ‖ pattern u8 ‖ suite u8`.
    #[must_use]
    pub fn encode(self) -> [u8; PREAMBLE_BYTES] {
        let [a, b, c, d] = MAGIC;
        let [high, low] = self.version.to_be_bytes();
        [a, b, c, d, high, low, self.pattern as u8, self.suite as u8]
    }

    /// Reads the bytes of a link so far: `Ok(None)` if they may still become a preamble.
    ///
    /// # Errors
    /// The first thing that we do not have in common with the initiator.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, Incompatibility> {
        // spec S6: at the first byte that differs
        if bytes.iter().zip(MAGIC).any(|(is, ours)| *is != ours) {
            return Err(Incompatibility::Magic);
        }
        let Some(bytes) = bytes.first_chunk::<PREAMBLE_BYTES>() else { return Ok(None) };
        // spec S8: version, pattern, suite, in this order
        let version = u16::from_be_bytes([bytes[4], bytes[5]]);
        if !(VERSION_MIN..=VERSION_MAX).contains(&version) {
            return Err(Incompatibility::Version);
        }
        let pattern = match bytes[6] {
            0 => Pattern::Ik,
            1 => Pattern::Xx,
            _ => return Err(Incompatibility::Pattern),
        };
        let suite = match bytes[7] {
            0 => Suite::ChaChaPoly,
            1 => Suite::AesGcm,
            _ => return Err(Incompatibility::Suite),
        };
        Ok(Some(Self { version, pattern, suite }))
    }
}

/// The bytes with which a responder refuses; `None` for a stranger, who gets no answer.
#[must_use]
pub const fn refusal(why: Incompatibility) -> Option<[u8; REFUSAL_BYTES]> {
    let reason = match why {
        Incompatibility::Magic => return None,
        Incompatibility::Version => 1,
        Incompatibility::Pattern => 2,
        Incompatibility::Suite => 3,
        Incompatibility::Key => 4,
    };
    let [a, b, c, d] = MAGIC;
    Some([0, 0, a, b, c, d, reason])
}

/// What the responder's first bytes, which begin with a length of zero, refuse: `Ok(None)` if they
/// may still become a refusal.
///
/// # Errors
/// [`Incompatibility::Magic`] if they cannot.
pub fn read_refusal(bytes: &[u8]) -> Result<Option<Incompatibility>, Incompatibility> {
    let expected = [0, 0].iter().chain(&MAGIC);
    if bytes.iter().zip(expected).any(|(is, ours)| is != ours) {
        return Err(Incompatibility::Magic);
    }
    match bytes.get(REFUSAL_BYTES - 1) {
        None => Ok(None),
        Some(1) => Ok(Some(Incompatibility::Version)),
        Some(2) => Ok(Some(Incompatibility::Pattern)),
        Some(3) => Ok(Some(Incompatibility::Suite)),
        Some(4) => Ok(Some(Incompatibility::Key)),
        Some(_) => Err(Incompatibility::Magic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preambles_go_there_and_back() {
        for pattern in [Pattern::Ik, Pattern::Xx] {
            for suite in [Suite::ChaChaPoly, Suite::AesGcm] {
                let preamble = Preamble { version: 1, pattern, suite };
                let bytes = preamble.encode();
                assert_eq!(Preamble::decode(&bytes), Ok(Some(preamble)));
                for length in 0..bytes.len() {
                    assert_eq!(Preamble::decode(&bytes[..length]), Ok(None));
                }
            }
        }
    }

    // Spec S6
    #[test]
    fn strangers_are_told_apart_by_their_first_byte() {
        for greeting in ["GET /", "POST", "SSH-2.0", "\x13BitTorrent", "\x16\x03\x01", "PRI *"] {
            assert_eq!(Preamble::decode(&greeting.as_bytes()[..1]), Err(Incompatibility::Magic));
        }
    }

    // Spec S8
    #[test]
    fn refusals_name_what_is_missing() {
        let (version, key) = (Incompatibility::Version, Incompatibility::Key);
        for why in [version, Incompatibility::Pattern, Incompatibility::Suite, key] {
            let bytes = refusal(why).unwrap();
            assert_eq!(read_refusal(&bytes), Ok(Some(why)));
            assert_eq!(read_refusal(&bytes[..6]), Ok(None));
        }
        assert_eq!(refusal(Incompatibility::Magic), None);
        assert_eq!(read_refusal(&[0, 0, 0x8E, b'T', b'o', b'w', 9]), Err(Incompatibility::Magic));
        assert_eq!(read_refusal(&[0, 0, b'H']), Err(Incompatibility::Magic));
        let mut bytes =
            Preamble { version: 1, pattern: Pattern::Ik, suite: Suite::AesGcm }.encode();
        bytes[7] = 2;
        assert_eq!(Preamble::decode(&bytes), Err(Incompatibility::Suite));
        bytes[6] = 2;
        assert_eq!(Preamble::decode(&bytes), Err(Incompatibility::Pattern));
        bytes[5] = 2;
        assert_eq!(Preamble::decode(&bytes), Err(Incompatibility::Version));
    }
}
