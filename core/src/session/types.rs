//! What a session takes and gives: configuration, inputs, transmits, events.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use super::ChunkFrame;
use crate::close::CloseReason;
use crate::id::{ChunkRef, ContentKey, Hash, PeerId};
use crate::wire::{Handle, Message, RequestId, Unavailable};

/// The cipher suites, by their byte on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suite {
    /// `Noise_*_25519_ChaChaPoly_SHA256`; everybody speaks it.
    ChaChaPoly = 0,
    /// `Noise_*_25519_AESGCM_SHA256`; where both sides have AES in hardware.
    AesGcm = 1,
}

/// Which side of the handshake we are, and what follows from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Role {
    /// We opened the stream.
    Initiator {
        /// The key that must be there (Noise IK); `None` for a stranger (XX).
        remote: Option<PeerId>,
        /// The suite to propose.
        suite: Suite,
    },
    /// The stream came to us.
    Responder {
        /// Whether initiators that do not know our key (XX) are accepted.
        accept_strangers: bool,
        /// Whether AES-GCM is accepted.
        accept_aes: bool,
    },
}

/// What the node says of a session that is to be; the driver adds keys and makes a [`Config`] of
/// it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Which side we are.
    pub role: Role,
    /// Our instance number, said in `Hello`.
    pub instance: u64,
}

/// Everything that a session needs to start.
pub struct Config {
    /// What the node decided.
    pub setup: Setup,
    /// Our X25519 secret key.
    pub secret_key: [u8; 32],
    /// 32 fresh random bytes for the ephemeral key, from the driver, never used twice.
    pub ephemeral: [u8; 32],
    /// Bytes that bind the handshake to its carrier (the TLS exporter on QUIC); empty on TCP and
    /// relay.
    pub channel_binding: Vec<u8>,
}

/// What a session takes.
#[derive(Debug)]
pub enum Input {
    /// The clock reached the deadline, or just passed.
    Tick,
    /// Bytes of the stream, in order, in pieces of any size.
    Received(BytesMut),
    /// The stream ended (`None`) or broke.
    Ended(Option<String>),
    /// So many bytes of our `Send`s have been taken by the stream.
    Sent {
        /// Payload bytes.
        bytes: usize,
    },
    /// A read that [`Transmit::ReadChunk`] asked for is done.
    ChunkRead {
        /// The request it was for.
        request: RequestId,
        /// The frame with its body filled in, or why not.
        result: Result<ChunkFrame, Unavailable>,
    },
    /// A word of the node.
    Command(Command),
}

/// What the node tells a session.
#[derive(Debug)]
pub enum Command {
    /// Send this message.
    Send(Message),
    /// Serve this chunk for the peer's request: ask for it with `ReadChunk` when there is room.
    Serve {
        /// The peer's request.
        request: RequestId,
        /// Our share or download.
        content: ContentKey,
        /// Which chunk.
        chunk: ChunkRef,
    },
    /// Do not serve this request after all, if it has not been sent. The session tells the peer.
    Forget {
        /// The peer's request.
        request: RequestId,
    },
    /// Send this request. Its chunk is expected from now on (at most [`crate::limits::CHUNK_BYTES`]
    /// and [`crate::limits::MAX_PROOF_HASHES`]); a chunk that nobody expects is refused before
    /// memory is taken for it.
    Request {
        /// Our number.
        request: RequestId,
        /// Our number of the share.
        handle: Handle,
        /// Which chunk.
        chunk: ChunkRef,
    },
    /// A chunk buffer that is free again, to be filled with the next chunk.
    Recycle(BytesMut),
    /// Say goodbye and close.
    Close(CloseReason),
}

/// What a session wants done.
#[derive(Debug)]
pub enum Transmit {
    /// Write these bytes to the stream, in order. Report with `Sent`.
    Send(Bytes),
    /// Read at most so many bytes from the stream and no more until asked again.
    Read {
        /// The most bytes to hand in at once.
        max: usize,
    },
    /// Read a chunk and its proof from the store into a [`ChunkFrame`], on the job pool.
    ReadChunk {
        /// The request it is for.
        request: RequestId,
        /// Our share or download.
        content: ContentKey,
        /// Which chunk.
        chunk: ChunkRef,
    },
    /// Close the stream once everything before has been written.
    CloseStream,
}

/// What a session tells the node.
#[derive(Debug)]
pub enum Event {
    /// The handshake is complete and both versions fit.
    Established {
        /// The peer's key, proven.
        peer: PeerId,
        /// The peer's instance number, from its `Hello`.
        instance: u64,
        /// The suite in use.
        suite: Suite,
        /// Both sides' common hash, to which proofs of secrets are bound.
        handshake_hash: [u8; 32],
    },
    /// A message (never `Hello`, `Ping`, `Pong`, `Bye`: the session handles those itself).
    Message(Message),
    /// Some of a chunk's bytes came; at most once a second per request, so that slow is not dead.
    Progress {
        /// Our request.
        request: RequestId,
        /// Bytes of it so far.
        bytes: usize,
    },
    /// A whole chunk came. Not verified.
    Chunk {
        /// Our request.
        request: RequestId,
        /// Its proof.
        proof: Vec<Hash>,
        /// Its bytes.
        data: BytesMut,
    },
    /// A chunk that we serve was handed to the stream, could not be read, or is not wanted any
    /// more. Each `Serve` has exactly one of these, unless the session closes first.
    Served {
        /// The peer's request.
        request: RequestId,
        /// Body bytes, or why not (the session has told the peer).
        result: Result<usize, Unavailable>,
    },
    /// The end, exactly once.
    Closed(CloseReason),
}
