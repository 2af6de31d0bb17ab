//! Which chunk is asked of whom, how many at once, and who is to blame. (API fixed; body to be written.)
//!
//! One download knows chunk *numbers* only. It does not know hashes, files or links; the node gives it
//! peers (as [`LinkId`]s) with their have-sets, tells it what arrived, and carries its requests to the
//! sessions. It covers one [`crate::id::Space`] at a time.

use alloc::vec::Vec;

use crate::id::LinkId;
use crate::output::Output;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::Unavailable;

/// A set of chunk numbers, one bit each, the highest bit of a byte first (as on the wire).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChunkSet {
    /// Bits.
    pub bits: Vec<u8>,
    /// How many chunks there are.
    pub len: u64,
}

/// In which order chunks are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Rarest first, ties in the order of their numbers: bytes go to a file.
    Rarest,
    /// In order of their numbers, and at most this far ahead of the first one that was not yet
    /// [`Input::Consumed`]: bytes go to a pipe.
    Sequential {
        /// Chunks.
        window: u64,
    },
}

/// What a download starts with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Number of chunks in all.
    pub chunks: u64,
    /// Those that are there already.
    pub have: ChunkSet,
    /// In which order.
    pub order: Order,
}

/// What a download takes.
#[derive(Debug, Clone)]
pub enum Input {
    /// The clock reached the deadline, or just passed.
    Tick,
    /// A peer has opened the share; it has nothing until told.
    PeerJoined(LinkId),
    /// It has everything.
    PeerHasAll(LinkId),
    /// It has these, from chunk `first` on.
    PeerHas(LinkId, u64, Vec<u8>),
    /// It is gone; what it was asked is asked elsewhere.
    PeerLeft(LinkId),
    /// Some bytes of the chunk came.
    Progress(LinkId, u64),
    /// The whole chunk came, so many bytes, and is being verified and stored.
    Arrived(LinkId, u64, usize),
    /// It is verified and stored: the peer has proven a chunk.
    Stored(LinkId, u64),
    /// It was false: the peer is to blame. So many bytes are wasted.
    False(LinkId, u64, usize),
    /// It was good, or nobody knows, but our disk refused it: nobody is to blame; asked again later.
    StoreFailed(LinkId, u64),
    /// The peer will not send it.
    Unavailable(LinkId, u64, Unavailable),
    /// `Order::Sequential`: this chunk has left us in order.
    Consumed(u64),
    /// The length of a chunk in bytes, for the pipeline; all chunks are [`crate::limits::CHUNK_BYTES`]
    /// until told (small files of a folder have shorter ones; the mean is enough).
    MeanChunkBytes(u64),
    /// Whether the download limit lets more requests go out now.
    Allowed(bool),
}

/// What a download wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transmit {
    /// Ask this peer for this chunk.
    Request(LinkId, u64),
    /// Tell it that the chunk is not needed any more.
    Cancel(LinkId, u64),
}

/// What a download tells the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// One chunk more is there (for `HaveChunk` to others).
    Got(u64),
    /// This peer is not to be used for this download again.
    Dropped(LinkId, DropReason),
    /// All chunks are there. The end.
    Complete,
}

/// Why a peer is not used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// It sent a chunk that did not match its proof.
    FalseChunk,
    /// It did not answer.
    Silent,
    /// Its source changed, so that what it has left is not what was shared.
    SourceChanged,
}

/// The scheduler of one download.
#[derive(Debug)]
pub struct Download {}

impl Download {
    /// A download that lacks what `config.have` lacks.
    #[must_use]
    pub fn new(_now: Instant, _rng: Rng, _config: Config) -> Self {
        todo!()
    }

    /// Takes one input.
    pub fn handle_input(&mut self, _now: Instant, _input: Input) {
        todo!()
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Output<Transmit, Event> {
        todo!()
    }
}
