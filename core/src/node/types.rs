//! What a node takes and gives: the contract with drivers and applications.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::BytesMut;

use crate::close::CloseReason;
use crate::download::{ChunkSet, DropReason};
use crate::id::{ChunkRef, ContentKey, Descriptor, Hash, Instance, LinkId, Locator, PeerId};
use crate::id::{Secret, Space};
use crate::path::{DialError, PathKind, Policy, Reason};
use crate::session;
use crate::tracker_api;

/// What a node starts with.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who we are.
    pub me: Instance,
    /// Whether to propose and accept AES-GCM (the driver knows whether the hardware is fast).
    pub prefer_aes: bool,
    /// Whether strangers that do not know our key may connect (XX). Peers from a tracker know it.
    pub accept_strangers: bool,
    /// Upload limit of all sessions together.
    pub limit_up_bytes_per_second: Option<u64>,
    /// Download limit of all sessions together.
    pub limit_down_bytes_per_second: Option<u64>,
}

/// Where the bytes of a download go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// Into the store, in any order; can be served while it comes.
    Store,
    /// In order, to a pipe ([`Transmit::Deliver`]); kept nowhere, served to nobody.
    Ordered,
}

/// What a node takes.
#[derive(Debug)]
pub enum Input {
    /// The clock reached the deadline, or just passed.
    Tick,
    /// Share something whole. Announced as soon as the tracker can be spoken to.
    Share {
        /// Its number from now on.
        content: ContentKey,
        /// What it is.
        descriptor: Descriptor,
        /// `None`: public.
        secret: Option<Secret>,
        /// The suggested name.
        name: String,
        /// `None` for a file; for a manifest the chunks and bytes of its contents.
        contents: Option<ContentsShape>,
    },
    /// Fetch something.
    Get {
        /// Its number from now on.
        content: ContentKey,
        /// What was announced.
        locator: Locator,
        /// `None`: public.
        secret: Option<Secret>,
        /// How to reach peers.
        policy: Policy,
        /// Where bytes go.
        sink: Sink,
        /// Whether to serve what was verified while fetching.
        serve: bool,
        /// Give up if nobody is online for so long; `None` waits for ever.
        timeout: Option<Duration>,
    },
    /// The store for this space is open.
    Begin {
        /// Which download.
        content: ContentKey,
        /// Which space.
        space: Space,
        /// Chunks and bytes in it.
        shape: ContentsShape,
        /// What is there already.
        have: ChunkSet,
    },
    /// The target stands under its name.
    Finished(ContentKey),
    /// End a share or a download.
    Stop(ContentKey),
    /// End everything: tell peers and tracker, then `Event::Stopped`.
    Shutdown,
    /// We listen at this port, and other hosts may reach us at these addresses, best first.
    Listening {
        /// Addresses to announce.
        addresses: Vec<SocketAddr>,
    },
    /// A stream came in. Answered with `Transmit::Accept` or `Transmit::Refuse`.
    Incoming {
        /// The driver's number for it.
        incoming: u64,
        /// How it came.
        from: IncomingFrom,
    },
    /// A `Dial` or `OpenCircuit` failed before there was a stream. (If it succeeds the driver runs
    /// the session and reports its events.)
    DialFailed {
        /// The link that will not be.
        link: LinkId,
        /// Why.
        error: DialError,
    },
    /// An event of the session of this link.
    Session {
        /// Which link.
        link: LinkId,
        /// What it says.
        event: session::Event,
    },
    /// The relay client is logged in (with the token for REST calls), or is not any more.
    Relay {
        /// The token, if logged in.
        token: Option<String>,
    },
    /// The tracker answered a call.
    Reply {
        /// Which call.
        call: CallId,
        /// What it said.
        result: Result<tracker_api::Response, tracker_api::CallError>,
    },
    /// `StoreChunk` is done.
    ChunkStored {
        /// Which download.
        content: ContentKey,
        /// Which chunk.
        chunk: ChunkRef,
        /// Who sent it.
        link: LinkId,
        /// How it went.
        result: StoreResult,
        /// The buffer, for the next chunk.
        buffer: BytesMut,
    },
    /// The output of a download broke, or what was written to it cannot be synced: it fails.
    StoreBroke {
        /// Which download.
        content: ContentKey,
        /// The store's sentence.
        why: String,
    },
    /// `Deliver` is done: the reader has taken the bytes.
    Delivered {
        /// Which download.
        content: ContentKey,
        /// Which chunk.
        chunk: ChunkRef,
        /// The buffer.
        buffer: BytesMut,
    },
}

/// Where a stream came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IncomingFrom {
    /// TCP from this address.
    Tcp(SocketAddr),
    /// A circuit that this peer asked for at the relay.
    Circuit(PeerId),
}

/// How large a space is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentsShape {
    /// Chunks.
    pub chunks: u64,
    /// Bytes.
    pub bytes: u64,
}

/// How storing a chunk went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreResult {
    /// Verified and written.
    Written,
    /// It does not match its proof or the root: the sender is to blame.
    False,
    /// The disk refused; the store's sentence. The download fails.
    Failed(String),
}

/// A call to the tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What a node wants done.
#[derive(Debug)]
pub enum Transmit {
    /// Open a TCP stream and run a session over it.
    Dial {
        /// The link it will be.
        link: LinkId,
        /// Where to.
        to: SocketAddr,
        /// How to begin.
        setup: session::Setup,
    },
    /// Open a circuit through the relay and run a session over it.
    OpenCircuit {
        /// The link it will be.
        link: LinkId,
        /// To whom.
        to: Instance,
        /// How to begin.
        setup: session::Setup,
    },
    /// Run a session over a stream that came in.
    Accept {
        /// The driver's number.
        incoming: u64,
        /// The link it is from now on.
        link: LinkId,
        /// How to begin.
        setup: session::Setup,
    },
    /// Close a stream that came in.
    Refuse {
        /// The driver's number.
        incoming: u64,
    },
    /// Stop dialling, or drop the link without a word.
    Abandon {
        /// Which link.
        link: LinkId,
    },
    /// A word to a session.
    Session {
        /// Which link.
        link: LinkId,
        /// What.
        command: session::Command,
    },
    /// Call the tracker.
    Call {
        /// Number for the reply.
        call: CallId,
        /// What to say.
        request: tracker_api::Request,
        /// The login's token, for calls that need one.
        token: Option<String>,
    },
    /// Whether the relay client should be connected.
    WantRelay(bool),
    /// Verify this chunk, and write it if it is true (for `Sink::Ordered`: keep it), on the job
    /// pool.
    StoreChunk {
        /// Which download.
        content: ContentKey,
        /// Which chunk.
        chunk: ChunkRef,
        /// Who sent it.
        link: LinkId,
        /// Its proof.
        proof: Vec<Hash>,
        /// Its bytes.
        data: BytesMut,
    },
    /// `Sink::Ordered`: hand these verified bytes to the reader; the next come after `Delivered`.
    Deliver {
        /// Which download.
        content: ContentKey,
        /// Which chunk.
        chunk: ChunkRef,
        /// Its bytes.
        data: BytesMut,
    },
}

/// What a node tells the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The tracker knows the share: its link works now.
    Announced(ContentKey),
    /// The tracker cannot be spoken to; tried again by itself. Said once per outage.
    TrackerTrouble(String),
    /// Nobody who has it is online; asked again by itself.
    Waiting(ContentKey),
    /// What it is, proven against the link. Answer with `Begin` or `Stop`.
    Described {
        /// Which download.
        content: ContentKey,
        /// What it is.
        descriptor: Descriptor,
        /// The suggested name, not yet sanitised.
        name: String,
    },
    /// A path to a peer was chosen.
    Path {
        /// Which download.
        content: ContentKey,
        /// To whom.
        peer: PeerId,
        /// Which.
        path: PathKind,
        /// Why.
        reason: Reason,
    },
    /// A peer cannot be reached, now.
    Unreachable {
        /// Which download.
        content: ContentKey,
        /// Who.
        peer: PeerId,
        /// Why.
        reason: Reason,
    },
    /// A peer is not used any more.
    PeerDropped {
        /// Which download.
        content: ContentKey,
        /// Who.
        peer: PeerId,
        /// Why.
        reason: PeerDropReason,
    },
    /// All chunks of this space are verified and stored.
    SpaceComplete(ContentKey, Space),
    /// The download failed for good. Of a share: its source has changed or cannot be read any more
    /// ([`Failure::Store`], said once; what can still be read is served).
    Failed(ContentKey, Failure),
    /// A receiver of ours made progress; at most a few times a second each.
    Receiver {
        /// Of which share.
        content: ContentKey,
        /// Who; each instance of a key counts for itself.
        peer: Instance,
        /// Over which path.
        path: PathKind,
        /// Chunk bytes that went out to it.
        sent_bytes: u64,
        /// Whether it said `Complete`.
        done: bool,
    },
    /// After `Shutdown`: all is said.
    Stopped,
}

/// Why a peer is not used any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerDropReason {
    /// The download's reason.
    Download(DropReason),
    /// It refused the share, or could not prove that it knows the secret, or offered something
    /// else.
    NotTheShare,
    /// Its link ended.
    Closed(CloseReason),
}

/// Why a download failed for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Nobody was online within the timeout.
    NobodyOnline,
    /// Our disk refused; the store's sentence.
    Store(String),
    /// The tracker does not know the locator, and said so (unknown or mistyped link).
    Unknown,
}

/// Figures of one download, for progress displays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are verified and stored, those of earlier runs included. Of a folder that goes on
    /// those are estimated until it is whole, since its chunks differ in length.
    pub verified_bytes: u64,
    /// Chunk bytes that this run received over the network.
    pub received_bytes: u64,
    /// The same by path: direct, punched, relay.
    pub by_path_bytes: [u64; 3],
    /// Peers with an open session.
    pub peers: usize,
}
