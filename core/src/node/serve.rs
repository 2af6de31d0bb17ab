//! Requests of others: checked, put in turn, counted; and who is told what we have.
//!
//! A link that wants to send waits for its turn ([`super::turns`]); each turn is one chunk, so that
//! no receiver starves another, and a turn comes only if the upload limit of all sessions together
//! lets a chunk pass. A link's session is given a few chunks at a time, so that what waits stays
//! here, where it can be taken back.
//!
//! Every request is answered exactly once, by its chunk or by `Unavailable`; sessions see to that
//! for those that the peer cancels.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::contents::Content;
use super::have::Holding;
use super::opens::Opened;
use super::turns::Turns;
use super::{Event, Failure, Node, Timer};
use crate::id::{ChunkRef, ContentKey, Instance, LinkId, Space};
use crate::limiter::Limiter;
use crate::limits::{
    MAX_HAVE_BITS, MAX_HAVE_BYTES_PER_SESSION, MAX_INCOMING_REQUESTS, MAX_RECEIVERS_PER_SHARE,
    MAX_SERVES_PER_LINK, MAX_UNTOLD_CHUNKS, SERVE_COST_BYTES, TELL_INTERVAL,
};
use crate::path::PathKind;
use crate::session::Command;
use crate::time::Instant;
use crate::wire::{Handle, Message, RequestId, Unavailable};

/// Links that want to send, in turn, and the limit for all of them.
#[derive(Debug)]
pub(super) struct Upload {
    limiter: Limiter,
    turns: Turns,
}

/// A request that waits for its turn.
#[derive(Debug)]
pub(super) struct Wanted {
    request: RequestId,
    content: ContentKey,
    chunk: ChunkRef,
}

/// A request that the session is at.
#[derive(Debug)]
pub(super) struct Serving {
    content: ContentKey,
}

/// Somebody who fetches from us, over all its links.
#[derive(Debug)]
pub(super) struct Receiver {
    sent_bytes: u64,
    path: PathKind,
    done: bool,
    /// Whether something is new since the last report.
    news: bool,
}

impl Upload {
    pub(super) fn new(now: Instant, bytes_per_second: Option<u64>) -> Self {
        Self { limiter: Limiter::new(now, bytes_per_second), turns: Turns::new() }
    }

    pub(super) fn clear(&mut self) {
        self.turns = Turns::new();
    }
}

impl Node {
    pub(super) fn on_request(
        &mut self,
        id: LinkId,
        request: RequestId,
        handle: Handle,
        chunk: ChunkRef,
    ) {
        let Some(link) = self.links.up_mut(id) else { return };
        if planted!(ServeUnopened)
            && let Some(key) = self.contents.keys().next()
        {
            let served = Opened { content: *key, withdrawn: false, complete: false };
            link.opened.entry(handle).or_insert(served);
        }
        let Some(opened) = link.opened.get(&handle) else {
            // spec M9
            return self.misbehaved(id, "request_of_unopened_share");
        };
        let (key, withdrawn) = (opened.content, opened.withdrawn);
        let taken = link.serving.contains_key(&request)
            || link.waiting.iter().any(|wanted| wanted.request == request);
        if taken {
            return self.misbehaved(id, "request_used_twice");
        }
        if link.waiting.len() + link.serving.len() >= MAX_INCOMING_REQUESTS {
            return self.misbehaved(id, "too_many_requests");
        }
        if withdrawn {
            let why = Unavailable::Withdrawn;
            return self.say(id, Message::Unavailable { request, why });
        }
        if !self.holds(key, chunk) {
            let why = Unavailable::NotHad;
            return self.say(id, Message::Unavailable { request, why });
        }
        let Some(link) = self.links.up_mut(id) else { return };
        link.waiting.push_back(Wanted { request, content: key, chunk });
        self.queue_upload(id);
    }

    fn queue_upload(&mut self, id: LinkId) {
        let Some(host) = self.host_of(id) else { return };
        let Some(link) = self.links.up_mut(id) else { return };
        if !link.waiting.is_empty() {
            self.upload.turns.enter(host, id);
        }
    }

    /// Gives sessions chunks to serve, a chunk a turn, as far as limits go.
    pub(super) fn pump_upload(&mut self) {
        while let Some((host, id)) = self.upload.turns.next() {
            let Some((place, key, chunk)) = self.next_to_serve(id) else {
                self.upload.turns.leave(host, id);
                continue;
            };
            let bytes = self.contents.get(&key).map_or(0, |content| content.chunk_bytes(chunk));
            if !self.upload.limiter.take(self.now, bytes) {
                let at = self.upload.limiter.ready_at();
                return self.set_timer_at(Timer::Upload, at);
            }
            self.upload.turns.charge(host, id, bytes + SERVE_COST_BYTES);
            let Some(link) = self.links.up_mut(id) else { continue };
            let Some(wanted) = link.waiting.remove(place) else { continue };
            let Wanted { request, content, chunk } = wanted;
            link.serving.insert(request, Serving { content });
            if let Some(content) = self.contents.get_mut(&key) {
                content.note_sent(chunk);
            }
            self.command(id, Command::Serve { request, content, chunk });
        }
    }

    /// Which of a link's requests is answered next: the first for a chunk that nobody was sent yet,
    /// so that those who fetch together have something for each other; else the first.
    // spec P14
    fn next_to_serve(&self, id: LinkId) -> Option<(usize, ContentKey, ChunkRef)> {
        let link = self.links.table.get(&id).filter(|link| link.is_up())?;
        if link.serving.len() >= MAX_SERVES_PER_LINK {
            return None;
        }
        let new = |wanted: &Wanted| {
            self.contents.get(&wanted.content).is_some_and(|of| !of.was_sent(wanted.chunk))
        };
        let place = link.waiting.iter().position(new).unwrap_or(0);
        link.waiting.get(place).map(|wanted| (place, wanted.content, wanted.chunk))
    }

    /// The session has answered the peer, or will after a read that is under way.
    pub(super) fn on_cancel(&mut self, id: LinkId, request: RequestId) {
        if let Some(link) = self.links.up_mut(id) {
            link.waiting.retain(|wanted| wanted.request != request);
        }
    }

    /// Nothing more of a share that was taken back goes out on this link.
    pub(super) fn withdraw_requests(&mut self, id: LinkId, key: ContentKey) {
        let Some(link) = self.links.up_mut(id) else { return };
        let mut gone = Vec::new();
        link.waiting.retain(|wanted| {
            if wanted.content == key {
                gone.push(wanted.request);
            }
            wanted.content != key
        });
        let forget: Vec<RequestId> = link
            .serving
            .iter()
            .filter(|(_, serving)| serving.content == key)
            .map(|(request, _)| *request)
            .collect();
        for request in gone {
            let why = Unavailable::Withdrawn;
            self.say(id, Message::Unavailable { request, why });
        }
        for request in forget {
            self.command(id, Command::Forget { request });
        }
    }

    pub(super) fn on_served(
        &mut self,
        id: LinkId,
        request: RequestId,
        result: Result<usize, Unavailable>,
    ) {
        let Some((path, instance)) = self.links.up(id) else { return };
        let Some(link) = self.links.up_mut(id) else { return };
        let Some(serving) = link.serving.remove(&request) else { return };
        match result {
            Ok(bytes) => self.count_sent(serving.content, instance, path, bytes as u64),
            Err(why) => self.on_read_failed(serving.content, why),
        }
        self.queue_upload(id);
        self.check_retiring(id);
    }

    /// The application hears once that a source cannot be read any more; the session has told the
    /// peer.
    fn on_read_failed(&mut self, key: ContentKey, why: Unavailable) {
        let sentence = match why {
            Unavailable::SourceChanged => {
                "a file has changed since it was shared; share it again for a new link"
            }
            Unavailable::ReadFailed => "a shared file cannot be read; look at the disk",
            Unavailable::NotHad | Unavailable::Withdrawn => return,
        };
        let Some(content) = self.contents.get_mut(&key) else { return };
        if !core::mem::replace(&mut content.trouble_told, true) {
            self.event(Event::Failed(key, Failure::Store(sentence.to_string())));
        }
    }

    // Receivers.

    fn receiver(
        &mut self,
        key: ContentKey,
        who: Instance,
        path: PathKind,
    ) -> Option<&mut Receiver> {
        let receivers = &mut self.contents.get_mut(&key)?.receivers;
        if receivers.len() >= MAX_RECEIVERS_PER_SHARE && !receivers.contains_key(&who) {
            receivers.pop_first();
        }
        let new = Receiver { sent_bytes: 0, path, done: false, news: false };
        let receiver = receivers.entry(who).or_insert(new);
        receiver.path = path;
        Some(receiver)
    }

    fn count_sent(&mut self, key: ContentKey, who: Instance, path: PathKind, bytes: u64) {
        let Some(receiver) = self.receiver(key, who, path) else { return };
        receiver.sent_bytes += bytes;
        receiver.news = true;
        if self.timers.get(&Timer::Receivers(key)).is_none() {
            self.set_timer(Timer::Receivers(key), TELL_INTERVAL);
        }
    }

    pub(super) fn tell_receivers(&mut self, key: ContentKey) {
        let Some(content) = self.contents.get_mut(&key) else { return };
        let mut events = Vec::new();
        for (who, receiver) in &mut content.receivers {
            if core::mem::take(&mut receiver.news) {
                events.push(receiver_event(key, *who, receiver));
            }
        }
        for event in events {
            self.event(event);
        }
    }

    pub(super) fn on_complete(&mut self, id: LinkId, handle: Handle) {
        let Some((path, who)) = self.links.up(id) else { return };
        let Some(link) = self.links.up_mut(id) else { return };
        let Some(opened) = link.opened.get_mut(&handle) else {
            return self.misbehaved(id, "complete_of_unopened_share");
        };
        // spec M10
        opened.complete = true;
        let key = opened.content;
        if let Some(receiver) = self.receiver(key, who, path)
            && !core::mem::replace(&mut receiver.done, true)
        {
            receiver.news = false;
            let event = receiver_event(key, who, receiver);
            self.event(event);
        }
        self.check_idle(id);
    }

    // Telling what we have.

    /// What a peer must know right after a share was opened to it.
    // spec M11
    pub(super) fn tell_first_haves(&mut self, id: LinkId, handle: Handle, key: ContentKey) {
        self.tell_have_space(id, handle, key, Space::Root);
        self.tell_have_space(id, handle, key, Space::Contents);
    }

    fn tell_have_space(&mut self, id: LinkId, handle: Handle, key: ContentKey, space: Space) {
        let Some(holding) = self.contents.get(&key).map(|content| content.holding(space)) else {
            return;
        };
        let messages = match holding {
            Holding::Nothing => return,
            Holding::All(_) => Vec::from([Message::HaveAll { handle, space }]),
            Holding::Some(set) => all_bits(handle, space, &set.bits),
        };
        let bytes: usize = messages.iter().map(have_bytes).sum();
        let Some(link) = self.links.up_mut(id) else { return };
        link.have_bytes += bytes as u64;
        if link.have_bytes > MAX_HAVE_BYTES_PER_SESSION {
            return self.misbehaved(id, "too_many_have_bits_asked_for");
        }
        for message in messages {
            self.say(id, message);
        }
    }

    /// A space has come into being: those who opened the share before hear of it.
    pub(super) fn tell_new_space(&mut self, key: ContentKey, space: Space) {
        for (id, handle) in self.openers(key) {
            self.tell_have_space(id, handle, key, space);
        }
    }

    fn openers(&self, key: ContentKey) -> Vec<(LinkId, Handle)> {
        let content = self.contents.get(&key);
        content.map(|content| content.opened_by.iter().copied().collect()).unwrap_or_default()
    }

    pub(super) fn plan_telling(&mut self, key: ContentKey) {
        let Some(content) = self.contents.get(&key) else { return };
        if content.untold.len() >= MAX_UNTOLD_CHUNKS {
            self.tell_haves(key);
        } else if self.timers.get(&Timer::Haves(key)).is_none() {
            self.set_timer(Timer::Haves(key), TELL_INTERVAL);
        }
    }

    /// Tells all who have opened `key` of the chunks that came since the last time.
    pub(super) fn tell_haves(&mut self, key: ContentKey) {
        self.timers.clear(&Timer::Haves(key));
        let Some(content) = self.contents.get_mut(&key) else { return };
        let mut untold = core::mem::take(&mut content.untold);
        untold.sort_unstable();
        let news = news(content, &untold);
        for (id, handle) in self.openers(key) {
            for message in &news {
                self.say(id, with_handle(message, handle));
            }
        }
    }
}

fn receiver_event(content: ContentKey, who: Instance, receiver: &Receiver) -> Event {
    Event::Receiver {
        content,
        peer: who,
        path: receiver.path,
        sent_bytes: receiver.sent_bytes,
        done: receiver.done,
    }
}

const fn have_bytes(message: &Message) -> usize {
    if let Message::HaveBits { bits, .. } = message { bits.len() } else { 1 }
}

/// All bits of a set, in as many messages as it takes; stretches without any are left out.
fn all_bits(handle: Handle, space: Space, bits: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    for (number, part) in bits.chunks(MAX_HAVE_BITS / 8).enumerate() {
        let Some(begin) = part.iter().position(|byte| *byte != 0) else { continue };
        let end = part.iter().rposition(|byte| *byte != 0).map_or(begin, |last| last + 1);
        let first = (number * MAX_HAVE_BITS + begin * 8) as u64;
        messages.push(Message::HaveBits { handle, space, first, bits: part[begin..end].to_vec() });
    }
    messages
}

/// The shortest way to tell of these chunks, in order: all, one by one, or as bits. The handle is
/// filled in for each receiver.
fn news(content: &Content, chunks: &[ChunkRef]) -> Vec<Message> {
    /// A `HaveChunk` frame is 18 bytes; a `HaveBits` frame 18 and its bits.
    const FRAME_BYTES: u64 = 18;
    let handle = Handle(0);
    let mut messages = Vec::new();
    let window = |chunk: &ChunkRef| (chunk.space, chunk.index / MAX_HAVE_BITS as u64);
    for part in chunks.chunk_by(|a, b| window(a) == window(b)) {
        let (Some(first), Some(last)) = (part.first(), part.last()) else { continue };
        let space = first.space;
        if matches!(content.holding(space), Holding::All(_)) {
            let all = Message::HaveAll { handle, space };
            if messages.last() != Some(&all) {
                messages.push(all);
            }
            continue;
        }
        let start = first.index & !7;
        let length = (last.index - start) / 8 + 1;
        if part.len() as u64 * FRAME_BYTES <= FRAME_BYTES + length {
            messages.extend(part.iter().map(|chunk| Message::HaveChunk { handle, chunk: *chunk }));
            continue;
        }
        let mut bits = alloc::vec![0; length as usize];
        for chunk in part {
            let at = chunk.index - start;
            bits[(at / 8) as usize] |= 0x80 >> (at % 8);
        }
        messages.push(Message::HaveBits { handle, space, first: start, bits });
    }
    messages
}

fn with_handle(message: &Message, to: Handle) -> Message {
    let mut message = message.clone();
    if let Message::HaveAll { handle, .. }
    | Message::HaveBits { handle, .. }
    | Message::HaveChunk { handle, .. } = &mut message
    {
        *handle = to;
    }
    message
}

#[cfg(test)]
mod tests;
