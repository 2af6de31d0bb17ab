//! The part of a session before its encryption: preamble, refusal, Noise messages.
//!
//! ```text
//! initiator                         responder
//!   preamble ‖ record(message 1) ->
//!                                <- record(message 2), or a refusal
//!   XX only: record(message 3)   ->
//! ```
//!
//! The length of every message is fixed by the pattern, so that anything else is noticed at its
//! length. All of this state is dropped when the handshake is over.

use alloc::vec::Vec;

use zeroize::{Zeroize, Zeroizing};

use crate::close::{CloseReason, Incompatibility, Misbehaviour};
use crate::crypto::noise::{Finished, Handshake, HandshakeError, Pattern};
use crate::session::preamble::{self, PREAMBLE_BYTES, Preamble, VERSION_MIN};
use crate::session::{Config, Role, Suite};

/// A handshake under way.
pub(super) struct Handshaking {
    state: State,
    initiator: bool,
    pattern: Pattern,
    suite: Suite,
    /// Messages so far, both directions.
    messages: usize,
    /// Bytes that came and were not used yet.
    received: Vec<u8>,
}

enum State {
    /// A responder that waits for the preamble; the keys are needed once it is there.
    Preamble(Listening),
    Noise(Handshake),
    Over,
}

/// What a responder needs to begin.
struct Listening {
    accept_strangers: bool,
    accept_aes: bool,
    secret_key: Zeroizing<[u8; 32]>,
    ephemeral: Zeroizing<[u8; 32]>,
    channel_binding: Vec<u8>,
}

/// What bytes led to.
pub(super) struct Step {
    /// To be sent, maybe nothing.
    pub(super) send: Vec<u8>,
    /// How it goes on.
    pub(super) next: Next,
}

/// How a handshake goes on.
pub(super) enum Next {
    /// More bytes are needed.
    Wait,
    /// It is complete; the bytes belong to the records after it.
    Done { finished: Finished, suite: Suite, rest: Vec<u8> },
    /// It failed.
    Failed(CloseReason),
}

impl Handshaking {
    /// Begins; the bytes are to be sent at once (an initiator's preamble and first message).
    ///
    /// Fails if the key that must be there cannot be anybody's.
    pub(super) fn new(mut config: Config) -> Result<(Self, Vec<u8>), CloseReason> {
        let secret_key = Zeroizing::new(config.secret_key);
        let ephemeral = Zeroizing::new(config.ephemeral);
        config.secret_key.zeroize();
        config.ephemeral.zeroize();
        let binding = config.channel_binding;
        match config.setup.role {
            // spec S4b: one pattern a session, and nobody makes another of a failed one
            Role::Initiator { remote, suite } => {
                // spec S4: a known key is called with IK
                let pattern = if remote.is_some() { Pattern::Ik } else { Pattern::Xx };
                let mut out = Preamble { version: VERSION_MIN, pattern, suite }.encode().to_vec();
                // spec S11: the preamble and what the stream is bound to
                let prologue = [&out[..], &binding].concat();
                let (secret_key, ephemeral) = (*secret_key, *ephemeral);
                let mut noise =
                    Handshake::new(pattern, suite, true, &prologue, secret_key, ephemeral, remote);
                put_record(&mut out, &noise.write_message().map_err(broken)?);
                Ok((Self::in_state(State::Noise(noise), true, pattern, suite, 1), out))
            }
            Role::Responder { accept_strangers, accept_aes } => {
                let state = State::Preamble(Listening {
                    accept_strangers,
                    accept_aes,
                    secret_key,
                    ephemeral,
                    channel_binding: binding,
                });
                // Pattern and suite follow from the preamble.
                let this = Self::in_state(state, false, Pattern::Ik, Suite::ChaChaPoly, 0);
                Ok((this, Vec::new()))
            }
        }
    }

    const fn in_state(
        state: State,
        initiator: bool,
        pattern: Pattern,
        suite: Suite,
        messages: usize,
    ) -> Self {
        Self { state, initiator, pattern, suite, messages, received: Vec::new() }
    }

    /// Takes bytes of the stream.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> Step {
        self.received.extend_from_slice(bytes);
        let mut send = Vec::new();
        let next = match self.advance(&mut send) {
            Ok(next) => next,
            Err(reason) => Next::Failed(reason),
        };
        if !matches!(next, Next::Wait) {
            self.state = State::Over;
        }
        Step { send, next }
    }

    fn advance(&mut self, send: &mut Vec<u8>) -> Result<Next, CloseReason> {
        if !self.preamble(send)? {
            return Ok(Next::Wait);
        }
        while self.message(send)? {
            let State::Noise(noise) = &mut self.state else { return Ok(Next::Wait) };
            if !noise.is_finished() {
                put_record(send, &noise.write_message().map_err(broken)?);
                self.messages += 1;
            }
            if noise.is_finished() {
                let State::Noise(noise) = core::mem::replace(&mut self.state, State::Over) else {
                    return Ok(Next::Wait);
                };
                let rest = core::mem::take(&mut self.received);
                // spec K12: whoever replays the first message stops here, for want of a key to go
                // on with
                return Ok(Next::Done { finished: noise.finish(), suite: self.suite, rest });
            }
        }
        Ok(Next::Wait)
    }

    /// Reads the preamble, if we await one; answers whether it is behind us.
    fn preamble(&mut self, send: &mut Vec<u8>) -> Result<bool, CloseReason> {
        let State::Preamble(listening) = &self.state else { return Ok(true) };
        let accepted = Preamble::decode(&self.received).and_then(|preamble| match preamble {
            Some(preamble) => listening.check(preamble).map(|()| Some(preamble)),
            None => Ok(None),
        });
        let preamble = match accepted {
            Ok(Some(preamble)) => preamble,
            Ok(None) => return Ok(false),
            Err(why) => {
                send.extend(preamble::refusal(why).iter().flatten());
                return Err(CloseReason::Incompatible(why));
            }
        };
        self.pattern = preamble.pattern;
        self.suite = preamble.suite;
        let mut prologue: Vec<u8> = self.received.drain(..PREAMBLE_BYTES).collect();
        prologue.extend_from_slice(&listening.channel_binding);
        self.state = State::Noise(Handshake::new(
            preamble.pattern,
            preamble.suite,
            false,
            &prologue,
            *listening.secret_key,
            *listening.ephemeral,
            None,
        ));
        Ok(true)
    }

    /// Reads the next Noise message if it is whole; answers whether it was.
    fn message(&mut self, send: &mut Vec<u8>) -> Result<bool, CloseReason> {
        let State::Noise(noise) = &mut self.state else { return Ok(false) };
        let Some(prefix) = self.received.first_chunk::<2>() else {
            return Ok(false);
        };
        // An initiator reads one message in either pattern: the first answer, which also shows
        // whether there is a responder of ours at all.
        let first_answer = self.initiator;
        let length = usize::from(u16::from_be_bytes(*prefix));
        // spec S9: a refusal counts in place of the first answer alone
        if length == 0 && first_answer {
            return match preamble::read_refusal(&self.received) {
                Ok(None) => Ok(false),
                Ok(Some(why)) | Err(why) => Err(CloseReason::Incompatible(why)),
            };
        }
        if self.pattern.message_bytes().get(self.messages) != Some(&length) {
            // spec S10 and S13: the length tells who is there
            return Err(if first_answer {
                CloseReason::Incompatible(Incompatibility::Magic)
            } else {
                broken(HandshakeError("handshake_length"))
            });
        }
        if self.received.len() < 2 + length {
            return Ok(false);
        }
        let read = noise.read_message(&self.received[2..2 + length]);
        // An initiator that called another key learns that much; it is not answered as a stranger.
        // spec S8: the key comes last
        if read == Err(HandshakeError("handshake_forged"))
            && self.pattern == Pattern::Ik
            && !self.initiator
        {
            send.extend(preamble::refusal(Incompatibility::Key).iter().flatten());
            return Err(CloseReason::Incompatible(Incompatibility::Key));
        }
        read.map_err(broken)?;
        self.received.drain(..2 + length);
        self.messages += 1;
        Ok(true)
    }
}

impl Listening {
    // spec S7: suite 0 and IK always; the rest as we were told
    fn check(&self, preamble: Preamble) -> Result<(), Incompatibility> {
        if preamble.pattern == Pattern::Xx && !self.accept_strangers {
            return Err(Incompatibility::Pattern);
        }
        if preamble.suite == Suite::AesGcm && !self.accept_aes {
            return Err(Incompatibility::Suite);
        }
        Ok(())
    }
}

fn broken(error: HandshakeError) -> CloseReason {
    CloseReason::Misbehaved(Misbehaviour(error.0))
}

fn put_record(out: &mut Vec<u8>, message: &[u8]) {
    let length = u16::try_from(message.len()).expect("a handshake message is short");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(message);
}
