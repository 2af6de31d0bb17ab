//! A session in hostile hands: the core's Noise and the core's ciphers, and no rule above them.
//!
//! What a [`Line`] says is whatever its owner wants; only the handshake and the seals are right,
//! because nobody listens to a stranger.

use towpath_core::crypto::noise::{Handshake, Pattern};
use towpath_core::crypto::record::RecordCipher;
use towpath_core::id::PeerId;
use towpath_core::session::Suite;
use towpath_core::session::preamble::{PREAMBLE_BYTES, Preamble, VERSION_MIN};
use towpath_core::wire::Message;

/// What a line brought.
#[derive(Debug)]
pub(super) enum Heard {
    /// The handshake is complete.
    Open,
    /// A frame: its type and its body.
    Frame(u8, Vec<u8>),
}

/// Bytes of a frame's header.
const HEADER_BYTES: usize = 5;

/// One link.
#[derive(Debug)]
pub(super) struct Line {
    state: State,
    /// Bytes of the stream that are not used up.
    received: Vec<u8>,
    /// Plaintext that is not a whole frame yet.
    plain: Vec<u8>,
}

#[derive(Debug)]
enum State {
    /// We wait for a preamble, with all keys that we listen for.
    Listening(Vec<[u8; 32]>, [u8; 32]),
    /// We wait for the responder's answer.
    Calling(Box<Handshake>),
    Open(Box<Open>),
    Dead,
}

#[derive(Debug)]
struct Open {
    send: RecordCipher,
    receive: RecordCipher,
    hash: [u8; 32],
}

impl Line {
    /// Calls `remote`; the bytes are to be sent first.
    pub(super) fn call(
        secret_key: [u8; 32],
        ephemeral: [u8; 32],
        remote: PeerId,
    ) -> (Self, Vec<u8>) {
        let suite = Suite::ChaChaPoly;
        let preamble = Preamble { version: VERSION_MIN, pattern: Pattern::Ik, suite };
        let mut out = preamble.encode().to_vec();
        let remote = Some(remote);
        let mut noise =
            Handshake::new(Pattern::Ik, suite, true, &out, secret_key, ephemeral, remote);
        let state = match noise.write_message() {
            Ok(first) => {
                out.extend_from_slice(&record(&first));
                State::Calling(Box::new(noise))
            }
            // The tracker named a key that nobody can have.
            Err(_) => State::Dead,
        };
        (Self { state, received: Vec::new(), plain: Vec::new() }, out)
    }

    /// Waits for somebody who calls one of our keys.
    pub(super) const fn listen(secret_keys: Vec<[u8; 32]>, ephemeral: [u8; 32]) -> Self {
        let state = State::Listening(secret_keys, ephemeral);
        Self { state, received: Vec::new(), plain: Vec::new() }
    }

    /// The hash to which proofs are bound.
    pub(super) fn hash(&self) -> Option<[u8; 32]> {
        match &self.state {
            State::Open(open) => Some(open.hash),
            State::Listening(..) | State::Calling(_) | State::Dead => None,
        }
    }

    /// Takes bytes of the stream: what is to be answered, and what they brought.
    pub(super) fn receive(&mut self, bytes: &[u8]) -> (Vec<u8>, Vec<Heard>) {
        self.received.extend_from_slice(bytes);
        let (mut answer, mut heard) = (Vec::new(), Vec::new());
        match &self.state {
            State::Listening(keys, ephemeral) => {
                if self.received.len() < PREAMBLE_BYTES + 2 + 96 {
                    return (answer, heard);
                }
                let (keys, ephemeral) = (keys.clone(), *ephemeral);
                match self.answer(&keys, ephemeral) {
                    Some(second) => {
                        answer = second;
                        heard.push(Heard::Open);
                    }
                    None => self.state = State::Dead,
                }
            }
            State::Calling(_) => {
                if self.received.len() < 2 + 48 {
                    return (answer, heard);
                }
                if self.complete() {
                    heard.push(Heard::Open);
                }
            }
            State::Open(_) | State::Dead => {}
        }
        self.frames(&mut heard);
        (answer, heard)
    }

    fn answer(&mut self, keys: &[[u8; 32]], ephemeral: [u8; 32]) -> Option<Vec<u8>> {
        let preamble = Preamble::decode(&self.received).ok()??;
        let prologue = self.received[..PREAMBLE_BYTES].to_vec();
        let first = self.received[PREAMBLE_BYTES + 2..PREAMBLE_BYTES + 2 + 96].to_vec();
        for key in keys {
            let (suite, ik) = (preamble.suite, Pattern::Ik);
            let mut noise = Handshake::new(ik, suite, false, &prologue, *key, ephemeral, None);
            if noise.read_message(&first).is_ok() {
                let second = noise.write_message().ok()?;
                self.received.drain(..PREAMBLE_BYTES + 2 + 96);
                self.open(noise);
                return Some(record(&second));
            }
        }
        None
    }

    fn complete(&mut self) -> bool {
        let State::Calling(mut noise) = std::mem::replace(&mut self.state, State::Dead) else {
            return false;
        };
        let second: Vec<u8> = self.received.drain(..2 + 48).skip(2).collect();
        if noise.read_message(&second).is_err() {
            return false;
        }
        self.open(*noise);
        true
    }

    fn open(&mut self, noise: Handshake) {
        let finished = noise.finish();
        self.state = State::Open(Box::new(Open {
            send: finished.send,
            receive: finished.receive,
            hash: finished.handshake_hash,
        }));
    }

    /// Opens all whole records and cuts out all whole frames.
    fn frames(&mut self, heard: &mut Vec<Heard>) {
        let State::Open(open) = &mut self.state else { return };
        let mut at = 0;
        while let Some(prefix) = self.received.get(at..at + 2) {
            let length = usize::from(u16::from_be_bytes([prefix[0], prefix[1]]));
            let Some(sealed) = self.received.get_mut(at + 2..at + 2 + length) else { break };
            let Ok(plain) = open.receive.open_in_place(sealed) else {
                self.state = State::Dead;
                return;
            };
            self.plain.extend_from_slice(&sealed[..plain]);
            at += 2 + length;
        }
        self.received.drain(..at);
        let mut at = 0;
        while let Some(header) = self.plain.get(at..at + HEADER_BYTES) {
            let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
            let end = at + HEADER_BYTES + usize::try_from(length).expect("32 bits");
            let Some(body) = self.plain.get(at + HEADER_BYTES..end) else { break };
            heard.push(Heard::Frame(header[0], body.to_vec()));
            at = end;
        }
        self.plain.drain(..at);
    }

    /// Plaintext in records of at most so many bytes each; nothing while the line is not open.
    pub(super) fn seal(&mut self, plain: &[u8], record_bytes: usize) -> Vec<u8> {
        let State::Open(open) = &mut self.state else { return Vec::new() };
        let mut out = Vec::new();
        for part in plain.chunks(record_bytes.clamp(1, 65_519)) {
            let mut sealed = part.to_vec();
            let tag = open.send.seal(&mut sealed);
            sealed.extend_from_slice(&tag);
            out.extend_from_slice(&record(&sealed));
        }
        out
    }
}

/// Bytes behind their length.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a record is short");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// A message as a frame.
pub(super) fn frame(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

/// Any frame at all, whether it makes sense or not.
pub(super) fn raw_frame(frame_type: u8, length: u32, body: &[u8]) -> Vec<u8> {
    [&[frame_type][..], &length.to_be_bytes(), body].concat()
}

/// A frame with a chunk, made by hand.
pub(super) fn chunk_frame(request: u32, hashes: u8, proof: &[u8], data: &[u8]) -> Vec<u8> {
    let body = [&request.to_be_bytes()[..], &[hashes], proof, data].concat();
    raw_frame(15, u32::try_from(body.len()).expect("a chunk is short"), &body)
}
