//! Links from their stream to their end, and what stands on them.
//!
//! A link is `Connecting` (ours: being dialled; theirs: half open) until its session is
//! established, `Up` until one side ends it, `Closing` until its session has said its last word.
//! What stands on a link, shares opened in either direction and requests, goes when it stops being
//! up.
//!
//! Strangers cost little: half-open links, handshakes per second and sessions are bounded in total
//! and per IP address (per /64 of IPv6), on circuits per calling key. A link that is used for
//! nothing is closed after a while.

mod incoming;
pub(super) mod rivals;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::ToString;
use alloc::vec::Vec;
use core::mem;
use core::net::{IpAddr, SocketAddr};

use self::incoming::Strangers;
pub(super) use self::incoming::network_of;
use super::have::Early;
use super::opens::{Ask, Opened};
use super::serve::{Serving, Wanted};
use super::turns::Host;
use super::{IncomingFrom, Node, Timer, Transmit, Work};
use crate::close::{CloseReason, Incompatibility, LocalClose, Misbehaviour};
use crate::download;
use crate::id::{ChunkRef, ContentKey, Instance, LinkId, Space};
use crate::limits::{IDLE_LINK_TIMEOUT, MAX_DIALS, MAX_INCOMING_REQUESTS, MAX_SESSIONS};
use crate::path::{self, Attempt, DialError, PathKind};
use crate::session::{Command, Event, Role, Setup, Suite};
use crate::wire::{Handle, RequestId};

/// All links.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub(super) table: BTreeMap<LinkId, Link>,
    up: BTreeMap<Instance, BTreeSet<LinkId>>,
    next: u64,
    dials: usize,
    strangers: Strangers,
}

/// One link.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) path: PathKind,
    pub(super) state: State,
    origin: Origin,
    /// Shares of the peer that we have opened or asked to open.
    pub(super) asks: BTreeMap<Handle, Ask>,
    pub(super) next_handle: u32,
    requests: BTreeMap<RequestId, Asked>,
    next_request: u32,
    /// Shares of ours that the peer has opened.
    pub(super) opened: BTreeMap<Handle, Opened>,
    pub(super) refused: u32,
    /// Have-bits that the peer's openings cost.
    pub(super) have_bytes: u64,
    /// Requests of the peer that wait for their turn.
    pub(super) waiting: VecDeque<Wanted>,
    /// Requests of the peer that its session was told to serve.
    pub(super) serving: BTreeMap<RequestId, Serving>,
    /// The link that replaces this one.
    retiring: Option<LinkId>,
}

/// How far a link is.
#[derive(Debug)]
pub(super) enum State {
    Connecting,
    Up { instance: Instance, hash: [u8; 32] },
    Closing,
}

/// Who opened a link.
#[derive(Debug, Clone)]
enum Origin {
    Ours(Dialled),
    Theirs(IncomingFrom),
}

/// A link that a path chooser wanted.
#[derive(Debug, Clone)]
pub(super) struct Dialled {
    pub(super) content: ContentKey,
    pub(super) instance: Instance,
    pub(super) attempt: Attempt,
    pub(super) target: Target,
    pub(super) suite: Suite,
}

/// Where a link of ours goes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    Address(SocketAddr),
    Circuit,
}

/// A request of ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) content: ContentKey,
    pub(super) chunk: ChunkRef,
    pub(super) cancelled: Option<Cancelled>,
}

/// Why a request of ours was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancelled {
    /// We need the chunk no more, or not from there.
    NotNeeded,
    /// The peer was silent for too long.
    Silent,
}

impl Link {
    fn new(path: PathKind, origin: Origin) -> Self {
        Self {
            path,
            state: State::Connecting,
            origin,
            asks: BTreeMap::new(),
            next_handle: 0,
            requests: BTreeMap::new(),
            next_request: 0,
            opened: BTreeMap::new(),
            refused: 0,
            have_bytes: 0,
            waiting: VecDeque::new(),
            serving: BTreeMap::new(),
            retiring: None,
        }
    }

    pub(super) const fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    pub(super) const fn is_connecting(&self) -> bool {
        matches!(self.state, State::Connecting)
    }

    fn is_unused(&self) -> bool {
        self.asks.is_empty() && self.opened.values().all(|opened| opened.is_over())
    }

    fn ask_of(&self, key: ContentKey) -> Option<(Handle, &Ask)> {
        self.asks.iter().find(|(_, ask)| ask.content == key).map(|(handle, ask)| (*handle, ask))
    }
}

impl Links {
    fn add(&mut self, link: Link) -> LinkId {
        let id = LinkId(self.next);
        self.next += 1;
        match &link.origin {
            Origin::Ours(_) => self.dials += 1,
            Origin::Theirs(from) => self.strangers.add(*from),
        }
        self.table.insert(id, link);
        id
    }

    /// Path and peer of a link that is up.
    pub(super) fn up(&self, link: LinkId) -> Option<(PathKind, Instance)> {
        let link = self.table.get(&link)?;
        match link.state {
            State::Up { instance, .. } => Some((link.path, instance)),
            State::Connecting | State::Closing => None,
        }
    }

    pub(super) fn up_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.table.get_mut(&link).filter(|link| link.is_up())
    }

    /// Who is counted as one with the peer of this link.
    pub(super) fn host_of(&self, link: LinkId) -> Option<Host> {
        Some(match &self.table.get(&link)?.origin {
            Origin::Theirs(IncomingFrom::Tcp(from)) => Host::Network(network_of(from.ip())),
            Origin::Theirs(IncomingFrom::Circuit(peer)) => Host::Key(*peer),
            Origin::Ours(dialled) => match dialled.target {
                Target::Address(to) => Host::Network(network_of(to.ip())),
                Target::Circuit => Host::Key(dialled.instance.peer),
            },
        })
    }

    /// Where the peer of a link is, if it is not behind the relay.
    pub(super) fn network(&self, link: LinkId) -> Option<IpAddr> {
        match self.host_of(link)? {
            Host::Network(ip) => Some(ip),
            Host::Key(_) => None,
        }
    }

    /// Links to this instance that are up.
    pub(super) fn to(&self, instance: Instance) -> Vec<LinkId> {
        self.up.get(&instance).map(|links| links.iter().copied().collect()).unwrap_or_default()
    }

    /// Our number of a content that is open on this link.
    pub(super) fn handle_of(&self, link: LinkId, key: ContentKey) -> Option<Handle> {
        let (handle, ask) = self.table.get(&link)?.ask_of(key)?;
        ask.is_open.then_some(handle)
    }

    /// What the peer said to have of `space`, if `key` is open on this link.
    pub(super) fn take_early(
        &mut self,
        link: LinkId,
        key: ContentKey,
        space: Space,
    ) -> Option<Early> {
        let link = self.up_mut(link)?;
        let ask = link.asks.values_mut().find(|ask| ask.content == key && ask.is_open)?;
        Some(mem::take(&mut ask.early[space as usize]))
    }

    /// A number for a request, and the share's.
    pub(super) fn new_request(
        &mut self,
        link: LinkId,
        content: ContentKey,
        chunk: ChunkRef,
    ) -> Option<(RequestId, Handle)> {
        let handle = self.handle_of(link, content)?;
        let link = self.up_mut(link)?;
        let mut request = RequestId(link.next_request);
        while link.requests.contains_key(&request) {
            request = RequestId(request.0.wrapping_add(1));
        }
        link.next_request = request.0.wrapping_add(1);
        link.requests.insert(request, Asked { content, chunk, cancelled: None });
        Some((request, handle))
    }

    /// The peer of a download turned out to be another instance of its key.
    pub(super) fn rename(&mut self, key: ContentKey, from: Instance, to: Instance) {
        for link in self.table.values_mut() {
            if let Origin::Ours(dialled) = &mut link.origin
                && dialled.content == key
                && dialled.instance == from
                && matches!(link.state, State::Connecting)
            {
                dialled.instance = to;
            }
        }
    }

    /// Whether the peer has as many open requests of ours as it must take.
    pub(super) fn is_full(&self, link: LinkId) -> bool {
        self.table.get(&link).is_some_and(|link| link.requests.len() >= MAX_INCOMING_REQUESTS)
    }

    pub(super) fn asked(&self, link: LinkId, request: RequestId) -> Option<Asked> {
        self.table.get(&link)?.requests.get(&request).copied()
    }

    pub(super) fn answered(&mut self, link: LinkId, request: RequestId) -> Option<Asked> {
        self.up_mut(link)?.requests.remove(&request)
    }

    /// Marks the newest request for this chunk as cancelled.
    pub(super) fn cancel(
        &mut self,
        link: LinkId,
        content: ContentKey,
        chunk: ChunkRef,
        why: Cancelled,
    ) -> Option<RequestId> {
        let link = self.up_mut(link)?;
        let (request, asked) = link.requests.iter_mut().rev().find(|(_, asked)| {
            asked.content == content && asked.chunk == chunk && asked.cancelled.is_none()
        })?;
        asked.cancelled = Some(why);
        Some(*request)
    }

    pub(super) fn cancel_all(&mut self, link: LinkId, content: ContentKey) -> Vec<RequestId> {
        let Some(link) = self.up_mut(link) else { return Vec::new() };
        let mut cancelled = Vec::new();
        for (request, asked) in &mut link.requests {
            if asked.content == content && asked.cancelled.is_none() {
                asked.cancelled = Some(Cancelled::NotNeeded);
                cancelled.push(*request);
            }
        }
        cancelled
    }
}

impl Node {
    pub(super) fn host_of(&self, link: LinkId) -> Option<Host> {
        self.links.host_of(link)
    }

    /// Opens a link for a path chooser; `None` if we have too many.
    pub(super) fn open_link(&mut self, dialled: Dialled) -> Option<LinkId> {
        if self.links.dials >= MAX_DIALS || self.links.table.len() >= MAX_SESSIONS {
            self.counters.count("too_many_links");
            return None;
        }
        let remote = dialled.instance;
        let role = Role::Initiator { remote: Some(remote.peer), suite: dialled.suite };
        let setup = Setup { role, instance: self.config.me.number };
        let target = dialled.target;
        let path = match target {
            Target::Address(_) => PathKind::Direct,
            Target::Circuit => PathKind::Relay,
        };
        let link = self.links.add(Link::new(path, Origin::Ours(dialled)));
        self.transmit(match target {
            Target::Address(to) => Transmit::Dial { link, to, setup },
            Target::Circuit => Transmit::OpenCircuit { link, to: remote, setup },
        });
        Some(link)
    }

    pub(super) fn on_session(&mut self, link: LinkId, event: Event) {
        match event {
            Event::Established { peer, instance, suite: _, handshake_hash } => {
                self.on_established(link, Instance { peer, number: instance }, handshake_hash);
            }
            Event::Message(message) => {
                if self.links.up(link).is_some() {
                    self.on_message(link, message);
                }
            }
            Event::Progress { request, bytes: _ } => self.on_chunk_progress(link, request),
            Event::Chunk { request, proof, data } => self.on_chunk(link, request, proof, data),
            Event::Served { request, result } => self.on_served(link, request, result),
            Event::Closed(reason) => self.on_closed(link, &reason),
        }
    }

    fn on_established(&mut self, id: LinkId, instance: Instance, hash: [u8; 32]) {
        let Some(link) = self.links.table.get_mut(&id) else { return };
        if !matches!(link.state, State::Connecting) {
            return;
        }
        let origin = link.origin.clone();
        if instance == self.config.me {
            self.counters.count("link_to_ourselves");
            return self.refuse_established(id, &origin);
        }
        match &origin {
            Origin::Ours(dialled) => {
                // spec P4
                if !self.confirm_instance(dialled.content, dialled.instance, instance) {
                    return self.refuse_established(id, &origin);
                }
                self.links.dials -= 1;
            }
            Origin::Theirs(from) => self.links.strangers.established(*from),
        }
        let Some(link) = self.links.table.get_mut(&id) else { return };
        link.state = State::Up { instance, hash };
        self.links.up.entry(instance).or_default().insert(id);
        self.settle_rivals(id, instance);
        if let Origin::Ours(dialled) = origin {
            let input = path::Input::Established(dialled.attempt);
            self.work.push_back(Work::Path(dialled.content, instance, input));
        }
        self.offer_link(id, instance);
        self.check_idle(id);
    }

    /// The handshake went well and yet this is not whom we want.
    fn refuse_established(&mut self, id: LinkId, origin: &Origin) {
        self.command(id, Command::Close(CloseReason::Local(LocalClose::Superseded)));
        if let Some(link) = self.links.table.get_mut(&id) {
            link.state = State::Closing;
        }
        match origin {
            Origin::Ours(dialled) => {
                self.links.dials -= 1;
                let (content, instance) = (dialled.content, dialled.instance);
                self.attempt_failed(content, instance, dialled.attempt, DialError::WrongPeer);
            }
            Origin::Theirs(from) => self.links.strangers.established(*from),
        }
    }

    pub(super) fn on_dial_failed(&mut self, id: LinkId, error: DialError) {
        let Some(link) = self.links.table.get(&id) else { return };
        if !matches!(link.state, State::Connecting) {
            return;
        }
        if let Origin::Ours(dialled) = link.origin.clone() {
            self.forget_link(id);
            self.attempt_failed(dialled.content, dialled.instance, dialled.attempt, error);
        }
    }

    fn on_closed(&mut self, id: LinkId, reason: &CloseReason) {
        let Some(link) = self.links.table.get(&id) else { return };
        match (&link.state, link.origin.clone()) {
            (State::Connecting, Origin::Ours(dialled)) => {
                self.forget_link(id);
                self.on_handshake_failed(dialled, reason);
            }
            (State::Connecting, Origin::Theirs(_)) | (State::Closing, _) => self.forget_link(id),
            (State::Up { .. }, _) if planted!(IgnoreClosed) => {}
            (State::Up { .. }, _) => {
                self.detach(id, reason);
                self.forget_link(id);
            }
        }
    }

    /// A responder that refuses a suite is tried once more, with the one that everybody speaks.
    // spec S5 and S9b: a forged refusal costs this second try at most
    fn on_handshake_failed(&mut self, mut dialled: Dialled, reason: &CloseReason) {
        let (content, instance, attempt) = (dialled.content, dialled.instance, dialled.attempt);
        let suite_refused = *reason == CloseReason::Incompatible(Incompatibility::Suite);
        if suite_refused && dialled.suite == Suite::AesGcm {
            dialled.suite = Suite::ChaChaPoly;
            if let Some(link) = self.open_link(dialled) {
                return self.replace_attempt(content, instance, attempt, link);
            }
        }
        let error = match reason {
            CloseReason::Remote(_)
            | CloseReason::Misbehaved(_)
            | CloseReason::Incompatible(Incompatibility::Key) => DialError::WrongPeer,
            CloseReason::Local(_) | CloseReason::Timeout(_) | CloseReason::Incompatible(_) => {
                DialError::Other(reason.to_string())
            }
        };
        self.attempt_failed(content, instance, attempt, error);
    }

    /// Ends a link from our side.
    pub(super) fn close_link(&mut self, id: LinkId, reason: &CloseReason) {
        match self.links.table.get(&id).map(|link| &link.state) {
            Some(State::Up { .. }) => {
                self.command(id, Command::Close(reason.clone()));
                self.detach(id, reason);
            }
            Some(State::Connecting) => self.abandon_link(id),
            Some(State::Closing) | None => {}
        }
    }

    pub(super) fn abandon_link(&mut self, id: LinkId) {
        self.transmit(Transmit::Abandon { link: id });
        self.forget_link(id);
    }

    /// The peer broke a rule; the link ends, and all that stood on it.
    pub(super) fn misbehaved(&mut self, id: LinkId, rule: &'static str) {
        self.counters.count(rule);
        self.close_link(id, &CloseReason::Misbehaved(Misbehaviour(rule)));
    }

    pub(super) fn close_links_to(&mut self, instance: Instance, rule: &'static str) {
        for link in self.links.to(instance) {
            self.misbehaved(link, rule);
        }
    }

    /// Takes everything off a link that is up. From here on it is `Closing`.
    fn detach(&mut self, id: LinkId, reason: &CloseReason) {
        let Some(link) = self.links.table.get_mut(&id) else { return };
        let State::Up { instance, .. } = link.state else { return };
        link.state = State::Closing;
        link.requests.clear();
        link.waiting.clear();
        link.serving.clear();
        let asks = mem::take(&mut link.asks);
        let opened = mem::take(&mut link.opened);
        if let Some(links) = self.links.up.get_mut(&instance) {
            links.remove(&id);
            if links.is_empty() {
                self.links.up.remove(&instance);
            }
        }
        for timer in [Timer::Answer(id), Timer::Idle(id), Timer::Retire(id)] {
            self.timers.clear(&timer);
        }
        for (handle, opened) in opened {
            if let Some(content) = self.contents.get_mut(&opened.content) {
                content.opened_by.remove(&(id, handle));
            }
        }
        self.forget_rival(id, instance);
        for ask in asks.into_values() {
            self.leave(ask.content, id);
            self.carrier_lost(ask.content, instance, id, ask.is_open.then_some(reason));
        }
    }

    /// The scheduler must not count on this link any more.
    fn leave(&mut self, key: ContentKey, link: LinkId) {
        let Some(fetch) = self.fetch_mut(key) else { return };
        if fetch.joined.remove(&link) {
            self.tell_download(key, download::Input::PeerLeft(link));
        }
    }

    /// Takes one share off a link; what was asked of it is cancelled.
    pub(super) fn drop_ask(&mut self, link: LinkId, key: ContentKey) {
        self.cancel_all(link, key);
        self.leave(key, link);
        if let Some(up) = self.links.up_mut(link) {
            up.asks.retain(|_, ask| ask.content != key);
            self.check_idle(link);
        }
    }

    /// Removes a link from the table; what stood on it is gone already, or never was.
    pub(super) fn forget_link(&mut self, id: LinkId) {
        let Some(link) = self.links.table.remove(&id) else { return };
        let connecting = matches!(link.state, State::Connecting);
        match &link.origin {
            Origin::Ours(_) if connecting => self.links.dials -= 1,
            Origin::Ours(_) => {}
            Origin::Theirs(from) => self.links.strangers.remove(*from, connecting),
        }
        for timer in [Timer::Answer(id), Timer::Idle(id), Timer::Retire(id)] {
            self.timers.clear(&timer);
        }
    }

    /// Starts or stops the clock of a link that is used for nothing.
    pub(super) fn check_idle(&mut self, id: LinkId) {
        let Some(link) = self.links.up_mut(id) else { return };
        if !link.is_unused() {
            self.timers.clear(&Timer::Idle(id));
        } else if self.timers.get(&Timer::Idle(id)).is_none() {
            self.set_timer(Timer::Idle(id), IDLE_LINK_TIMEOUT);
        }
    }

    pub(super) fn on_idle(&mut self, id: LinkId) {
        self.close_if_unused(id, CloseReason::Local(LocalClose::Done));
    }

    pub(super) fn close_if_unused(&mut self, id: LinkId, reason: CloseReason) {
        if self.links.up_mut(id).is_some_and(|link| link.is_unused()) {
            self.close_link(id, &reason);
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
