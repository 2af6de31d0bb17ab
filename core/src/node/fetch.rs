//! Chunks on their way to us: requests, arrivals, verdicts, order, and the limit on downloads.
//!
//! The [`crate::download::Download`] decides; this file carries its requests to links and its news
//! back. A request is forgotten when its chunk or its refusal comes, or when its link ends. A
//! cancelled request stays until then, because its chunk may be on its way; what it brings is
//! counted and thrown away.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::IpAddr;

use bytes::BytesMut;

use super::contents::{Fetch, Stage};
use super::links::{Asked, Cancelled};
use super::{Failure, Node, PeerDropReason, Sink, StoreResult, Timer, Transmit, Work};
use crate::download::{self, Download, DropReason};
use crate::id::{ChunkRef, ContentKey, Hash, Instance, LinkId, Space};
use crate::limiter::Limiter;
use crate::output::Output;
use crate::path::PathKind;
use crate::session::Command;
use crate::time::Instant;
use crate::wire::{Message, RequestId, Unavailable};

/// A chunk that is being verified and written. Two links may have sent the same one: who knows
/// which of them is true.
#[derive(Debug)]
pub(super) struct Storing {
    from: Instance,
    ip: Option<IpAddr>,
    bytes: usize,
}

/// Verified chunks that wait for their turn on a pipe. Bounded by the scheduler's window.
#[derive(Debug, Default)]
pub(super) struct Ordered {
    ready: BTreeMap<u64, BytesMut>,
    next: u64,
    delivering: bool,
}

/// The limit on downloads. A scheduler asks for several chunks at once; what the limit does not let
/// pass is held back here, and while anything is, no scheduler asks for more.
#[derive(Debug)]
pub(super) struct Allowance {
    limiter: Option<Limiter>,
    held: VecDeque<(ContentKey, LinkId, u64)>,
    pub(super) allowed: bool,
}

impl Allowance {
    pub(super) fn new(now: Instant, bytes_per_second: Option<u64>) -> Self {
        let limiter = bytes_per_second.map(|rate| Limiter::new(now, Some(rate)));
        Self { limiter, held: VecDeque::new(), allowed: true }
    }
}

impl Node {
    fn fetch(&self, key: ContentKey) -> Option<&Fetch> {
        self.contents.get(&key)?.fetch.as_ref()
    }

    pub(super) fn fetch_mut(&mut self, key: ContentKey) -> Option<&mut Fetch> {
        self.contents.get_mut(&key)?.fetch.as_mut()
    }

    fn download_mut(&mut self, key: ContentKey) -> Option<&mut Download> {
        self.fetch_mut(key)?.download.as_mut()
    }

    pub(super) fn tell_download(&mut self, key: ContentKey, input: download::Input) {
        self.work.push_back(Work::Download(key, input));
    }

    /// One input, one whole drain.
    pub(super) fn drive_download(&mut self, key: ContentKey, input: download::Input) {
        let now = self.now;
        let Some(download) = self.download_mut(key) else { return };
        download.handle_input(now, input);
        while let Some(download) = self.download_mut(key) {
            match download.poll_output() {
                Output::Transmit(download::Transmit::Request(link, index)) => {
                    self.ask(key, link, index);
                }
                Output::Transmit(download::Transmit::Cancel(link, index)) => {
                    self.send_cancel(key, link, index, Cancelled::NotNeeded);
                }
                Output::Transmit(download::Transmit::TakeBack(link, index)) => {
                    self.send_cancel(key, link, index, Cancelled::Silent);
                }
                Output::Event(download::Event::Got(index)) => self.on_got(key, index),
                Output::Event(download::Event::Dropped(link, reason)) => {
                    self.on_dropped(key, link, reason);
                }
                Output::Event(download::Event::Complete) => self.on_all_stored(key),
                Output::Timeout(at) => {
                    self.set_timer_at(Timer::Download(key), at);
                    return;
                }
            }
        }
    }

    fn chunk_ref(&self, key: ContentKey, index: u64) -> Option<ChunkRef> {
        match self.fetch(key)?.stage {
            Stage::Fetching(space) => Some(ChunkRef { space, index }),
            Stage::Locating
            | Stage::Described
            | Stage::Between(_)
            | Stage::Finished
            | Stage::Failed => None,
        }
    }

    /// Asks for a chunk, now or when the limit allows it.
    fn ask(&mut self, key: ContentKey, link: LinkId, index: u64) {
        if !self.allowance.held.is_empty() || !self.pay_for(key, index) {
            self.allowance.held.push_back((key, link, index));
        } else {
            self.send_request(key, link, index);
        }
        self.check_allowance();
    }

    fn send_request(&mut self, key: ContentKey, link: LinkId, index: u64) {
        let Some(chunk) = self.chunk_ref(key, index) else { return };
        if self.links.is_full(link) {
            // Other downloads on this link have taken all its requests: asked again a little later.
            let input = download::Input::Unavailable(link, index, Unavailable::ReadFailed);
            return self.tell_download(key, input);
        }
        // A link that has just ended: the download hears of that next.
        let Some((request, handle)) = self.links.new_request(link, key, chunk) else { return };
        self.command(link, Command::Request { request, handle, chunk });
    }

    fn send_cancel(&mut self, key: ContentKey, link: LinkId, index: u64, why: Cancelled) {
        let held = self.allowance.held.len();
        self.allowance.held.retain(|held| *held != (key, link, index));
        if self.allowance.held.len() < held {
            return;
        }
        let Some(chunk) = self.chunk_ref(key, index) else { return };
        if let Some(request) = self.links.cancel(link, key, chunk, why) {
            self.say(link, Message::Cancel { request });
        }
    }

    /// Cancels whatever of `key` is asked for on this link.
    pub(super) fn cancel_all(&mut self, link: LinkId, key: ContentKey) {
        self.allowance.held.retain(|(of, to, _)| (*of, *to) != (key, link));
        for request in self.links.cancel_all(link, key) {
            self.say(link, Message::Cancel { request });
        }
    }

    /// A link has opened the share: the scheduler hears of it, with what was said before.
    pub(super) fn join_download(&mut self, key: ContentKey, space: Space, link: LinkId) {
        let Some(early) = self.links.take_early(link, key, space) else { return };
        self.tell_download(key, download::Input::PeerJoined(link));
        match early {
            super::have::Early::Nothing => {}
            super::have::Early::All => {
                self.tell_download(key, download::Input::PeerHasAll(link));
            }
            super::have::Early::Bits(bits) => self.tell_bits(key, link, 0, bits),
        }
    }

    /// Passes bits on. What a peer claims behind the end of the space is nothing to a download.
    pub(super) fn tell_bits(&mut self, key: ContentKey, link: LinkId, first: u64, bits: Vec<u8>) {
        self.tell_download(key, download::Input::PeerHas(link, first, bits));
    }

    pub(super) fn on_chunk_progress(&mut self, link: LinkId, request: RequestId) {
        if let Some(asked) = self.links.asked(link, request)
            && asked.cancelled.is_none()
        {
            let (key, index) = (asked.content, asked.chunk.index);
            self.tell_download(key, download::Input::Progress(link, index));
        }
    }

    /// A whole chunk came. It goes to be verified, unless nobody wants it any more.
    pub(super) fn on_chunk(
        &mut self,
        link: LinkId,
        request: RequestId,
        proof: Vec<Hash>,
        data: BytesMut,
    ) {
        let Some(asked) = self.links.answered(link, request) else {
            return self.counters.count("chunk_for_no_request");
        };
        let Some((path, from)) = self.links.up(link) else { return };
        let ip = self.links.network(link);
        // A cancelled one may be welcome all the same: it was asked elsewhere only because it was
        // slow.
        let Asked { content: key, chunk, cancelled } = asked;
        let wanted = self.chunk_ref(key, chunk.index) == Some(chunk) && !self.holds(key, chunk);
        let Some(fetch) = self.fetch_mut(key) else {
            return self.command(link, Command::Recycle(data));
        };
        let bytes = data.len();
        fetch.progress.received_bytes += bytes as u64;
        fetch.progress.by_path_bytes[path_index(path)] += bytes as u64;
        if !wanted || fetch.storing.contains_key(&(chunk, link)) {
            self.counters.count("chunk_not_wanted_any_more");
            if cancelled == Some(Cancelled::Silent) {
                // It said nothing until others had brought the chunk, and sends it all the same.
                self.counters.count("chunk_too_late");
                self.wasted(from.peer, ip, bytes);
            }
            return self.command(link, Command::Recycle(data));
        }
        fetch.storing.insert((chunk, link), Storing { from, ip, bytes });
        let why = Cancelled::NotNeeded;
        if cancelled.is_some()
            && let Some(request) = self.links.cancel(link, key, chunk, why)
        {
            // Asked again of the same peer since: it need not come twice.
            self.say(link, Message::Cancel { request });
        }
        self.tell_download(key, download::Input::Arrived(link, chunk.index, bytes));
        if planted!(CountEarly) {
            self.tell_download(key, download::Input::Stored(link, chunk.index));
        }
        self.transmit(Transmit::StoreChunk { content: key, chunk, link, proof, data });
    }

    pub(super) fn on_unavailable(&mut self, link: LinkId, request: RequestId, why: Unavailable) {
        let Some(asked) = self.links.answered(link, request) else {
            return self.counters.count("refusal_of_no_request");
        };
        if asked.cancelled.is_none() {
            let input = download::Input::Unavailable(link, asked.chunk.index, why);
            self.tell_download(asked.content, input);
        }
    }

    pub(super) fn on_chunk_stored(
        &mut self,
        key: ContentKey,
        chunk: ChunkRef,
        link: LinkId,
        result: StoreResult,
        buffer: BytesMut,
    ) {
        let new = !self.holds(key, chunk);
        let storing = self.fetch_mut(key).and_then(|fetch| fetch.storing.remove(&(chunk, link)));
        let (Some(storing), Some(fetch)) = (storing, self.fetch_mut(key)) else {
            return self.recycle(key, link, buffer);
        };
        match result {
            StoreResult::Written => {
                if new {
                    let bytes = fetch.progress.verified_bytes + storing.bytes as u64;
                    fetch.progress.verified_bytes = bytes.min(fetch.shape.bytes);
                }
                if new && fetch.wish.sink == Sink::Ordered {
                    fetch.ordered.ready.insert(chunk.index, buffer);
                } else {
                    self.recycle(key, link, buffer);
                }
                self.tell_download(key, download::Input::Stored(link, chunk.index));
                self.deliver(key);
            }
            StoreResult::False => {
                self.recycle(key, link, buffer);
                let input = download::Input::False(link, chunk.index, storing.bytes);
                self.tell_download(key, input);
                if !planted!(NoBlame) {
                    self.note_lie_in_return(key, link, storing.from);
                    self.on_liar(key, storing.from);
                    self.wasted(storing.from.peer, storing.ip, storing.bytes);
                }
            }
            StoreResult::Failed(why) => {
                self.recycle(key, link, buffer);
                self.fail(key, Failure::Store(why));
            }
        }
    }

    /// A buffer goes to the session that will fill the next chunk: the one that filled this one, or
    /// another of the same download.
    fn recycle(&mut self, key: ContentKey, link: LinkId, buffer: BytesMut) {
        let to = if self.links.up(link).is_some() {
            Some(link)
        } else {
            self.fetch(key).and_then(|fetch| fetch.joined.first().copied())
        };
        if let Some(link) = to {
            self.command(link, Command::Recycle(buffer));
        }
    }

    fn on_got(&mut self, key: ContentKey, index: u64) {
        let Some(chunk) = self.chunk_ref(key, index) else { return };
        let Some(content) = self.contents.get_mut(&key) else { return };
        content.holding_mut(chunk.space).insert(index);
        if content.serve && !content.opened_by.is_empty() {
            content.untold.push(chunk);
            self.plan_telling(key);
        }
    }

    /// The scheduler is through; an ordered download ends when its last byte has left.
    fn on_all_stored(&mut self, key: ContentKey) {
        let Some(fetch) = self.fetch_mut(key) else { return };
        fetch.download = None;
        let Stage::Fetching(space) = fetch.stage else { return };
        // What came last has not even left us: it was stored a moment ago.
        let leaves = fetch.wish.sink == Sink::Ordered;
        self.timers.clear(&Timer::Download(key));
        if !leaves {
            self.on_space_complete(key, space);
        }
    }

    fn deliver(&mut self, key: ContentKey) {
        let Some(fetch) = self.fetch_mut(key) else { return };
        let Stage::Fetching(space) = fetch.stage else { return };
        if fetch.ordered.delivering {
            return;
        }
        let index = fetch.ordered.next;
        if let Some(data) = fetch.ordered.ready.remove(&index) {
            fetch.ordered.delivering = true;
            let chunk = ChunkRef { space, index };
            self.transmit(Transmit::Deliver { content: key, chunk, data });
        }
    }

    pub(super) fn on_delivered(&mut self, key: ContentKey, chunk: ChunkRef, buffer: BytesMut) {
        let Some(fetch) = self.fetch_mut(key) else { return };
        let due = fetch.ordered.delivering && fetch.ordered.next == chunk.index;
        if !due || fetch.stage != Stage::Fetching(chunk.space) {
            return self.counters.count("delivered_out_of_turn");
        }
        fetch.ordered.delivering = false;
        fetch.ordered.next += 1;
        let through = fetch.download.is_none() && fetch.ordered.next >= fetch.shape.chunks;
        let link = fetch.joined.first().copied();
        if let Some(link) = link {
            self.command(link, Command::Recycle(buffer));
        }
        if through {
            self.on_space_complete(key, chunk.space);
        } else {
            self.tell_download(key, download::Input::Consumed(chunk.index));
            self.deliver(key);
        }
    }

    /// The scheduler does not want this link any more.
    fn on_dropped(&mut self, key: ContentKey, link: LinkId, reason: DropReason) {
        let Some((_, instance)) = self.links.up(link) else { return };
        match reason {
            DropReason::FalseChunk => self.on_liar(key, instance),
            DropReason::SourceChanged => {
                let why = PeerDropReason::Download(reason);
                self.ban_peer(key, instance, why);
            }
            DropReason::Silent => self.on_silent(key, instance, link),
        }
    }

    /// Whether the limit lets this chunk pass now.
    fn pay_for(&mut self, key: ContentKey, index: u64) -> bool {
        let chunk = self.chunk_ref(key, index);
        let (Some(chunk), Some(content)) = (chunk, self.contents.get(&key)) else { return true };
        let bytes = content.chunk_bytes(chunk);
        self.allowance.limiter.as_mut().is_none_or(|limiter| limiter.take(self.now, bytes))
    }

    /// Sends what was held back, as far as the limit goes.
    pub(super) fn pay_allowance(&mut self) {
        while let Some((key, link, index)) = self.allowance.held.front().copied() {
            if !self.pay_for(key, index) {
                break;
            }
            self.allowance.held.pop_front();
            self.send_request(key, link, index);
        }
        self.check_allowance();
    }

    fn check_allowance(&mut self) {
        let Some(limiter) = &self.allowance.limiter else { return };
        let ready_at = limiter.ready_at();
        let allowed = self.allowance.held.is_empty() && ready_at <= self.now;
        if !allowed {
            self.set_timer_at(Timer::Allow, ready_at);
        }
        if self.allowance.allowed != allowed {
            self.set_allowed(allowed);
        }
    }

    fn set_allowed(&mut self, allowed: bool) {
        self.allowance.allowed = allowed;
        let running = |fetch: &Fetch| fetch.download.is_some();
        let keys: Vec<ContentKey> = self
            .contents
            .iter()
            .filter(|(_, content)| content.fetch.as_ref().is_some_and(running))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            self.tell_download(key, download::Input::Allowed(allowed));
        }
    }

    /// Whoever sent a false chunk is not used again by this run, for nothing.
    fn on_liar(&mut self, key: ContentKey, instance: Instance) {
        if self.banned.len() >= crate::limits::MAX_BANNED {
            self.banned.pop_first();
        }
        self.banned.insert(instance);
        self.ban_peer(key, instance, PeerDropReason::Download(DropReason::FalseChunk));
        self.close_links_to(instance, "false_chunk");
    }
}

const fn path_index(path: PathKind) -> usize {
    match path {
        PathKind::Direct => 0,
        PathKind::Punched => 1,
        PathKind::Relay => 2,
    }
}

#[cfg(test)]
mod tests;
