//! Asking the tracker who has it. What it says is a hint: bounded, and proven by nobody but the
//! session.

use alloc::vec::Vec;
use core::mem;

use super::super::announce::retry_after;
use super::super::contents::Stage;
use super::super::{Event, Failure, Node, Timer};
use super::{Peer, State};
use crate::id::ContentKey;
use crate::limits::{
    LOOKUP_INTERVAL_BUSY, LOOKUP_INTERVAL_FIRST, LOOKUP_INTERVAL_MAX, LOOKUP_INTERVAL_MIN,
    MAX_ADDRESSES_PER_PEER, MAX_BANNED_PER_DOWNLOAD, MAX_CANDIDATES_PER_DOWNLOAD,
};
use crate::time::Instant;
use crate::tracker_api::{CallError, PeerEntry, Response};

/// How the tracker is asked.
#[derive(Debug, Default)]
pub(in super::super) struct Lookup {
    under_way: bool,
    asked_at: Instant,
    /// Lookups since somebody was there.
    pub(super) in_vain: u32,
    pub(super) waiting_told: bool,
    /// Lookups while somebody was there.
    pub(super) in_company: u32,
}

impl Node {
    pub(in super::super) fn send_lookup(&mut self, key: ContentKey) {
        let now = self.now;
        let Some(fetch) = self.fetch_mut(key) else { return };
        if fetch.lookup.under_way || !fetch.is_running() {
            return;
        }
        fetch.lookup.under_way = true;
        fetch.lookup.asked_at = now;
        self.call_lookup(key);
    }

    pub(in super::super) fn on_lookup(
        &mut self,
        key: ContentKey,
        result: Result<Response, CallError>,
    ) {
        let Some(content) = self.contents.get_mut(&key) else { return };
        let public = content.secret.is_none();
        let Some(fetch) = content.fetch.as_mut() else { return };
        fetch.lookup.under_way = false;
        if !fetch.is_running() {
            return;
        }
        let entries = match result {
            Ok(Response::Peers(entries)) => entries,
            Ok(Response::Done { .. }) => {
                return self.on_lookup_failed(key, &CallError::Garbage("no_list_of_peers"));
            }
            // A private locator that was never announced may be announced yet; a public id is known
            // or it is mistyped.
            Err(CallError::NotFound) if public && fetch.stage == Stage::Locating => {
                return self.fail(key, Failure::Unknown);
            }
            Err(CallError::NotFound) => Vec::new(),
            Err(error) => return self.on_lookup_failed(key, &error),
        };
        self.no_trouble();
        self.note_peers(key, entries);
        self.connect_more(key);
        self.tell_if_nobody(key);
        self.plan_lookup(key);
    }

    fn on_lookup_failed(&mut self, key: ContentKey, error: &CallError) {
        self.tell_trouble(error);
        self.plan_lookup(key);
        let soonest = self.now + retry_after(error);
        if self.timers.get(&Timer::Lookup(key)).is_some_and(|at| at < soonest) {
            self.set_timer_at(Timer::Lookup(key), soonest);
        }
    }

    /// When to ask next: often while nobody is there, now and then while somebody is.
    // spec P28
    fn plan_lookup(&mut self, key: ContentKey) {
        let Some(fetch) = self.fetch_mut(key) else { return };
        let pause = if fetch.joined.is_empty() {
            let step = fetch.lookup.in_vain.min(4);
            fetch.lookup.in_vain += 1;
            (LOOKUP_INTERVAL_MIN * (1 << step)).min(LOOKUP_INTERVAL_MAX)
        } else {
            let step = fetch.lookup.in_company.min(8);
            fetch.lookup.in_company += 1;
            (LOOKUP_INTERVAL_FIRST * (1 << step)).min(LOOKUP_INTERVAL_BUSY)
        };
        let pause = self.jitter(pause);
        self.set_timer(Timer::Lookup(key), pause);
    }

    /// The first peer is there: others may begin just now, as we do.
    pub(super) fn look_for_company(&mut self, key: ContentKey) {
        let Some(fetch) = self.fetch_mut(key) else { return };
        if fetch.lookup.in_company > 0 || fetch.lookup.under_way {
            return;
        }
        fetch.lookup.in_company = 1;
        let pause = self.jitter(LOOKUP_INTERVAL_FIRST);
        self.set_timer(Timer::Lookup(key), pause);
    }

    /// The last peer is gone: who else is there?
    pub(super) fn look_again(&mut self, key: ContentKey) {
        self.set_give_up(key);
        let Some(fetch) = self.fetch_mut(key) else { return };
        fetch.lookup.in_vain = 0;
        if !fetch.lookup.under_way {
            let at = fetch.lookup.asked_at + LOOKUP_INTERVAL_MIN;
            self.set_timer_at(Timer::Lookup(key), at);
        }
    }

    /// Notes whom the tracker named: at most so many, drawn at random if it named more.
    fn note_peers(&mut self, key: ContentKey, mut entries: Vec<PeerEntry>) {
        let me = self.config.me;
        entries.retain(|entry| {
            entry.instance != me
                && !self.banned.contains(&entry.instance)
                && !self.waste.is_spent_by_peer(&entry.instance.peer)
        });
        if entries.len() > MAX_CANDIDATES_PER_DOWNLOAD {
            self.counters.count("too_many_peers_named");
            self.rng.shuffle(&mut entries);
            entries.truncate(MAX_CANDIDATES_PER_DOWNLOAD);
        }
        let Some(fetch) = self.fetch_mut(key) else { return };
        for peer in fetch.peers.values_mut() {
            peer.named = false;
        }
        let mut dropped = Vec::new();
        let banned = |peer: &Peer| matches!(peer.state, State::Banned);
        // Those that are banned stay known as such, and take no room from the others.
        let bans = fetch.peers.values().filter(|peer| banned(peer)).count();
        let too_many = bans.saturating_sub(MAX_BANNED_PER_DOWNLOAD);
        let old = fetch.peers.iter().filter(|(_, peer)| banned(peer)).map(|(old, _)| *old);
        for old in old.take(too_many).collect::<Vec<_>>() {
            fetch.peers.remove(&old);
        }
        let bans = bans - too_many;
        for mut entry in entries {
            entry.addresses.truncate(MAX_ADDRESSES_PER_PEER);
            let instance = entry.instance;
            if let Some(peer) = fetch.peers.get_mut(&instance) {
                (peer.entry, peer.named, peer.came) = (entry, true, false);
                continue;
            }
            if fetch.peers.len() - bans >= MAX_CANDIDATES_PER_DOWNLOAD {
                // Whoever is not named any more makes way; all others have their turn first.
                let old = fetch.peers.iter().find(|(_, peer)| {
                    !peer.named && matches!(peer.state, State::Known | State::Resting)
                });
                let Some(old) = old.map(|(old, _)| *old) else { break };
                fetch.peers.remove(&old);
                dropped.push(old);
            }
            fetch.peers.insert(instance, Peer::new(entry));
        }
        let gone = |peer: &Peer| !peer.named && matches!(peer.state, State::Known | State::Resting);
        dropped.extend(fetch.peers.iter().filter(|(_, peer)| gone(peer)).map(|(old, _)| *old));
        fetch.peers.retain(|_, peer| !gone(peer));
        for old in dropped {
            self.timers.clear(&Timer::Rest(key, old));
        }
    }

    /// Says once that nobody is online, until somebody was.
    pub(super) fn tell_if_nobody(&mut self, key: ContentKey) {
        let Some(fetch) = self.fetch_mut(key) else { return };
        let somebody = fetch.peers.values().any(|peer| !matches!(peer.state, State::Banned));
        if !somebody && !mem::replace(&mut fetch.lookup.waiting_told, true) {
            self.event(Event::Waiting(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::{Config, Input, PeerDropReason, Sink, Transmit};
    use core::time::Duration;

    use super::*;
    use crate::id::{Instance, LinkId, Locator, PeerId};
    use crate::node::CallId;
    use crate::output::Output;
    use crate::path::Policy;
    use crate::rng::Rng;

    const KEY: ContentKey = ContentKey(1);

    fn named(number: u64) -> PeerEntry {
        let peer = PeerId([7; 32]);
        let instance = Instance { peer, number };
        let (addresses, suites) = (Vec::new(), Vec::new());
        PeerEntry { instance, addresses, suites, relay: true, seeder: true }
    }

    /// A node that wants something, and has asked who has it.
    fn getter() -> Node {
        let config = Config {
            me: Instance { peer: PeerId([1; 32]), number: 1 },
            prefer_aes: false,
            accept_strangers: false,
            limit_up_bytes_per_second: None,
            limit_down_bytes_per_second: None,
        };
        let mut node = Node::new(Instant::ZERO, Rng::new([0; 32]), config);
        let get = Input::Get {
            content: KEY,
            locator: Locator([2; 32]),
            secret: None,
            policy: Policy::Auto,
            sink: Sink::Store,
            serve: false,
            timeout: None,
        };
        node.handle_input(Instant::ZERO, get);
        node
    }

    fn drain(node: &mut Node) -> Option<CallId> {
        let mut asked = None;
        loop {
            match node.poll_output() {
                Output::Timeout(_) => return asked,
                Output::Transmit(Transmit::Call { call, .. }) => asked = Some(call),
                Output::Transmit(_) | Output::Event(_) => {}
            }
        }
    }

    #[test]
    fn liars_that_were_dropped_take_no_room_from_those_who_come_later() {
        let mut node = getter();
        let mut asked = drain(&mut node);
        let mut now = Instant::ZERO;
        let most = MAX_CANDIDATES_PER_DOWNLOAD as u64;
        for round in 0..6 {
            let liars: Vec<PeerEntry> = (0..most).map(|n| named(round * most + n)).collect();
            let instances: Vec<_> = liars.iter().map(|entry| entry.instance).collect();
            let call = asked.expect("it asks again and again");
            let result = Ok(Response::Peers(liars));
            node.handle_input(now, Input::Reply { call, result });
            for instance in instances {
                node.ban_peer(KEY, instance, PeerDropReason::NotTheShare);
            }
            drain(&mut node);
            now = now + LOOKUP_INTERVAL_BUSY;
            node.handle_input(now, Input::Tick);
            asked = drain(&mut node);
        }
        let honest = named(u64::MAX);
        let call = asked.expect("it asks again and again");
        let result = Ok(Response::Peers(Vec::from([honest.clone()])));
        node.handle_input(now, Input::Reply { call, result });
        let peers = &node.contents[&KEY].fetch.as_ref().unwrap().peers;
        assert!(peers.contains_key(&honest.instance));
        assert!(peers.len() <= MAX_BANNED_PER_DOWNLOAD + MAX_CANDIDATES_PER_DOWNLOAD);
    }

    fn fetch(node: &mut Node) -> &mut super::super::super::contents::Fetch {
        node.contents.get_mut(&KEY).unwrap().fetch.as_mut().unwrap()
    }

    /// The pause until the next lookup is this, less a quarter at most.
    fn assert_pause(node: &Node, pause: Duration) {
        let planned = node.timers.get(&Timer::Lookup(KEY)).unwrap().since(node.now);
        assert!(planned <= pause && planned >= pause * 3 / 4, "{planned:?} of {pause:?}");
    }

    #[test]
    fn it_asks_often_while_nobody_is_there_and_rarely_in_company() {
        let mut node = getter();
        for seconds in [2, 4, 8, 10, 10, 10, 10] {
            node.plan_lookup(KEY);
            assert_pause(&node, Duration::from_secs(seconds));
        }
        fetch(&mut node).joined.insert(LinkId(1));
        for seconds in [1, 2, 4, 8, 15, 15, 15, 15, 15, 15, 15] {
            node.plan_lookup(KEY);
            assert_pause(&node, Duration::from_secs(seconds));
        }
    }

    #[test]
    fn the_first_peer_and_the_loss_of_the_last_bring_a_lookup_forward() {
        let mut node = getter();
        fetch(&mut node).lookup.under_way = true;
        node.look_for_company(KEY);
        assert_eq!(fetch(&mut node).lookup.in_company, 0, "one is under way");
        fetch(&mut node).lookup.under_way = false;
        node.look_for_company(KEY);
        assert_pause(&node, LOOKUP_INTERVAL_FIRST);
        node.set_timer(Timer::Lookup(KEY), LOOKUP_INTERVAL_BUSY);
        node.look_for_company(KEY);
        assert_pause(&node, LOOKUP_INTERVAL_BUSY);
        fetch(&mut node).lookup.in_vain = 3;
        node.look_again(KEY);
        let at = node.timers.get(&Timer::Lookup(KEY)).unwrap();
        let asked_at = fetch(&mut node).lookup.asked_at;
        assert_eq!((at, fetch(&mut node).lookup.in_vain), (asked_at + LOOKUP_INTERVAL_MIN, 0));
    }

    #[test]
    fn a_tracker_that_names_a_time_is_not_asked_before() {
        let mut node = getter();
        let busy = |retry_after_seconds| CallError::Busy { retry_after_seconds };
        node.on_lookup_failed(KEY, &busy(60));
        let at = node.timers.get(&Timer::Lookup(KEY)).unwrap();
        assert_eq!(at.since(node.now), Duration::from_secs(60));
        node.on_lookup_failed(KEY, &busy(1));
        assert_pause(&node, Duration::from_secs(4));
        assert!(node.timers.get(&Timer::Lookup(KEY)).unwrap().since(node.now).as_secs() > 1);
    }

    #[test]
    fn the_most_that_are_named_are_taken_and_more_are_cut() {
        let most = MAX_CANDIDATES_PER_DOWNLOAD as u64;
        for (number, expected, counted) in [(most, most, 0), (most + 1, most, 1)] {
            let mut node = getter();
            node.note_peers(KEY, (0..number).map(named).collect());
            assert_eq!(fetch(&mut node).peers.len() as u64, expected);
            assert_eq!(node.counters.get("too_many_peers_named"), counted);
        }
    }

    #[test]
    fn one_lookup_is_under_way_and_none_for_what_is_over() {
        let mut node = getter();
        assert!(drain(&mut node).is_some());
        node.send_lookup(KEY);
        assert_eq!(drain(&mut node), None, "one is under way");
        fetch(&mut node).lookup.under_way = false;
        node.send_lookup(KEY);
        assert!(drain(&mut node).is_some());
        fetch(&mut node).lookup.under_way = false;
        fetch(&mut node).stage = Stage::Failed;
        node.send_lookup(KEY);
        assert_eq!(drain(&mut node), None, "it is over");
    }

    #[test]
    fn whoever_is_not_named_any_more_makes_way_unless_it_is_in_use() {
        let mut node = getter();
        let most = MAX_CANDIDATES_PER_DOWNLOAD as u64;
        node.note_peers(KEY, (1..most).map(named).collect());
        let in_use = Peer::in_return(named(0).instance, LinkId(0));
        fetch(&mut node).peers.insert(named(0).instance, in_use);
        assert_eq!(fetch(&mut node).peers.len() as u64, most);
        node.note_peers(KEY, (1..most - 1).chain([most]).map(named).collect());
        let left = fetch(&mut node).peers.keys().map(|instance| instance.number);
        assert!(left.eq((0..most - 1).chain([most])));
    }
}
