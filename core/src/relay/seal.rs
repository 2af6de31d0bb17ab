//! The login's handshake and the seal over control frames, the same on both sides.
//!
//! `Noise_XX_25519_ChaChaPoly_SHA256` with [`frame::PROLOGUE`] and the host, as the client dialled
//! it and in lower case, as its prologue: a relay cannot pass a login on to another one. All
//! payloads are empty. Afterwards each control frame is one Noise transport message without
//! associated data, and each direction rekeys as a session's records do
//! ([`crate::limits::REKEY_RECORDS`]).

use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use super::frame::{self, Kind};
use crate::codec::{DecodeError, Write};
use crate::crypto::noise::{Finished, Handshake, Pattern};
use crate::crypto::record::RecordCipher;
use crate::limits::TAG_BYTES;
use crate::session::Suite;

/// The handshake of one login.
pub(super) fn handshake(
    initiator: bool,
    host: &str,
    secret_key: [u8; 32],
    ephemeral: [u8; 32],
) -> Handshake {
    // spec R6
    let mut prologue = Vec::from(frame::PROLOGUE);
    prologue.extend_from_slice(host.to_ascii_lowercase().as_bytes());
    let (pattern, suite) = (Pattern::Xx, Suite::ChaChaPoly);
    Handshake::new(pattern, suite, initiator, &prologue, secret_key, ephemeral, None)
}

/// A handshake message as a frame.
pub(super) fn handshake_frame(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + message.len());
    out.put_u8(Kind::Handshake as u8);
    out.put(message);
    out.freeze()
}

/// The keys of one connection's control frames, one for each direction.
#[derive(Debug)]
pub(super) struct Seal {
    send: RecordCipher,
    receive: RecordCipher,
}

impl Seal {
    pub(super) fn new(finished: Finished) -> Self {
        Self { send: finished.send, receive: finished.receive }
    }

    /// The frame of a control message.
    // spec R8: control frames alone count
    pub(super) fn seal(&mut self, plaintext: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(1 + plaintext.len() + TAG_BYTES);
        out.put_u8(Kind::Control as u8);
        out.put(plaintext);
        let tag = self.send.seal(&mut out[1..]);
        out.put(&tag);
        out.freeze()
    }

    /// The plaintext of a control frame.
    ///
    /// # Errors
    /// `forged_control`: the frame was not made by the other side, or not now.
    pub(super) fn open<'a>(&mut self, message: &'a mut [u8]) -> Result<&'a [u8], DecodeError> {
        let sealed = message.get_mut(1..).ok_or(DecodeError("empty_frame"))?;
        // spec R9
        let forged = DecodeError("forged_control");
        let length = self.receive.open_in_place(sealed).map_err(|_| forged)?;
        sealed.get(..length).ok_or(forged)
    }
}
