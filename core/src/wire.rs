//! The messages of the chunk protocol, inside a session's encryption (spec chapter "Session").
//!
//! Frames form one byte stream over the records of a session; record boundaries carry no meaning. A
//! frame is `type u8 ‖ length u32 ‖ body`; all but `Chunk` are at most
//! [`crate::limits::MAX_FRAME_BYTES`]. A chunk's body is handled apart ([`crate::session`]),
//! because its bytes go straight from the cipher into their buffer. [`Message::encode`] and
//! [`Message::decode`] are the codec of all others.

pub(crate) mod codec;

use alloc::string::String;
use alloc::vec::Vec;

use crate::id::{ChunkRef, Descriptor, Locator, Space};

/// A number that the requester gives a share when it opens it; its own per session and direction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Handle(pub u32);

/// A number that the requester gives a request, unique among its open ones in this session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u32);

/// A control message. `Chunk` is not among them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// First message of both sides: the version range again (inside the encryption, so that nobody
    /// can have lowered it), and which instance of the key this is.
    Hello {
        /// Lowest protocol version that the sender speaks.
        version_min: u16,
        /// Highest.
        version_max: u16,
        /// Instance number of the sender.
        instance: u64,
    },
    /// The requester wants to use a share, and proves that it knows its secret.
    Open {
        /// The requester's number for it.
        handle: Handle,
        /// What was announced.
        locator: Locator,
        /// HMAC-SHA-256(secret, "towpath proof v1" ‖ 1 ‖ locator ‖ handshake hash).
        proof: [u8; 32],
    },
    /// The seeder opens it, and proves that it knows the secret too.
    Opened {
        /// The requester's number.
        handle: Handle,
        /// The same with role 2.
        proof: [u8; 32],
        /// What it is; the requester computes the locator of it and compares.
        descriptor: Descriptor,
        /// Suggested name: hostile until sanitised ([`crate::name`]). At most
        /// [`crate::limits::MAX_NAME_BYTES`].
        name: String,
    },
    /// Unknown locator, wrong proof, or not willing: one answer for all, at the same cost.
    Refused {
        /// The requester's number.
        handle: Handle,
    },
    /// The sender has all chunks of this space of an opened share. `handle` is the *receiver's*
    /// number when the sender is the seeder of it; the same in `HaveBits` and `HaveChunk`.
    HaveAll {
        /// The requester's number.
        handle: Handle,
        /// Which bytes.
        space: Space,
    },
    /// Which chunks the sender has, from `first` on, one bit each, the highest bit of a byte first.
    HaveBits {
        /// The requester's number.
        handle: Handle,
        /// Which bytes.
        space: Space,
        /// Chunk number of the first bit; a multiple of 8.
        first: u64,
        /// At most [`crate::limits::MAX_HAVE_BITS`] bits.
        bits: Vec<u8>,
    },
    /// The sender has got one chunk more.
    HaveChunk {
        /// The requester's number.
        handle: Handle,
        /// Which one.
        chunk: ChunkRef,
    },
    /// Asks for one chunk with its proof.
    Request {
        /// Number of this request.
        request: RequestId,
        /// The requester's number of the share.
        handle: Handle,
        /// Which chunk.
        chunk: ChunkRef,
    },
    /// The requester does not need it any more. It may still come; if not, `Unavailable` with
    /// `Withdrawn` comes: every request has exactly one answer.
    Cancel {
        /// Number of the request.
        request: RequestId,
    },
    /// The request will not be answered with a chunk.
    Unavailable {
        /// Number of the request.
        request: RequestId,
        /// Why.
        why: Unavailable,
    },
    /// The requester has verified everything it wants of this share.
    Complete {
        /// The requester's number.
        handle: Handle,
    },
    /// A sign of life is asked for.
    Ping {
        /// Echoed in the answer.
        token: u64,
    },
    /// The answer to `Ping`.
    Pong {
        /// As in the ping.
        token: u64,
    },
    /// The sender closes after this message.
    Bye,
}

/// Why a request is not answered with a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unavailable {
    /// The seeder does not have this chunk (any more).
    NotHad = 0,
    /// The source changed since it was shared.
    SourceChanged = 1,
    /// The seeder cannot read its disk.
    ReadFailed = 2,
    /// The share or the request was taken back.
    Withdrawn = 3,
}
