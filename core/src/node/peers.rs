//! Who has it, and how each of them is reached.
//!
//! The tracker names instances; what it says is a hint ([`lookup`]). A *known* peer is tried when
//! there is room; an *active* one has a path chooser, or is carried by a link that stood already;
//! one that could not be reached *rests*; one that is to blame is *banned*. The session proves who
//! is there.

mod lookup;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;

pub(super) use self::lookup::Lookup;
use super::contents::Fetch;
use super::links::{Dialled, Target};
use super::{Event, Node, PeerDropReason, Timer, Work};
use crate::close::{Awaited, CloseReason};
use crate::download::DropReason;
use crate::id::{ContentKey, Instance, LinkId};
use crate::limits::{
    MAX_CONNECTING_PER_DOWNLOAD, MAX_PEERS_PER_DOWNLOAD, PEER_REST_MAX, PEER_REST_MIN,
};
use crate::output::Output;
use crate::path::{self, Attempt, DialError, PathChooser, PathKind, Policy, Reason};
use crate::session::Suite;
use crate::time::Instant;
use crate::tracker_api::PeerEntry;

/// An instance that the tracker named, or one that came by itself and is asked in return.
#[derive(Debug)]
pub(super) struct Peer {
    entry: PeerEntry,
    state: State,
    /// Failures since it last worked.
    failures: u32,
    unreachable_told: bool,
    refusal_told: bool,
    /// Whether the last lookup named it.
    named: bool,
    /// Whether no lookup has named it: it came by itself.
    came: bool,
}

#[derive(Debug)]
enum State {
    Known,
    Active(Box<Active>),
    Resting,
    Banned,
}

/// What it takes to reach a peer.
#[derive(Debug, Default)]
struct Active {
    /// `None` if a link stood already and nothing had to be chosen.
    chooser: Option<PathChooser>,
    attempts: BTreeMap<Attempt, LinkId>,
    carrier: Option<Carrier>,
}

/// The link that carries, and the attempt that it was.
#[derive(Debug, Clone, Copy)]
struct Carrier {
    link: LinkId,
    attempt: Option<Attempt>,
}

impl Peer {
    fn active(&mut self) -> Option<&mut Active> {
        match &mut self.state {
            State::Active(active) => Some(active),
            State::Known | State::Resting | State::Banned => None,
        }
    }

    pub(super) const fn is_active(&self) -> bool {
        matches!(self.state, State::Active(_))
    }

    const fn is_connecting(&self) -> bool {
        matches!(&self.state, State::Active(active) if active.carrier.is_none())
    }
}

impl Node {
    fn active(&mut self, key: ContentKey, instance: Instance) -> Option<&mut Active> {
        self.fetch_mut(key)?.peers.get_mut(&instance)?.active()
    }

    // Connecting.

    /// Tries known peers as far as there is room, those that have everything first.
    pub(super) fn connect_more(&mut self, key: ContentKey) {
        let Some(fetch) = self.fetch_mut(key) else { return };
        if !fetch.is_running() {
            return;
        }
        let connecting = fetch.peers.values().filter(|peer| peer.is_connecting()).count();
        let room = MAX_CONNECTING_PER_DOWNLOAD.saturating_sub(connecting).min(
            MAX_PEERS_PER_DOWNLOAD
                .saturating_sub(fetch.peers.values().filter(|peer| peer.is_active()).count()),
        );
        let known = |(_, peer): &(&Instance, &Peer)| matches!(peer.state, State::Known);
        let mut next: Vec<(bool, u32, Instance)> = fetch
            .peers
            .iter()
            .filter(known)
            .map(|(instance, peer)| (!peer.entry.seeder, peer.failures, *instance))
            .collect();
        next.sort_unstable();
        let room = self.waste.room(self.now, room.min(next.len()));
        for (_, _, instance) in next.into_iter().take(room) {
            self.activate(key, instance);
        }
    }

    /// Begins to reach a peer: over a link that stands, if there is a good one.
    fn activate(&mut self, key: ContentKey, instance: Instance) {
        let ready = self.tracker.token.is_some();
        let standing = self.standing_link(key, instance);
        let rng = self.child_rng("path");
        let now = self.now;
        let Some(fetch) = self.fetch_mut(key) else { return };
        let policy = fetch.wish.policy;
        let Some(peer) = fetch.peers.get_mut(&instance) else { return };
        if let Some((link, path)) = standing {
            let carrier = Some(Carrier { link, attempt: None });
            peer.state = State::Active(Box::new(Active { carrier, ..Active::default() }));
            let reason = match policy {
                Policy::Relay => Reason::RelayWanted,
                Policy::Auto | Policy::Sequential | Policy::Direct => Reason::DirectConnected,
            };
            self.event(Event::Path { content: key, peer: instance.peer, path, reason });
            return self.open_share(link, key);
        }
        let config = path::Config {
            policy,
            can_punch: false,
            addresses: peer.entry.addresses.clone(),
            relay: peer.entry.relay,
        };
        let chooser = Some(PathChooser::new(now, rng, config));
        peer.state = State::Active(Box::new(Active { chooser, ..Active::default() }));
        self.work.push_back(Work::Path(key, instance, path::Input::RelayReady(ready)));
    }

    /// A link that stands and is as good as any that could be opened.
    fn standing_link(&self, key: ContentKey, instance: Instance) -> Option<(LinkId, PathKind)> {
        let policy = self.contents.get(&key)?.fetch.as_ref()?.wish.policy;
        let good = |path: PathKind| match policy {
            Policy::Relay => path == PathKind::Relay,
            Policy::Auto | Policy::Sequential | Policy::Direct => path == PathKind::Direct,
        };
        let spent = |link: &LinkId| self.is_left_alone(&instance.peer, self.links.network(*link));
        self.links
            .to(instance)
            .into_iter()
            .filter_map(|link| self.links.up(link).map(|(path, _)| (link, path)))
            .find(|(link, path)| good(*path) && !spent(link))
    }

    /// One input, one whole drain.
    pub(super) fn drive_path(&mut self, key: ContentKey, instance: Instance, input: path::Input) {
        let now = self.now;
        let Some(chooser) = self.active(key, instance).and_then(|a| a.chooser.as_mut()) else {
            return;
        };
        chooser.handle_input(now, input);
        loop {
            let Some(chooser) = self.active(key, instance).and_then(|a| a.chooser.as_mut()) else {
                return self.timers.clear(&Timer::Chooser(key, instance));
            };
            match chooser.poll_output() {
                Output::Transmit(path::Transmit::Dial(attempt, to)) => {
                    self.attempt(key, instance, attempt, Target::Address(to));
                }
                Output::Transmit(path::Transmit::OpenCircuit(attempt)) => {
                    self.attempt(key, instance, attempt, Target::Circuit);
                }
                Output::Transmit(path::Transmit::Abandon(attempt)) => {
                    self.abandon_attempt(key, instance, attempt);
                }
                Output::Event(path::Event::Chosen(attempt, path, reason)) => {
                    self.on_chosen(key, instance, attempt, path, reason);
                }
                Output::Event(path::Event::Exhausted(reason)) => {
                    self.on_exhausted(key, instance, reason);
                }
                Output::Timeout(at) => {
                    return self.set_timer_at(Timer::Chooser(key, instance), at);
                }
            }
        }
    }

    fn attempt(&mut self, key: ContentKey, instance: Instance, attempt: Attempt, target: Target) {
        let prefer_aes = self.config.prefer_aes;
        let (path, ip) = match target {
            Target::Address(address) => (PathKind::Direct, Some(address.ip())),
            Target::Circuit => (PathKind::Relay, None),
        };
        if self.is_left_alone(&instance.peer, ip) {
            let error = DialError::Other("too much came from there that was of no use".into());
            return self.attempt_failed(key, instance, attempt, error);
        }
        let standing = self
            .links
            .to(instance)
            .into_iter()
            .find(|link| self.links.up(*link).is_some_and(|(of, _)| of == path));
        if let Some(link) = standing {
            if let Some(active) = self.active(key, instance) {
                active.attempts.insert(attempt, link);
            }
            let input = path::Input::Established(attempt);
            return self.work.push_back(Work::Path(key, instance, input));
        }
        let peer = self.fetch_mut(key).and_then(|fetch| fetch.peers.get(&instance));
        let aes = prefer_aes && peer.is_some_and(|peer| peer.entry.suites.contains(&Suite::AesGcm));
        let suite = if aes { Suite::AesGcm } else { Suite::ChaChaPoly };
        match self.open_link(Dialled { content: key, instance, attempt, target, suite }) {
            Some(link) => self.replace_attempt(key, instance, attempt, link),
            None => {
                let error = DialError::Other("too many links are open".into());
                self.attempt_failed(key, instance, attempt, error);
            }
        }
    }

    pub(super) fn replace_attempt(
        &mut self,
        key: ContentKey,
        instance: Instance,
        attempt: Attempt,
        link: LinkId,
    ) {
        match self.active(key, instance) {
            Some(active) => drop(active.attempts.insert(attempt, link)),
            None => self.abandon_link(link),
        }
    }

    pub(super) fn attempt_failed(
        &mut self,
        key: ContentKey,
        instance: Instance,
        attempt: Attempt,
        error: DialError,
    ) {
        if let Some(active) = self.active(key, instance) {
            active.attempts.remove(&attempt);
        }
        let input = path::Input::Failed(attempt, error);
        self.work.push_back(Work::Path(key, instance, input));
    }

    fn abandon_attempt(&mut self, key: ContentKey, instance: Instance, attempt: Attempt) {
        let Some(active) = self.active(key, instance) else { return };
        if let Some(link) = active.attempts.remove(&attempt) {
            self.release_attempt(link);
        }
    }

    /// An attempt is not needed: a dial is given up, a link that others use stays.
    fn release_attempt(&mut self, link: LinkId) {
        if self.links.up(link).is_none() {
            if self.links.table.get(&link).is_some_and(|link| link.is_connecting()) {
                self.abandon_link(link);
            }
        } else {
            self.close_if_unused(link, CloseReason::Local(crate::close::LocalClose::Superseded));
        }
    }

    fn on_chosen(
        &mut self,
        key: ContentKey,
        instance: Instance,
        attempt: Attempt,
        path: PathKind,
        reason: Reason,
    ) {
        let Some(active) = self.active(key, instance) else { return };
        let Some(link) = active.attempts.get(&attempt).copied() else { return };
        active.carrier = Some(Carrier { link, attempt: Some(attempt) });
        self.event(Event::Path { content: key, peer: instance.peer, path, reason });
        if self.links.up(link).is_some() {
            self.open_share(link, key);
        } else {
            self.carrier_lost(key, instance, link, None);
        }
    }

    fn on_exhausted(&mut self, key: ContentKey, instance: Instance, reason: Reason) {
        let Some(peer) = self.fetch_mut(key).and_then(|fetch| fetch.peers.get_mut(&instance))
        else {
            return;
        };
        if !mem::replace(&mut peer.unreachable_told, true) {
            self.event(Event::Unreachable { content: key, peer: instance.peer, reason });
        }
        self.rest_peer(key, instance);
        self.connect_more(key);
    }

    /// Ends what is under way to a peer; it is known again, unless it is banned.
    pub(super) fn end_peer(&mut self, key: ContentKey, instance: Instance) {
        self.timers.clear(&Timer::Rest(key, instance));
        self.timers.clear(&Timer::Chooser(key, instance));
        let Some(peer) = self.fetch_mut(key).and_then(|fetch| fetch.peers.get_mut(&instance))
        else {
            return;
        };
        match &peer.state {
            State::Active(_) => {}
            State::Resting => return peer.state = State::Known,
            State::Known | State::Banned => return,
        }
        let State::Active(active) = mem::replace(&mut peer.state, State::Known) else { return };
        let carrier = active.carrier.map(|carrier| carrier.link);
        for link in active.attempts.into_values().filter(|link| Some(*link) != carrier) {
            self.release_attempt(link);
        }
        if let Some(link) = carrier
            && !self.fetch_mut(key).is_some_and(|fetch| fetch.joined.contains(&link))
        {
            self.drop_ask(link, key);
            self.close_if_unused(link, CloseReason::Local(crate::close::LocalClose::Done));
        }
    }

    /// The peer is left alone for a while, longer each time.
    pub(super) fn rest_peer(&mut self, key: ContentKey, instance: Instance) {
        self.end_peer(key, instance);
        let Some(peer) = self.fetch_mut(key).and_then(|fetch| fetch.peers.get_mut(&instance))
        else {
            return;
        };
        if matches!(peer.state, State::Banned) {
            return;
        }
        peer.state = State::Resting;
        let pause = (PEER_REST_MIN * (1 << peer.failures.min(5))).min(PEER_REST_MAX);
        peer.failures += 1;
        let pause = self.jitter(pause);
        self.set_timer(Timer::Rest(key, instance), pause);
    }

    pub(super) fn on_rested(&mut self, key: ContentKey, instance: Instance) {
        if let Some(peer) = self.fetch_mut(key).and_then(|fetch| fetch.peers.get_mut(&instance))
            && matches!(peer.state, State::Resting)
        {
            peer.state = State::Known;
            self.connect_more(key);
        }
    }

    /// Not used again for this download.
    pub(super) fn ban_peer(&mut self, key: ContentKey, instance: Instance, why: PeerDropReason) {
        self.end_peer(key, instance);
        let Some(fetch) = self.fetch_mut(key) else { return };
        let Some(peer) = fetch.peers.get_mut(&instance) else { return };
        if matches!(mem::replace(&mut peer.state, State::Banned), State::Banned) {
            return;
        }
        self.event(Event::PeerDropped { content: key, peer: instance.peer, reason: why });
        for link in self.links.to(instance) {
            self.drop_ask(link, key);
        }
        self.after_loss(key);
    }

    pub(super) fn on_silent(&mut self, key: ContentKey, instance: Instance, link: LinkId) {
        let reason = PeerDropReason::Download(DropReason::Silent);
        self.event(Event::PeerDropped { content: key, peer: instance.peer, reason });
        self.rest_peer(key, instance);
        self.drop_ask(link, key);
        self.close_if_unused(link, CloseReason::Timeout(Awaited::Answer));
        self.after_loss(key);
    }

    /// It may have just started and not know the share yet, so it is asked again; people hear of it
    /// once.
    pub(super) fn on_peer_refused(&mut self, key: ContentKey, instance: Instance) {
        self.rest_peer(key, instance);
        let Some(peer) = self.fetch_mut(key).and_then(|fetch| fetch.peers.get_mut(&instance))
        else {
            return;
        };
        if !mem::replace(&mut peer.refusal_told, true) {
            let reason = PeerDropReason::NotTheShare;
            self.event(Event::PeerDropped { content: key, peer: instance.peer, reason });
        }
        self.after_loss(key);
    }

    fn after_loss(&mut self, key: ContentKey) {
        self.connect_more(key);
        self.tell_if_nobody(key);
        if self.fetch_mut(key).is_some_and(|fetch| fetch.joined.is_empty() && fetch.is_running())
            && self.timers.get(&Timer::GiveUp(key)).is_none()
        {
            self.look_again(key);
        }
    }

    // News of links.

    /// Whether whoever answered may stand for `expected`: another instance of the same key may,
    /// unless it is a peer of its own already. (A seeder that was started again has a new instance
    /// number.)
    pub(super) fn confirm_instance(
        &mut self,
        key: ContentKey,
        expected: Instance,
        actual: Instance,
    ) -> bool {
        if expected == actual {
            return true;
        }
        let banned = self.banned.contains(&actual);
        let Some(fetch) = self.fetch_mut(key) else { return false };
        if banned || expected.peer != actual.peer || fetch.peers.contains_key(&actual) {
            return false;
        }
        let Some(mut peer) = fetch.peers.remove(&expected) else { return false };
        peer.entry.instance = actual;
        peer.named = true;
        fetch.peers.insert(actual, peer);
        let timer = self.timers.get(&Timer::Chooser(key, expected));
        self.timers.clear(&Timer::Chooser(key, expected));
        self.timers.set(Timer::Chooser(key, actual), timer.unwrap_or(Instant::NEVER));
        self.links.rename(key, expected, actual);
        true
    }

    /// A link has come up: downloads that want its peer may be glad of it.
    pub(super) fn offer_link(&mut self, link: LinkId, instance: Instance) {
        let wants = |fetch: &Fetch| {
            fetch.is_running()
                && fetch.peers.get(&instance).is_some_and(|peer| match &peer.state {
                    State::Known | State::Resting => true,
                    State::Active(active) => active.carrier.is_none(),
                    State::Banned => false,
                })
        };
        let keys: Vec<ContentKey> = self
            .contents
            .iter()
            .filter(|(_, content)| content.fetch.as_ref().is_some_and(wants))
            .map(|(key, _)| *key)
            .collect();
        for key in keys {
            let standing = self.standing_link(key, instance).map(|(link, _)| link);
            let ours = self
                .active(key, instance)
                .is_some_and(|active| active.attempts.values().any(|attempt| *attempt == link));
            // An attempt of its own comes to the chooser as such.
            if standing == Some(link) && !ours {
                self.end_peer(key, instance);
                self.activate(key, instance);
            }
        }
    }

    pub(super) fn move_carrier(&mut self, key: ContentKey, instance: Instance, to: LinkId) {
        if let Some(carrier) = self.active(key, instance).and_then(|a| a.carrier.as_mut()) {
            carrier.link = to;
        }
    }

    /// A seeder has opened the share.
    pub(super) fn peer_joined(&mut self, key: ContentKey, instance: Instance, link: LinkId) {
        let Some(fetch) = self.fetch_mut(key) else { return };
        fetch.lookup.in_vain = 0;
        fetch.lookup.waiting_told = false;
        if let Some(peer) = fetch.peers.get_mut(&instance) {
            peer.failures = 0;
            peer.unreachable_told = false;
            peer.refusal_told = false;
        }
        self.look_for_company(key);
        // The share may still be open on a link that this one replaces.
        for other in self.links.to(instance) {
            if other != link && self.links.handle_of(other, key).is_some() {
                self.drop_ask(other, key);
            }
        }
    }

    /// A link has ended that carried a peer, or was to. `opened`: why, if the share was open on it.
    pub(super) fn carrier_lost(
        &mut self,
        key: ContentKey,
        instance: Instance,
        link: LinkId,
        opened: Option<&CloseReason>,
    ) {
        let other = self
            .links
            .to(instance)
            .into_iter()
            .find(|other| *other != link && self.links.handle_of(*other, key).is_some());
        let Some(active) = self.active(key, instance) else { return };
        let Some(carrier) = active.carrier.as_mut().filter(|carrier| carrier.link == link) else {
            return;
        };
        if let Some(other) = other {
            carrier.link = other;
            return;
        }
        let attempt = carrier.attempt;
        active.carrier = None;
        if let Some(reason) = opened {
            let reason = PeerDropReason::Closed(reason.clone());
            self.event(Event::PeerDropped { content: key, peer: instance.peer, reason });
        }
        match attempt {
            Some(attempt) => {
                let input = path::Input::Lost(attempt);
                self.work.push_back(Work::Path(key, instance, input));
            }
            None if self.forget_if_it_came(key, instance) => {}
            None => self.activate(key, instance),
        }
        self.after_loss(key);
    }

    pub(super) fn tell_choosers_of_relay(&mut self, ready: bool) {
        let mut inputs = Vec::new();
        for (key, content) in &self.contents {
            let Some(fetch) = &content.fetch else { continue };
            for (instance, peer) in &fetch.peers {
                if matches!(&peer.state, State::Active(active) if active.chooser.is_some()) {
                    inputs.push(Work::Path(*key, *instance, path::Input::RelayReady(ready)));
                }
            }
        }
        self.work.extend(inputs);
    }
}

impl Peer {
    const fn new(entry: PeerEntry) -> Self {
        Self {
            entry,
            state: State::Known,
            failures: 0,
            unreachable_told: false,
            refusal_told: false,
            named: true,
            came: false,
        }
    }

    /// One that is asked in return, over the link that it opened.
    pub(super) fn in_return(instance: Instance, link: LinkId) -> Self {
        let entry = PeerEntry {
            instance,
            addresses: Vec::new(),
            suites: Vec::new(),
            relay: false,
            seeder: false,
        };
        let carrier = Some(Carrier { link, attempt: None });
        let state = State::Active(Box::new(Active { carrier, ..Active::default() }));
        Self { state, named: false, came: true, ..Self::new(entry) }
    }

    pub(super) const fn came_by_itself(&self) -> bool {
        self.came
    }
}

#[cfg(test)]
mod tests;
