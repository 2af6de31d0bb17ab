//! Requests: whom to ask for what, and the end of asking.

use core::cmp::Reverse;

use super::peers::{Has, Request};
use super::{Download, End, Fill, Flight, Order, Transmit, Wake};
use crate::id::LinkId;
use crate::limits::{
    ENDGAME_COPIES_DIVISOR, ENDGAME_INTERVAL, ENDGAME_PATIENCE, MAX_ENDGAME_COPIES,
    MAX_OUTSTANDING_BYTES, REQUEST_TIMEOUT, STORE_BACKLOG_BYTES, UNKNOWN_CHUNK_TIME,
};
use crate::output::Output;
use crate::time::Instant;

impl Download {
    /// Asks whoever has room after this input.
    pub(super) fn fill(&mut self) {
        match core::mem::replace(&mut self.fill, Fill::Nobody) {
            Fill::Nobody => {}
            Fill::One(link) => self.fill_peer(link),
            Fill::All => {
                self.blocked = false;
                let mut order: alloc::vec::Vec<_> = self
                    .peers
                    .iter()
                    .map(|(link, peer)| (peer.strikes, Reverse(peer.pipeline.rate()), *link))
                    .collect();
                order.sort_unstable();
                for (_, _, link) in order {
                    self.fill_peer(link);
                }
            }
        }
    }

    fn fill_peer(&mut self, link: LinkId) {
        let bytes = self.chunk_bytes();
        while let Some(peer) = self.peers.get(&link)
            && self.allowed
            && peer.requests.len() < peer.limit(bytes)
        {
            if !self.has_room(bytes) {
                self.blocked = true;
                return;
            }
            if let Some(chunk) = self.pick(link) {
                self.wanted.unwant(chunk);
                self.request(link, chunk, false);
            } else if let Some(chunk) = self.pick_copy(link) {
                self.copies += 1;
                self.copies_made += 1;
                self.request(link, chunk, true);
            } else if let Some(silent) = self.pick_silent(link) {
                self.silent(silent);
            } else {
                return;
            }
        }
    }

    /// What a chunk that is asked now is likely to have.
    pub(super) fn chunk_bytes(&self) -> u64 {
        self.recent_bytes.unwrap_or(self.mean_bytes)
    }

    /// Whether the limits of all peers together allow one more request.
    // spec P13
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        let outstanding = self.requested_bytes + self.storing_bytes;
        let fits = outstanding == 0 || outstanding + bytes <= MAX_OUTSTANDING_BYTES;
        fits && self.storing_bytes <= STORE_BACKLOG_BYTES.max(self.requested_bytes)
    }

    fn pick(&mut self, link: LinkId) -> Option<u64> {
        let peer = self.peers.get_mut(&link)?;
        let lacking = &peer.lacking;
        let refused = |chunk: u64| lacking.contains(&chunk);
        match &mut peer.has {
            Has::All => self.view_of_all.pick(&self.wanted, None, 0, refused),
            Has::Some(_, 0, _) => None,
            Has::Some(set, _, view) => {
                // Mostly it has one of the best of all. If not, its own candidates, which it has
                // itself and which are therefore had by one at least.
                let refused_or_not_had = |chunk: u64| refused(chunk) || !set.contains(chunk);
                let common = self.view_of_all.peek(&self.wanted, refused_or_not_had);
                // spec P8
                let floor = u8::from(self.order == Order::Rarest);
                common.or_else(|| view.pick(&self.wanted, Some(set), floor, refused))
            }
        }
    }

    /// A chunk that another peer was asked for and that this one is likely to bring sooner: of the
    /// peer with the longest queue the last that nobody else was asked for.
    // spec P22
    fn pick_copy(&mut self, link: LinkId) -> Option<u64> {
        let most = MAX_ENDGAME_COPIES as u64 + self.chunks / ENDGAME_COPIES_DIVISOR;
        if self.copies >= MAX_ENDGAME_COPIES || self.copies_made >= most {
            return None;
        }
        let unknown = UNKNOWN_CHUNK_TIME.as_nanos() as u64;
        let me = self.peers.get(&link)?;
        let ours = me.pipeline.time_for(me.requests.len() + 1).unwrap_or(unknown);
        let mut best = None;
        for (other, peer) in self.peers.iter().filter(|(other, _)| **other != link) {
            let last = peer.requests.values().rev().take(MAX_ENDGAME_COPIES);
            let mut last = last.map(|request| request.chunk);
            let chunk = last.find(|chunk| me.offers(*chunk) && self.is_asked_once(*chunk));
            if let Some(chunk) = chunk {
                best = best.max(Some((peer.queue_time(self.now), *other, chunk)));
            }
        }
        let (theirs, _, chunk) = best?;
        if ours.saturating_add(ours / 4) < theirs {
            return Some(chunk);
        }
        if self.deadlines.get(&Wake::Endgame).is_none() {
            self.deadlines.set(Wake::Endgame, self.now + ENDGAME_INTERVAL);
        }
        None
    }

    /// A peer that has been silent while this one is idle, and must make way for it: keys are free,
    /// and a crowd that says nothing must not hold the last chunks for long.
    // spec P22b
    fn pick_silent(&mut self, link: LinkId) -> Option<LinkId> {
        let me = self.peers.get(&link)?;
        let mut soonest = Instant::NEVER;
        for (other, peer) in &self.peers {
            if *other == link || peer.requests.is_empty() || me.strikes > peer.strikes {
                continue;
            }
            let since = peer.progress_at.max(self.allowed_at);
            let at = since + ENDGAME_PATIENCE.saturating_mul(peer.strikes + 1);
            if at > self.now {
                soonest = soonest.min(at);
                continue;
            }
            let helps = |chunk: u64| {
                let flight = self.flights.get(&chunk).filter(|flight| flight.storing == 0);
                let asked = |flight: &Flight| flight.askers.iter().any(|(asked, _)| *asked == link);
                me.offers(chunk) && flight.is_some_and(|flight| !asked(flight))
            };
            if peer.requests.values().any(|request| helps(request.chunk)) {
                return Some(*other);
            }
        }
        let soonest = soonest.max(self.now + ENDGAME_INTERVAL);
        if soonest != Instant::NEVER
            && self.deadlines.get(&Wake::Endgame).is_none_or(|planned| planned > soonest)
        {
            self.deadlines.set(Wake::Endgame, soonest);
        }
        None
    }

    // spec P21
    fn is_asked_once(&self, chunk: u64) -> bool {
        let flight = self.flights.get(&chunk);
        flight.is_some_and(|flight| flight.askers.len() == 1 && flight.storing == 0)
    }

    pub(super) fn request(&mut self, link: LinkId, chunk: u64, copy: bool) {
        let bytes = self.chunk_bytes();
        let number = self.next_request;
        let Some(peer) = self.peers.get_mut(&link) else { return };
        if peer.requests.is_empty() {
            peer.progress_at = self.now;
            self.deadlines.set(Wake::Silent(link), self.now + REQUEST_TIMEOUT);
        }
        let mark = peer.pipeline.ask(self.now, peer.requests.len(), bytes);
        let request = Request { chunk, mark, progress_at: self.now, bytes, copy };
        peer.requests.insert(number, request);
        self.next_request += 1;
        self.requested_bytes += bytes;
        self.flights.entry(chunk).or_default().askers.push((link, number));
        self.outputs.push_back(Output::Transmit(Transmit::Request(link, chunk)));
    }

    /// The number of the request for this chunk that is open at this peer.
    pub(super) fn request_of(&self, link: LinkId, chunk: u64) -> Option<u64> {
        let askers = &self.flights.get(&chunk)?.askers;
        askers.iter().find(|(asked, _)| *asked == link).map(|(_, number)| *number)
    }

    /// Forgets a request, and tells the peer unless it has answered. The chunk is not wanted again
    /// until it is released.
    pub(super) fn end_request(&mut self, link: LinkId, number: u64, end: End) -> Option<Request> {
        let peer = self.peers.get_mut(&link)?;
        let request = peer.requests.remove(&number)?;
        let silent_at = match peer.requests.is_empty() {
            true => Instant::NEVER,
            false if end == End::Answered => self.now + REQUEST_TIMEOUT,
            false => peer.progress_at + REQUEST_TIMEOUT,
        };
        self.deadlines.set(Wake::Silent(link), silent_at);
        self.requested_bytes -= request.bytes;
        self.copies -= usize::from(request.copy);
        if let Some(flight) = self.flights.get_mut(&request.chunk) {
            flight.askers.retain(|(_, asked)| *asked != number);
        }
        let word = match end {
            End::Answered => return Some(request),
            End::Cancelled => Transmit::Cancel(link, request.chunk),
            End::Silent => Transmit::TakeBack(link, request.chunk),
        };
        self.outputs.push_back(Output::Transmit(word));
        Some(request)
    }

    /// Nobody needs to send this chunk any more.
    // spec P23
    pub(super) fn cancel_askers(&mut self, chunk: u64) {
        if planted!(NoCancel) {
            return;
        }
        let Some(flight) = self.flights.get_mut(&chunk) else { return };
        for (link, number) in core::mem::take(&mut flight.askers) {
            self.end_request(link, number, End::Cancelled);
            self.fill = Fill::All;
        }
    }

    /// Whether nobody was asked for this chunk and no copy is being stored.
    pub(super) fn flight_is_over(&self, chunk: u64) -> bool {
        let flight = self.flights.get(&chunk);
        flight.is_none_or(|flight| flight.askers.is_empty() && flight.storing == 0)
    }

    /// Something about this chunk ended: it is wanted again if nothing else is under way.
    pub(super) fn release(&mut self, chunk: u64) {
        if self.flight_is_over(chunk) {
            self.flights.remove(&chunk);
            let later = self.deadlines.get(&Wake::Retry(chunk)).is_some();
            if chunk < self.due && !later {
                self.want(chunk);
            }
        }
    }

    /// Puts a chunk that is due where the peers that have it find it.
    pub(super) fn want(&mut self, chunk: u64) {
        if self.had.contains(chunk) || self.wanted.key(chunk).is_some() {
            return;
        }
        let partial = self.peers.values_mut().filter_map(|peer| match &mut peer.has {
            Has::Some(set, _, view) if set.contains(chunk) => Some(view),
            Has::Some(..) | Has::All => None,
        });
        let views: alloc::vec::Vec<_> = partial.collect();
        let key = if self.order == Order::Rarest { views.len() as u8 } else { 0 };
        self.wanted.want(chunk, key);
        let turn = self.wanted.turn(chunk);
        self.view_of_all.offer(key, turn);
        for view in views {
            view.offer(key, turn);
        }
    }
}
