//! Which chunk is asked of whom, how many at once, and who is to blame.
//!
//! One download knows chunk *numbers* only. It does not know hashes, files or links; the node gives
//! it peers (as [`LinkId`]s) with their have-sets, tells it what arrived, and carries its requests
//! to the sessions. It covers one [`crate::id::Space`] at a time. The rules, for those who write
//! another client, are in the spec chapter "Peer".
//!
//! # The life of a chunk
//! *wanted* → *asked* of one peer (at the end of two) → *arrived*, being verified and stored →
//! *had*. A chunk that is asked or stored has a [`Flight`]; when its last asker is gone without an
//! arrival it is wanted again at once. What our disk refused is wanted again after a pause.
//!
//! # Which chunk ([`rarity`]; P6 to P9)
//! The rarest that the peer has, equally rare ones in turn; or in order, within a window.
//!
//! # How many ([`pipeline`]; P10 to P13)
//! A peer that has not proven a chunk: one. Else twice its bandwidth-delay product. All together at
//! most [`MAX_OUTSTANDING_BYTES`](crate::limits::MAX_OUTSTANDING_BYTES), and no more waiting for
//! the disk than is on its way (or [`STORE_BACKLOG_BYTES`](crate::limits::STORE_BACKLOG_BYTES)).
//! Whoever delivers has room again, so that the fast ones get more.
//!
//! # The end ([`asking`]; P21 to P23)
//! A peer for which nothing is left may be asked for a chunk that another one was asked for, if it
//! is likely to bring it sooner: the last of the longest queue. What arrives first cancels the
//! other. Whoever says nothing makes way for an idle one sooner than it is called silent otherwise
//! (P22b). And a chunk that was asked of a peer that has everything moves to another one that has
//! it now and is nearer (P26).
//!
//! # Blame ([`peers`]; P15 to P20)
//! A false chunk drops its sender. A peer silent for [`REQUEST_TIMEOUT`] loses its requests and
//! rests; dropped after some times, if another one delivers. What a peer does not have or cannot
//! read is asked elsewhere.

mod asking;
mod chunk_set;
mod peers;
mod pipeline;
mod rarity;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;

pub use self::chunk_set::ChunkSet;
use self::peers::Peer;
use self::rarity::{View, Wanted};
use crate::deadlines::Deadlines;
use crate::id::LinkId;
use crate::limits::{CHUNK_BYTES, REQUEST_TIMEOUT, STORE_RETRY, UNAVAILABLE_RETRY};
use crate::output::Output;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::Unavailable;

/// In which order chunks are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Rarest first, equally rare ones by their numbers, round from one that is drawn: bytes go to
    /// a file.
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
    /// It was good, or nobody knows, but our disk refused it: nobody is to blame; asked again
    /// later.
    StoreFailed(LinkId, u64),
    /// The peer will not send it.
    Unavailable(LinkId, u64, Unavailable),
    /// `Order::Sequential`: this chunk has left us in order.
    Consumed(u64),
    /// The length of a chunk in bytes, for the pipeline; all chunks are
    /// [`crate::limits::CHUNK_BYTES`] until told (small files of a folder have shorter ones; the
    /// mean is enough).
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
    /// Tell it the same: it said nothing for [`REQUEST_TIMEOUT`], and the chunk is for others now.
    TakeBack(LinkId, u64),
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
pub struct Download {
    now: Instant,
    chunks: u64,
    order: Order,
    had: ChunkSet,
    had_count: u64,
    /// Chunks from here on are not due yet ([`Order::Sequential`]).
    due: u64,
    wanted: Wanted,
    /// Candidates for every peer that has everything.
    view_of_all: View,
    flights: BTreeMap<u64, Flight>,
    /// Arrived and not yet stored, with their bytes.
    storing: BTreeMap<(u64, LinkId), u64>,
    peers: BTreeMap<LinkId, Peer>,
    /// Links that must not be used again.
    dropped: BTreeSet<LinkId>,
    next_request: u64,
    /// Second askers that are open.
    copies: usize,
    /// Second askers so far.
    copies_made: u64,
    requested_bytes: u64,
    storing_bytes: u64,
    mean_bytes: u64,
    /// Bytes of the chunks that came lately: rises at once, sinks slowly.
    recent_bytes: Option<u64>,
    allowed: bool,
    /// Since when.
    allowed_at: Instant,
    /// The common limits kept a peer from being asked.
    blocked: bool,
    fill: Fill,
    deadlines: Deadlines<Wake>,
    finished: bool,
    outputs: VecDeque<Output<Transmit, Event>>,
}

/// A chunk that is asked or being stored.
#[derive(Debug, Default)]
struct Flight {
    /// Who was asked, and the number of the request.
    askers: Vec<(LinkId, u64)>,
    /// How many copies are being stored.
    storing: u32,
}

/// Why a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It was answered, or nobody is there who could answer.
    Answered,
    /// Its chunk is not needed any more, or not from there.
    Cancelled,
    /// Nothing came for [`REQUEST_TIMEOUT`].
    Silent,
}

/// Who may have room for requests after an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fill {
    Nobody,
    One(LinkId),
    All,
}

/// Why a deadline stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    /// When to take a silent peer's requests away.
    Silent(LinkId),
    /// When a peer has rested.
    Rested(LinkId),
    /// When to ask a peer again for a chunk that it could not send.
    Lacking(LinkId, u64),
    /// When to ask again for a chunk that our disk refused.
    Retry(u64),
    /// When an idle peer looks at the others' queues again.
    Endgame,
}

impl Download {
    /// A download that lacks what `config.have` lacks. `config.chunks` is at most
    /// [`crate::limits::MAX_SHARE_CHUNKS`]: the owner refuses larger shares before.
    #[must_use]
    pub fn new(now: Instant, mut rng: Rng, config: Config) -> Self {
        let first = match config.order {
            Order::Rarest => rng.below(config.chunks),
            Order::Sequential { .. } => 0,
        };
        Self::beginning_at(now, first, config)
    }

    /// A download in which chunk `first` has the first turn.
    fn beginning_at(now: Instant, first: u64, config: Config) -> Self {
        let mut had = ChunkSet::empty(config.chunks);
        let had_count = config.have.iter().map(|chunk| u64::from(had.insert(chunk))).sum();
        let mut download = Self {
            now,
            chunks: config.chunks,
            order: config.order,
            had,
            had_count,
            due: 0,
            wanted: Wanted::new(config.chunks, first),
            view_of_all: View::default(),
            flights: BTreeMap::new(),
            storing: BTreeMap::new(),
            peers: BTreeMap::new(),
            dropped: BTreeSet::new(),
            next_request: 0,
            copies: 0,
            copies_made: 0,
            requested_bytes: 0,
            storing_bytes: 0,
            mean_bytes: CHUNK_BYTES as u64,
            recent_bytes: None,
            allowed: true,
            allowed_at: now,
            blocked: false,
            fill: Fill::Nobody,
            deadlines: Deadlines::default(),
            finished: false,
            outputs: VecDeque::new(),
        };
        match config.order {
            Order::Rarest => download.extend(config.chunks),
            Order::Sequential { window } => download.extend(window.max(1)),
        }
        download.finish_if_complete();
        download
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        if self.finished {
            return;
        }
        match input {
            Input::Tick => {}
            Input::PeerJoined(link) => self.peer_joined(link),
            Input::PeerHasAll(link) => self.peer_has_all(link),
            Input::PeerHas(link, first, bits) => self.peer_has(link, first, &bits),
            Input::PeerLeft(link) => self.remove_peer(link, End::Answered),
            Input::Progress(link, chunk) => self.progress(link, chunk),
            Input::Arrived(link, chunk, bytes) => self.arrived(link, chunk, bytes),
            Input::Stored(link, chunk) => self.stored(link, chunk),
            Input::False(link, chunk, _) => self.found_false(link, chunk),
            Input::StoreFailed(link, chunk) => self.store_failed(link, chunk),
            Input::Unavailable(link, chunk, why) => self.unavailable(link, chunk, why),
            Input::Consumed(chunk) => self.consumed(chunk),
            Input::MeanChunkBytes(bytes) => {
                self.mean_bytes = bytes.clamp(1, CHUNK_BYTES as u64);
                self.recent_bytes = None;
            }
            Input::Allowed(allowed) => {
                if allowed && !self.allowed {
                    self.allowed_at = self.now;
                }
                self.allowed = allowed;
                self.fill = Fill::All;
            }
        }
        while let Some(wake) = self.deadlines.pop_due(self.now) {
            self.wake(wake);
        }
        self.fill();
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Output<Transmit, Event> {
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout(self.deadlines.next()))
    }

    fn wake(&mut self, wake: Wake) {
        match wake {
            Wake::Silent(link) => self.silent(link),
            Wake::Rested(link) => self.rested(link),
            Wake::Lacking(link, chunk) => {
                if let Some(peer) = self.peers.get_mut(&link) {
                    peer.lacking.remove(&chunk);
                }
            }
            Wake::Retry(chunk) => self.release(chunk),
            Wake::Endgame => {}
        }
        self.fill = Fill::All;
    }

    fn progress(&mut self, link: LinkId, chunk: u64) {
        let Some(number) = self.request_of(link, chunk) else { return };
        let Some(peer) = self.peers.get_mut(&link) else { return };
        peer.progress_at = self.now;
        if let Some(request) = peer.requests.get_mut(&number) {
            request.progress_at = self.now;
        }
        self.deadlines.set(Wake::Silent(link), self.now + REQUEST_TIMEOUT);
    }

    fn arrived(&mut self, link: LinkId, chunk: u64, bytes: usize) {
        if chunk >= self.chunks {
            return;
        }
        let bytes = (bytes as u64).clamp(1, CHUNK_BYTES as u64);
        let recent = self.recent_bytes.unwrap_or(bytes).max(bytes);
        self.recent_bytes = Some(recent - (recent - bytes) / 16);

        let mut mark = None;
        if let Some(number) = self.request_of(link, chunk) {
            mark = self.end_request(link, number, End::Answered).map(|request| request.mark);
        }
        self.fill = Fill::One(link);
        // What was taken back and is there already makes up for no silence.
        let late = mark.is_none() && self.had.contains(chunk);
        if self.had.contains(chunk) {
            self.release(chunk);
        } else {
            self.wanted.unwant(chunk);
            // spec P18: whatever came may be used, asked or not any more
            self.deadlines.clear(&Wake::Retry(chunk));
            if self.storing.insert((chunk, link), bytes).is_none() {
                self.flights.entry(chunk).or_default().storing += 1;
                self.storing_bytes += bytes;
                if let Some(peer) = self.peers.get_mut(&link) {
                    peer.storing += 1;
                }
            }
        }
        let Some(peer) = self.peers.get_mut(&link) else { return };
        if !late {
            peer.delivered(self.now, mark);
        }
        if peer.proven {
            // It is very likely good; whoever else was asked need not send it.
            self.cancel_askers(chunk);
        }
        if let Some(mark) = mark {
            self.take_overtaken(link, mark.asked_at);
        }
    }

    fn stored(&mut self, link: LinkId, chunk: u64) {
        self.settle(link, chunk);
        self.fill = if self.blocked { Fill::All } else { Fill::One(link) };
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.proven = true;
        }
        if !self.had.insert(chunk) {
            return;
        }
        self.had_count += 1;
        self.wanted.unwant(chunk);
        self.deadlines.clear(&Wake::Retry(chunk));
        self.event(Event::Got(chunk));
        self.cancel_askers(chunk);
        self.release(chunk);
        self.finish_if_complete();
    }

    // spec P15 and P15b
    fn found_false(&mut self, link: LinkId, chunk: u64) {
        self.settle(link, chunk);
        if !planted!(NoBlame) {
            self.drop_peer(link, DropReason::FalseChunk);
        }
        self.release(chunk);
        self.fill = Fill::All;
    }

    fn store_failed(&mut self, link: LinkId, chunk: u64) {
        self.settle(link, chunk);
        self.fill = if self.blocked { Fill::All } else { Fill::One(link) };
        if !self.had.contains(chunk) && self.flight_is_over(chunk) {
            self.flights.remove(&chunk);
            // spec P20
            self.deadlines.set(Wake::Retry(chunk), self.now + STORE_RETRY);
        }
    }

    // spec P19
    fn unavailable(&mut self, link: LinkId, chunk: u64, why: Unavailable) {
        let asked = self.request_of(link, chunk);
        if let Some(number) = asked {
            self.end_request(link, number, End::Answered);
        }
        self.fill = Fill::All;
        match why {
            Unavailable::SourceChanged => self.drop_peer(link, DropReason::SourceChanged),
            Unavailable::Withdrawn => self.peer_has_nothing(link),
            Unavailable::NotHad if asked.is_some() => self.lacks(link, chunk, Instant::NEVER),
            Unavailable::ReadFailed if asked.is_some() => {
                self.lacks(link, chunk, self.now + UNAVAILABLE_RETRY);
            }
            Unavailable::NotHad | Unavailable::ReadFailed => {}
        }
        self.release(chunk);
    }

    // spec P9
    fn consumed(&mut self, chunk: u64) {
        let Order::Sequential { window } = self.order else { return };
        self.extend(chunk.saturating_add(1).saturating_add(window.max(1)));
        self.fill = Fill::All;
    }

    /// Makes all chunks below `due` due, as far as there are so many.
    fn extend(&mut self, due: u64) {
        let due = due.min(self.chunks);
        let newly = self.due..due.max(self.due);
        self.due = newly.end;
        for chunk in newly {
            if !self.flights.contains_key(&chunk) {
                self.want(chunk);
            }
        }
    }

    /// A copy of the chunk is not being stored any more.
    fn settle(&mut self, link: LinkId, chunk: u64) {
        let Some(bytes) = self.storing.remove(&(chunk, link)) else { return };
        self.storing_bytes -= bytes;
        if let Some(flight) = self.flights.get_mut(&chunk) {
            flight.storing -= 1;
        }
        if let Some(peer) = self.peers.get_mut(&link) {
            peer.storing = peer.storing.saturating_sub(1);
        }
    }

    fn finish_if_complete(&mut self) {
        if self.had_count < self.chunks {
            return;
        }
        self.finished = true;
        self.peers.clear();
        self.flights.clear();
        self.storing.clear();
        self.deadlines = Deadlines::default();
        self.event(Event::Complete);
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

#[cfg(test)]
mod tests;
