//! A Noise handshake, IK or XX over X25519 and SHA-256, from the first message to two record
//! ciphers.
//!
//! ```text
//! IK:  <- s                        XX:  -> e
//!      ...                              <- e, ee, s, es
//!      -> e, es, s, ss                  -> s, se
//!      <- e, ee, se
//! ```
//!
//! The pattern logic is snow's; the primitives are ours ([`resolver`]): X25519 that refuses an
//! all-zero result, and an ephemeral key made of exactly the 32 bytes that were handed in, once. A
//! handshake that failed is over: its state is dropped at once, and every later call fails too.
//! Only a complete one gives keys away, because [`Handshake::finish`] consumes it.
//!
//! Sessions and the relay's login use empty payloads and demand them: IK's first payload can be
//! replayed.

mod resolver;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use snow::params::{BaseChoice, CipherChoice, DHChoice, HandshakeChoice, HandshakePattern};
use snow::params::{HandshakeModifierList, HashChoice, NoiseParams};
use snow::{Builder, HandshakeState};
use zeroize::Zeroize;

use crate::crypto::record::RecordCipher;
use crate::id::PeerId;
use crate::session::Suite;

use resolver::Resolver;

/// The handshake patterns, by their byte on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// The initiator knows the responder's key.
    Ik = 0,
    /// Neither knows the other.
    Xx = 1,
}

impl Pattern {
    /// Lengths in bytes of its messages, with the empty payloads that sessions use.
    // spec S13
    #[must_use]
    pub const fn message_bytes(self) -> &'static [usize] {
        match self {
            Self::Ik => &[96, 48],
            Self::Xx => &[32, 96, 64],
        }
    }
}

/// Why a handshake failed: one stable `snake_case` word. The handshake is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandshakeError(pub &'static str);

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for HandshakeError {}

/// A handshake under way.
pub struct Handshake {
    /// `None` once it failed.
    state: Option<Box<HandshakeState>>,
    suite: Suite,
    initiator: bool,
    /// The key handed in, or learned from a complete handshake.
    expected: Option<PeerId>,
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.state.is_none();
        write!(f, "Handshake({:?}, initiator: {}, failed: {failed})", self.suite, self.initiator)
    }
}

/// What a complete handshake leaves: who it was, and a cipher for each direction.
#[derive(Debug)]
pub struct Finished {
    /// The other side's key, proven.
    pub remote: PeerId,
    /// The hash of the whole handshake, the same on both sides and nowhere else.
    pub handshake_hash: [u8; 32],
    /// For what we send.
    pub send: RecordCipher,
    /// For what we receive.
    pub receive: RecordCipher,
}

impl Handshake {
    /// Begins a handshake. `ephemeral` are 32 fresh random bytes that are never used twice;
    /// `remote` is the key that must be there.
    ///
    /// # Panics
    /// If an IK initiator does not say whom it expects: our own mistake.
    #[must_use]
    pub fn new(
        pattern: Pattern,
        suite: Suite,
        initiator: bool,
        prologue: &[u8],
        mut secret_key: [u8; 32],
        ephemeral: [u8; 32],
        remote: Option<PeerId>,
    ) -> Self {
        let resolver = Box::new(Resolver { suite, ephemeral });
        let builder = Builder::with_resolver(params(pattern, suite), resolver)
            .local_private_key(&secret_key)
            .and_then(|builder| builder.prologue(prologue));
        let state = match (pattern, initiator, &remote) {
            (Pattern::Ik, true, Some(remote)) => builder
                .and_then(|builder| builder.remote_public_key(&remote.0))
                .and_then(Builder::build_initiator),
            (Pattern::Ik, true, None) => panic!("an IK initiator knows whom it calls"),
            (Pattern::Xx, true, _) => builder.and_then(Builder::build_initiator),
            (Pattern::Ik | Pattern::Xx, false, _) => builder.and_then(Builder::build_responder),
        };
        secret_key.zeroize();
        let state = Box::new(state.expect("every part is given, and given once"));
        Self { state: Some(state), suite, initiator, expected: remote }
    }

    /// The next message, with an empty payload.
    ///
    /// # Errors
    /// `handshake_order` if it is not our turn, `handshake_key` if the other side's key makes an
    /// all-zero shared secret.
    // spec S12
    pub fn write_message(&mut self) -> Result<Vec<u8>, HandshakeError> {
        self.write_payload(&[])
    }

    /// Takes the other side's next message, whose payload must be empty.
    ///
    /// # Errors
    /// `handshake_order` if it is not its turn, `handshake_length`, `handshake_key` (all-zero
    /// shared secret), `handshake_forged` (tampered with, or meant for another key),
    /// `handshake_payload`, `handshake_other_key` (not the key that was expected).
    pub fn read_message(&mut self, message: &[u8]) -> Result<(), HandshakeError> {
        if self.read_payload(message)?.is_empty() {
            return Ok(());
        }
        self.state = None;
        // spec S12b
        Err(HandshakeError("handshake_payload"))
    }

    /// As [`Handshake::write_message`] with a payload: for the official vectors.
    ///
    /// # Errors
    /// As [`Handshake::write_message`].
    pub fn write_payload(&mut self, payload: &[u8]) -> Result<Vec<u8>, HandshakeError> {
        self.step(|state| {
            // At most two keys (one of them encrypted) and the payload, with two tags.
            let mut message = vec![0; 96 + 16 + payload.len()];
            let length = state.write_message(payload, &mut message)?;
            message.truncate(length);
            Ok(message)
        })
    }

    /// As [`Handshake::read_message`] with a payload: for the official vectors.
    ///
    /// # Errors
    /// As [`Handshake::read_message`].
    pub fn read_payload(&mut self, message: &[u8]) -> Result<Vec<u8>, HandshakeError> {
        // snow refuses more than a Noise message may have
        let payload = self.step(|state| {
            let mut payload = vec![0; message.len()];
            let length = state.read_message(message, &mut payload)?;
            payload.truncate(length);
            Ok(payload)
        })?;
        let learned = self.learned();
        if learned.is_some() && self.expected.is_some() && learned != self.expected {
            self.state = None;
            return Err(HandshakeError("handshake_other_key"));
        }
        Ok(payload)
    }

    /// Whether both sides have said everything: [`Handshake::finish`] may be called.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state.as_ref().is_some_and(|state| state.is_handshake_finished())
    }

    /// The other side's key: the one that was handed in, or what it said and proved.
    #[must_use]
    pub fn remote(&self) -> Option<PeerId> {
        self.expected.or_else(|| if self.is_finished() { self.learned() } else { None })
    }

    /// Ends a complete handshake and hands out its keys.
    ///
    /// # Panics
    /// If it is not complete ([`Handshake::is_finished`]).
    #[must_use]
    pub fn finish(mut self) -> Finished {
        assert!(self.is_finished(), "keys come from a complete handshake only");
        let remote = self.learned().expect("both patterns send or know both static keys");
        let mut state = self.state.take().expect("a finished handshake has its state");
        // spec S15
        let mut handshake_hash = [0; 32];
        handshake_hash.copy_from_slice(state.get_handshake_hash());
        let mut keys = state.dangerously_get_raw_split();
        let first = RecordCipher::new(self.suite, &keys.0);
        let second =
            RecordCipher::new(self.suite, if planted!(OneKey) { &keys.0 } else { &keys.1 });
        keys.0.zeroize();
        keys.1.zeroize();
        // spec S17: the first key is the initiator's
        let (send, receive) = if self.initiator { (first, second) } else { (second, first) };
        Finished { remote, handshake_hash, send, receive }
    }

    /// Runs one message; a failure ends the handshake, because snow rolls back its hashes, not its
    /// key.
    fn step<T>(
        &mut self,
        message: impl FnOnce(&mut HandshakeState) -> Result<T, snow::Error>,
    ) -> Result<T, HandshakeError> {
        let state = self.state.as_mut().ok_or(HandshakeError("handshake_order"))?;
        // spec S14: nothing of the state is left
        message(state).map_err(|error| {
            self.state = None;
            HandshakeError(word(&error))
        })
    }

    fn learned(&self) -> Option<PeerId> {
        let key = self.state.as_ref()?.get_remote_static()?;
        key.try_into().ok().map(PeerId)
    }
}

// spec S11: the names of the handshakes
fn params(pattern: Pattern, suite: Suite) -> NoiseParams {
    let (pattern, cipher, name) = match (pattern, suite) {
        (Pattern::Ik, Suite::AesGcm) => {
            (HandshakePattern::IK, CipherChoice::AESGCM, "Noise_IK_25519_AESGCM_SHA256")
        }
        (Pattern::Ik, Suite::ChaChaPoly) => {
            (HandshakePattern::IK, CipherChoice::ChaChaPoly, "Noise_IK_25519_ChaChaPoly_SHA256")
        }
        (Pattern::Xx, Suite::AesGcm) => {
            (HandshakePattern::XX, CipherChoice::AESGCM, "Noise_XX_25519_AESGCM_SHA256")
        }
        (Pattern::Xx, Suite::ChaChaPoly) => {
            (HandshakePattern::XX, CipherChoice::ChaChaPoly, "Noise_XX_25519_ChaChaPoly_SHA256")
        }
    };
    let modifiers = HandshakeModifierList { list: Vec::new() };
    NoiseParams::new(
        name.into(),
        BaseChoice::Noise,
        HandshakeChoice { pattern, modifiers },
        DHChoice::Curve25519,
        cipher,
        HashChoice::SHA256,
    )
}

fn word(error: &snow::Error) -> &'static str {
    match error {
        snow::Error::Dh => "handshake_key",
        snow::Error::Input => "handshake_length",
        snow::Error::State(_) => "handshake_order",
        snow::Error::Decrypt
        | snow::Error::Init(_)
        | snow::Error::Pattern(_)
        | snow::Error::Prereq(_)
        | snow::Error::Rng
        | _ => "handshake_forged",
    }
}

#[cfg(test)]
mod tests;
