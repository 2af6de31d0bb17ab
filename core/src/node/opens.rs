//! The proof that opens a share, from both sides.
//!
//! The requester proves first that it knows the secret, then the seeder, both bound to the
//! handshake of this session (spec chapter "Session"). An unknown locator and a wrong proof get the
//! same answer after the same work. What the seeder then says to have is kept until the download
//! can use it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::contents::{About, Content, Stage, is_fetchable};
use super::have::Early;
use super::links::State;
use super::{Event, Node, PeerDropReason, Timer};
use crate::close::{Awaited, CloseReason};
use crate::crypto::proof;
use crate::download;
use crate::id::{ChunkRef, ContentKey, Descriptor, LinkId, Locator, Secret, Space};
use crate::limits::{
    MAX_OPEN_SHARES_PER_SESSION, MAX_REFUSED_OPENS_PER_SESSION, MAX_SHARE_CHUNKS, OPEN_TIMEOUT,
};
use crate::wire::{Handle, Message};

/// A share of the peer that we want to use.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) content: ContentKey,
    /// Whether the seeder has opened it.
    pub(super) is_open: bool,
    /// What it said to have of spaces that are not being fetched yet.
    pub(super) early: [Early; 2],
}

/// A share of ours that the peer uses.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) content: ContentKey,
    /// Whether we have taken the share back.
    pub(super) withdrawn: bool,
    /// Whether the peer said `Complete`.
    pub(super) complete: bool,
}

impl Opened {
    /// Whether nothing more is to be expected.
    pub(super) const fn is_over(&self) -> bool {
        self.withdrawn || self.complete
    }
}

impl Node {
    pub(super) fn on_message(&mut self, link: LinkId, message: Message) {
        match message {
            Message::Open { handle, locator, proof } => {
                self.on_open(link, handle, locator, &proof);
            }
            Message::Opened { handle, proof, descriptor, name } => {
                self.on_opened(link, handle, &proof, descriptor, name);
            }
            Message::Refused { handle } => self.on_refused(link, handle),
            Message::HaveAll { handle, space } => self.on_have_all(link, handle, space),
            Message::HaveBits { handle, space, first, bits } => {
                self.on_have_bits(link, handle, space, first, bits);
            }
            Message::HaveChunk { handle, chunk } => {
                let first = chunk.index & !7;
                let bits = Vec::from([0x80 >> (chunk.index % 8)]);
                self.on_have_bits(link, handle, chunk.space, first, bits);
            }
            Message::Request { request, handle, chunk } => {
                self.on_request(link, request, handle, chunk);
            }
            Message::Cancel { request } => self.on_cancel(link, request),
            Message::Unavailable { request, why } => self.on_unavailable(link, request, why),
            Message::Complete { handle } => self.on_complete(link, handle),
            Message::Hello { .. } | Message::Ping { .. } | Message::Pong { .. } | Message::Bye => {
                self.counters.count("message_of_the_session");
            }
        }
    }

    // The requester.

    /// Asks the peer of a link to open `key`, unless that was asked already.
    pub(super) fn open_share(&mut self, id: LinkId, key: ContentKey) {
        let Some(content) = self.contents.get(&key) else { return };
        let (locator, secret) = (content.locator, content.secret.clone());
        let Some(link) = self.links.up_mut(id) else { return };
        let State::Up { instance, hash } = link.state else { return };
        if link.asks.values().any(|ask| ask.content == key) {
            return;
        }
        if link.asks.len() >= MAX_OPEN_SHARES_PER_SESSION {
            self.counters.count("too_many_shares_on_link");
            return self.rest_peer(key, instance);
        }
        let handle = Handle(link.next_handle);
        link.next_handle = link.next_handle.wrapping_add(1);
        link.asks.insert(handle, Ask { content: key, is_open: false, early: Default::default() });
        let secret = secret.unwrap_or(Secret::PUBLIC);
        let proof = proof::make(&secret, proof::REQUESTER, locator, &hash);
        self.say(id, Message::Open { handle, locator, proof });
        self.timers.clear(&Timer::Idle(id));
        if self.timers.get(&Timer::Answer(id)).is_none() {
            self.set_timer(Timer::Answer(id), OPEN_TIMEOUT);
        }
    }

    fn on_opened(
        &mut self,
        id: LinkId,
        handle: Handle,
        given: &[u8; 32],
        descriptor: Descriptor,
        name: String,
    ) {
        let Some(link) = self.links.up_mut(id) else { return };
        let State::Up { instance, hash } = link.state else { return };
        let Some(ask) = link.asks.get_mut(&handle) else { return self.stale(id, handle) };
        if ask.is_open {
            return self.misbehaved(id, "opened_twice");
        }
        let key = ask.content;
        ask.is_open = true;
        let Some(content) = self.contents.get_mut(&key) else { return };
        let secret = content.secret.as_ref();
        // spec K5: whoever the tracker named has to prove the secret first
        let proven = proof::check(
            secret.unwrap_or(&Secret::PUBLIC),
            proof::SEEDER,
            content.locator,
            &hash,
            given,
        );
        // spec C13: is it the share that the link means?
        let meant = descriptor.locator(secret) == content.locator || planted!(BelieveSeeder);
        // spec M8 and M8b
        if !proven || !meant || !is_fetchable(&descriptor) {
            self.counters.count("not_the_share");
            self.drop_ask(id, key);
            self.ban_peer(key, instance, PeerDropReason::NotTheShare);
            return self.close_if_unused(id, CloseReason::Misbehaved(NOT_THE_SHARE));
        }
        let Some(fetch) = content.fetch.as_mut() else { return };
        fetch.joined.insert(id);
        let stage = fetch.stage;
        if stage == Stage::Locating {
            fetch.stage = Stage::Described;
        }
        if content.about.is_none() {
            content.about = Some(About { descriptor, name: name.clone() });
            self.event(Event::Described { content: key, descriptor, name });
        }
        self.timers.clear(&Timer::GiveUp(key));
        self.peer_joined(key, instance, id);
        if let Stage::Fetching(space) = stage {
            self.join_download(key, space, id);
        }
        self.check_answers(id);
        self.check_retiring_for(id);
    }

    fn on_refused(&mut self, id: LinkId, handle: Handle) {
        let Some((_, instance)) = self.links.up(id) else { return };
        let Some(link) = self.links.up_mut(id) else { return };
        let Some(ask) = link.asks.get(&handle) else { return self.stale(id, handle) };
        if ask.is_open {
            return self.misbehaved(id, "refused_after_opened");
        }
        let key = ask.content;
        self.drop_ask(id, key);
        self.check_answers(id);
        if !self.forget_if_it_came(key, instance) {
            self.on_peer_refused(key, instance);
        }
        self.close_if_unused(id, CloseReason::Local(crate::close::LocalClose::Done));
    }

    /// A number that we do not use (any more): late if we gave it once, else a lie.
    // spec M23
    fn stale(&mut self, id: LinkId, handle: Handle) {
        let given = self.links.up_mut(id).is_some_and(|link| handle.0 < link.next_handle);
        if given {
            self.counters.count("late_word_on_share");
        } else {
            self.misbehaved(id, "unknown_handle");
        }
    }

    fn check_answers(&mut self, id: LinkId) {
        let Some(link) = self.links.up_mut(id) else { return };
        if link.asks.values().all(|ask| ask.is_open) {
            self.timers.clear(&Timer::Answer(id));
        } else {
            self.set_timer(Timer::Answer(id), OPEN_TIMEOUT);
        }
    }

    pub(super) fn on_no_answer(&mut self, id: LinkId) {
        self.close_link(id, &CloseReason::Timeout(Awaited::Answer));
    }

    fn on_have_all(&mut self, id: LinkId, handle: Handle, space: Space) {
        let Some(link) = self.links.up_mut(id) else { return };
        let Some(ask) = link.asks.get_mut(&handle) else { return self.stale(id, handle) };
        if !ask.is_open {
            return self.misbehaved(id, "have_before_opened");
        }
        let key = ask.content;
        if is_fetching(&self.contents, key, space) {
            self.tell_download(key, download::Input::PeerHasAll(id));
        } else {
            ask.early[space as usize] = Early::All;
        }
    }

    fn on_have_bits(
        &mut self,
        id: LinkId,
        handle: Handle,
        space: Space,
        first: u64,
        bits: Vec<u8>,
    ) {
        let Some(link) = self.links.up_mut(id) else { return };
        let Some(ask) = link.asks.get_mut(&handle) else { return self.stale(id, handle) };
        if !ask.is_open {
            return self.misbehaved(id, "have_before_opened");
        }
        if !first.is_multiple_of(8) || first >= MAX_SHARE_CHUNKS {
            return self.misbehaved(id, "have_out_of_range");
        }
        let key = ask.content;
        if is_fetching(&self.contents, key, space) {
            self.tell_bits(key, id, first, bits);
        } else {
            ask.early[space as usize].note(first, &bits);
        }
    }

    // The seeder.

    fn on_open(&mut self, id: LinkId, handle: Handle, locator: Locator, given: &[u8; 32]) {
        let found = self.by_locator.get(&locator).and_then(|keys| {
            keys.iter().find(|key| self.contents.get(key).is_some_and(|c| c.is_open())).copied()
        });
        let content = found.and_then(|key| self.contents.get(&key));
        // The same work whether we know the locator or not, so that the time tells nothing.
        let nobody = Secret::new(locator.0);
        let public = Secret::PUBLIC;
        let secret = match content {
            Some(content) => content.secret.as_ref().unwrap_or(&public),
            None => &nobody,
        };
        let Some(link) = self.links.up_mut(id) else { return };
        let State::Up { instance: _, hash } = link.state else { return };
        // spec M7 and M7b: both proofs are computed in every case
        let proven = proof::check(secret, proof::REQUESTER, locator, &hash, given);
        let proven = proven || planted!(NoProof);
        let answer = proof::make(secret, proof::SEEDER, locator, &hash);
        // spec M22
        if link.opened.contains_key(&handle) {
            return self.misbehaved(id, "handle_used_twice");
        }
        let full = !link.make_room();
        let (Some(key), Some(content), true, false) = (found, content, proven, full) else {
            link.refused += 1;
            if link.refused > MAX_REFUSED_OPENS_PER_SESSION {
                return self.misbehaved(id, "too_many_refused_opens");
            }
            // spec K8: one answer for all of them
            return self.say(id, Message::Refused { handle });
        };
        let Some(about) = content.about.clone() else { return };
        link.opened.insert(handle, Opened { content: key, withdrawn: false, complete: false });
        let About { descriptor, name } = about;
        self.say(id, Message::Opened { handle, proof: answer, descriptor, name });
        if let Some(content) = self.contents.get_mut(&key) {
            content.opened_by.insert((id, handle));
        }
        self.tell_first_haves(id, handle, key);
        self.timers.clear(&Timer::Idle(id));
        self.check_retiring_for(id);
        self.ask_in_return(id, key);
    }

    /// Takes back what others have opened: what they have asked for will not come.
    pub(super) fn withdraw(&mut self, key: ContentKey) {
        let Some(content) = self.contents.get_mut(&key) else { return };
        for (id, handle) in core::mem::take(&mut content.opened_by) {
            let Some(link) = self.links.up_mut(id) else { continue };
            if let Some(opened) = link.opened.get_mut(&handle) {
                opened.withdrawn = true;
            }
            self.withdraw_requests(id, key);
            self.check_idle(id);
        }
    }

    /// Whether `chunk` of an opened share can be had from us.
    pub(super) fn holds(&self, key: ContentKey, chunk: ChunkRef) -> bool {
        self.contents.get(&key).is_some_and(|content| content.holding(chunk.space).has(chunk.index))
    }
}

fn is_fetching(contents: &BTreeMap<ContentKey, Content>, key: ContentKey, space: Space) -> bool {
    let fetch = contents.get(&key).and_then(|content| content.fetch.as_ref());
    fetch.is_some_and(|fetch| fetch.stage == Stage::Fetching(space))
}

const NOT_THE_SHARE: crate::close::Misbehaviour = crate::close::Misbehaviour("not_the_share");

impl super::links::Link {
    /// Room for one more opened share: those that are over make way.
    fn make_room(&mut self) -> bool {
        if self.opened.len() >= MAX_OPEN_SHARES_PER_SESSION {
            self.opened.retain(|_, opened| !opened.is_over());
        }
        self.opened.len() < MAX_OPEN_SHARES_PER_SESSION
    }
}
