//! The peers of a download: what each has, what it was asked, and what is thought of it.

use alloc::collections::{BTreeMap, BTreeSet};

use super::pipeline::{Mark, Pipeline};
use super::rarity::View;
use super::{ChunkSet, Download, DropReason, End, Event, Fill, Order, Wake};
use crate::id::LinkId;
use crate::limits::{
    LIMITED_REQUEST_TIMEOUT, MAX_DROPPED_LINKS, MAX_LACKING_CHUNKS, MAX_PEERS_PER_DOWNLOAD,
    MAX_SILENT_STRIKES, REQUEST_TIMEOUT, SILENT_REST, UNAVAILABLE_RETRY, UNPROVEN_PIPELINE_CHUNKS,
};
use crate::time::Instant;

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) has: Has,
    /// What it has by its own word, but did not send when asked; at most [`MAX_LACKING_CHUNKS`].
    pub(super) lacking: BTreeSet<u64>,
    /// Open requests by their numbers, hence in the order in which they were asked.
    pub(super) requests: BTreeMap<u64, Request>,
    pub(super) pipeline: Pipeline,
    /// A chunk of it was verified and stored.
    pub(super) proven: bool,
    /// Chunks of it that are being stored.
    pub(super) storing: usize,
    /// Timeouts in a row.
    pub(super) strikes: u32,
    /// It is not asked for now.
    pub(super) resting: bool,
    /// When it last sent something that was asked, or was asked after having been idle.
    pub(super) progress_at: Instant,
}

/// What a peer has.
#[derive(Debug)]
pub(super) enum Has {
    /// Everything.
    All,
    /// These chunks, so many; and its candidates.
    Some(ChunkSet, u64, View),
}

/// One open request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) chunk: u64,
    pub(super) mark: Mark,
    pub(super) progress_at: Instant,
    /// What it counts for in the outstanding bytes.
    pub(super) bytes: u64,
    /// Another peer had been asked before.
    pub(super) copy: bool,
}

impl Peer {
    pub(super) fn new(now: Instant, chunks: u64) -> Self {
        Self {
            has: Has::Some(ChunkSet::empty(chunks), 0, View::default()),
            lacking: BTreeSet::new(),
            requests: BTreeMap::new(),
            pipeline: Pipeline::default(),
            proven: false,
            storing: 0,
            strikes: 0,
            resting: false,
            progress_at: now,
        }
    }

    /// Whether it has this chunk and did not fail to send it.
    // spec P6
    pub(super) fn offers(&self, chunk: u64) -> bool {
        let has = match &self.has {
            Has::All => true,
            Has::Some(set, _, _) => set.contains(chunk),
        };
        has && !self.lacking.contains(&chunk)
    }

    /// Requests that it may have open (P10, P12, P16).
    pub(super) fn limit(&self, chunk_bytes: u64) -> usize {
        if self.resting {
            0
        } else if !self.proven {
            // spec P10
            UNPROVEN_PIPELINE_CHUNKS.saturating_sub(self.storing)
        } else if self.strikes > 0 {
            1
        } else {
            self.pipeline.window(chunk_bytes)
        }
    }

    /// A chunk of it came, in answer to the request with this mark if there was one.
    pub(super) fn delivered(&mut self, now: Instant, mark: Option<Mark>) {
        self.strikes = 0;
        self.progress_at = now;
        if let Some(mark) = mark {
            self.pipeline.arrived(now, mark);
        }
    }

    /// How long its last request will take, in nanoseconds, as far as can be known: for a new peer
    /// at least as long as it has been silent.
    pub(super) fn queue_time(&self, now: Instant) -> u64 {
        let silence = u64::try_from(now.since(self.progress_at).as_nanos()).unwrap_or(u64::MAX);
        self.pipeline.time_for(self.requests.len()).unwrap_or(0).max(silence)
    }
}

impl Download {
    pub(super) fn peer_joined(&mut self, link: LinkId) {
        let room = self.peers.len() < MAX_PEERS_PER_DOWNLOAD;
        if room && !self.peers.contains_key(&link) && !self.dropped.contains(&link) {
            self.peers.insert(link, Peer::new(self.now, self.chunks));
        }
    }

    pub(super) fn peer_has_all(&mut self, link: LinkId) {
        let Some(peer) = self.peers.get_mut(&link) else { return };
        peer.lacking.clear();
        let had = core::mem::replace(&mut peer.has, Has::All);
        self.forget_set(&had);
        self.fill = Fill::One(link);
    }

    pub(super) fn peer_has_nothing(&mut self, link: LinkId) {
        let Some(peer) = self.peers.get_mut(&link) else { return };
        let nothing = Has::Some(ChunkSet::empty(self.chunks), 0, View::default());
        let had = core::mem::replace(&mut peer.has, nothing);
        self.forget_set(&had);
        self.take_requests(link, End::Answered);
    }

    pub(super) fn peer_has(&mut self, link: LinkId, first: u64, bits: &[u8]) {
        let ordered = self.order != Order::Rarest;
        let Some(peer) = self.peers.get_mut(&link) else { return };
        let told = ChunkSet { bits: bits.to_vec(), len: self.chunks.saturating_sub(first) };
        let mut complete = false;
        for chunk in told.iter().map(|bit| first + bit) {
            peer.lacking.remove(&chunk);
            let Has::Some(set, count, view) = &mut peer.has else { continue };
            if !set.insert(chunk) {
                continue;
            }
            *count += 1;
            complete = *count == self.chunks;
            if !ordered {
                self.wanted.shift(chunk, true);
            }
            if let Some(key) = self.wanted.key(chunk) {
                view.offer(key, self.wanted.turn(chunk));
            }
        }
        self.fill = Fill::One(link);
        if !ordered && self.peers.len() > 1 {
            told.iter().for_each(|bit| self.relieve(first + bit, link));
        }
        if complete {
            self.peer_has_all(link);
        }
    }

    /// `link` has a chunk now that a seeder was asked for when nobody else had it. If that one's
    /// answer is further away, its turn is better used for something that is still rare.
    // spec P26
    fn relieve(&mut self, chunk: u64, link: LinkId) {
        let Some(flight) = self.flights.get(&chunk).filter(|flight| flight.storing == 0) else {
            return;
        };
        let [(asked, number)] = flight.askers[..] else { return };
        let (Some(seeder), Some(peer)) = (self.peers.get(&asked), self.peers.get(&link)) else {
            return;
        };
        let is_seeder = matches!(seeder.has, Has::All);
        let has_room = peer.proven && peer.requests.len() < peer.limit(self.chunk_bytes());
        let Some(request) = seeder.requests.get(&number).filter(|_| is_seeder && has_room) else {
            return;
        };
        let waits = request.progress_at == request.mark.asked_at;
        let place = seeder.requests.range(..=number).count();
        let theirs = seeder.pipeline.time_for(place).unwrap_or(0);
        let ours = peer.pipeline.time_for(peer.requests.len() + 1).unwrap_or(u64::MAX);
        if waits && place > 1 && ours.saturating_add(ours / 4) < theirs {
            self.end_request(asked, number, End::Cancelled);
            self.request(link, chunk, false);
            self.fill = Fill::All;
        }
    }

    /// A partial have-set does not count any more: its chunks are rarer by one.
    fn forget_set(&mut self, had: &Has) {
        let Has::Some(set, 1.., _) = had else { return };
        if self.order != Order::Rarest {
            return;
        }
        for chunk in set.iter() {
            self.wanted.shift(chunk, false);
        }
        self.view_of_all.reset();
        for peer in self.peers.values_mut() {
            if let Has::Some(_, _, view) = &mut peer.has {
                view.reset();
            }
        }
    }

    /// The peer is gone, or must not be used any more; its chunks are asked elsewhere.
    pub(super) fn remove_peer(&mut self, link: LinkId, end: End) {
        if !planted!(LoseRequests) {
            self.take_requests(link, end);
        }
        let Some(peer) = self.peers.remove(&link) else { return };
        self.forget_set(&peer.has);
        self.deadlines.clear(&Wake::Silent(link));
        self.deadlines.clear(&Wake::Rested(link));
        for chunk in peer.lacking {
            self.deadlines.clear(&Wake::Lacking(link, chunk));
        }
        self.fill = Fill::All;
    }

    /// Never uses this link again, and says so once (P15, P19).
    pub(super) fn drop_peer(&mut self, link: LinkId, reason: DropReason) {
        self.remove_peer(link, End::Cancelled);
        if !self.dropped.insert(link) {
            return;
        }
        if self.dropped.len() > MAX_DROPPED_LINKS {
            self.dropped.pop_first();
        }
        self.event(Event::Dropped(link, reason));
    }

    /// Ends all requests of a peer; their chunks are wanted again.
    fn take_requests(&mut self, link: LinkId, end: End) {
        while let Some(peer) = self.peers.get(&link) {
            let Some(number) = peer.requests.keys().next().copied() else { break };
            if let Some(request) = self.end_request(link, number, end) {
                // A second asker that brings nothing wastes nothing.
                self.copies_made -= u64::from(request.copy);
                self.release(request.chunk);
            }
        }
    }

    /// Nothing of what the peer was asked made any progress for [`REQUEST_TIMEOUT`], or for less if
    /// somebody idle can bring it.
    // spec P16 and P22b
    pub(super) fn silent(&mut self, link: LinkId) {
        let Some(peer) = self.peers.get(&link) else { return };
        if !self.allowed && self.now < peer.progress_at + LIMITED_REQUEST_TIMEOUT {
            // The download limit may hold our requests back; the peer is not to blame for that.
            self.deadlines.set(Wake::Silent(link), self.now + REQUEST_TIMEOUT);
            return;
        }
        let mut others = self.peers.iter().filter(|(other, _)| **other != link);
        let replaceable = others.any(|(_, other)| other.proven && other.strikes == 0);
        let alone = self.peers.len() == 1;
        // Whoever only makes way for an idle one (P22b) was not silent for long.
        let since = peer.progress_at.max(self.allowed_at);
        let long = self.now >= since + REQUEST_TIMEOUT;
        self.take_requests(link, if long { End::Silent } else { End::Cancelled });
        let Some(peer) = self.peers.get_mut(&link) else { return };
        peer.strikes += 1;
        peer.pipeline.forget();
        // spec P16b
        if replaceable && peer.strikes >= MAX_SILENT_STRIKES {
            self.drop_peer(link, DropReason::Silent);
        } else if !alone {
            // The others first; a peer that is alone is asked again at once.
            peer.resting = true;
            let rest = SILENT_REST.saturating_mul(peer.strikes);
            self.deadlines.set(Wake::Rested(link), self.now + rest);
        }
    }

    pub(super) fn rested(&mut self, link: LinkId) {
        let Some(peer) = self.peers.get_mut(&link) else { return };
        peer.resting = false;
        for chunk in core::mem::take(&mut peer.lacking) {
            self.deadlines.clear(&Wake::Lacking(link, chunk));
        }
    }

    /// The peer did not send this chunk: it is not asked for it until then, or until it says again
    /// that it has it. One that lacks much rests.
    pub(super) fn lacks(&mut self, link: LinkId, chunk: u64, until: Instant) {
        let Some(peer) = self.peers.get_mut(&link) else { return };
        peer.progress_at = self.now;
        peer.lacking.insert(chunk);
        self.deadlines.set(Wake::Lacking(link, chunk), until);
        if peer.lacking.len() >= MAX_LACKING_CHUNKS && !peer.resting {
            peer.resting = true;
            self.deadlines.set(Wake::Rested(link), self.now + UNAVAILABLE_RETRY);
        }
    }

    /// A chunk came that was asked at `asked_at`. If what was asked longest ago was asked before
    /// that and has not moved for [`REQUEST_TIMEOUT`], it was passed over: it is asked elsewhere.
    // spec P17
    pub(super) fn take_overtaken(&mut self, link: LinkId, asked_at: Instant) {
        let Some(peer) = self.peers.get(&link) else { return };
        let Some((number, oldest)) = peer.requests.first_key_value() else { return };
        let (number, chunk) = (*number, oldest.chunk);
        if oldest.mark.asked_at >= asked_at || self.now < oldest.progress_at + REQUEST_TIMEOUT {
            return;
        }
        self.end_request(link, number, End::Silent);
        if self.peers.len() > 1 {
            self.lacks(link, chunk, self.now + REQUEST_TIMEOUT);
        }
        self.release(chunk);
        self.fill = Fill::All;
    }
}
