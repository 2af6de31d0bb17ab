//! The tracker's directory, in memory: who has what, and who is online. Its relay is the real hub.
//!
//! Metadata survives a restart, who is online does not, as in the real one. It may also be in a
//! mood: a tracker that lies invents peers and addresses, one that is broken answers errors and
//! nonsense.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use towpath_core::id::{Instance, Locator, PeerId};
use towpath_core::relay::hub::check_token;
use towpath_core::rng::Rng;
use towpath_core::session::Suite;
use towpath_core::time::{Instant, UnixTime};
use towpath_core::tracker_api::{CallError, PeerEntry, Request, Response};

use crate::adversary::tracker::lie;

/// Silence after which a peer is not online any more.
const OFFLINE_AFTER: Duration = Duration::from_secs(90);

/// What may be expected of the tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// The truth.
    Honest,
    /// Peers that are not there, and wrong keys and addresses for those that are.
    Liar,
    /// Errors and nonsense, every other time.
    Broken,
    /// Any lie that can be put into words, every other time.
    Hostile,
}

/// The directory.
#[derive(Debug)]
pub struct Directory {
    /// What may be expected of it.
    pub mood: Mood,
    /// Tokens that were good once.
    pub expired_tokens: u64,
    /// Whom it names besides those who announced: other keys of adversaries.
    pub also: Vec<PeerEntry>,
    /// The lie that it has just told.
    pub lied: Option<&'static str>,
    token_key: [u8; 32],
    rng: Rng,
    seen: BTreeMap<Instance, Instant>,
    entries: BTreeMap<Instance, PeerEntry>,
    shares: BTreeMap<Locator, BTreeSet<Instance>>,
}

impl Directory {
    /// An empty one, which knows by tokens of this key who is logged in.
    #[must_use]
    pub const fn new(token_key: [u8; 32], rng: Rng) -> Self {
        Self {
            mood: Mood::Honest,
            expired_tokens: 0,
            also: Vec::new(),
            lied: None,
            token_key,
            rng,
            seen: BTreeMap::new(),
            entries: BTreeMap::new(),
            shares: BTreeMap::new(),
        }
    }

    /// Forgets who is online.
    pub fn restart(&mut self) {
        self.seen.clear();
    }

    /// Answers one call.
    ///
    /// # Errors
    /// As the real one, and as its mood is.
    pub fn call(
        &mut self,
        now: Instant,
        wall_clock: UnixTime,
        request: &Request,
        token: Option<&str>,
    ) -> Result<Response, CallError> {
        let answer = self.answer(now, wall_clock, request, token);
        if self.mood != Mood::Hostile || self.rng.below(2) == 0 {
            return answer;
        }
        let somebody = self.seen.keys().next().copied();
        let (answer, lie) = lie(&mut self.rng, somebody, request, &answer);
        self.lied = Some(lie);
        answer
    }

    fn answer(
        &mut self,
        now: Instant,
        wall_clock: UnixTime,
        request: &Request,
        token: Option<&str>,
    ) -> Result<Response, CallError> {
        if self.mood == Mood::Broken && self.rng.below(2) == 0 {
            return Err(match self.rng.below(4) {
                0 => CallError::Busy { retry_after_seconds: 3 },
                1 => CallError::Garbage("world"),
                2 => CallError::Unauthorized,
                _ => CallError::Refused("in a bad mood".into()),
            });
        }
        match request {
            Request::Register { me, .. }
            | Request::Announce { me, .. }
            | Request::Heartbeat { me, .. }
            | Request::Remove { me } => {
                let owner_at = |at| token.and_then(|token| check_token(&self.token_key, token, at));
                if owner_at(wall_clock) != Some(*me) {
                    self.expired_tokens += u64::from(owner_at(UnixTime(0)) == Some(*me));
                    return Err(CallError::Unauthorized);
                }
                self.told(now, *me, request)
            }
            Request::Lookup { locator } => {
                let known = self.shares.get(locator).ok_or(CallError::NotFound)?;
                let online = |peer: &&Instance| {
                    self.seen.get(peer).is_some_and(|at| now.since(*at) < OFFLINE_AFTER)
                };
                let online = known.iter().filter(online);
                let mut entries: Vec<PeerEntry> =
                    online.filter_map(|peer| self.entries.get(peer).cloned()).collect();
                entries.extend(self.also.iter().cloned());
                if self.mood == Mood::Liar {
                    self.lie(&mut entries);
                }
                Ok(Response::Peers(entries))
            }
        }
    }

    /// What the owner of a token says of himself.
    fn told(
        &mut self,
        now: Instant,
        me: Instance,
        request: &Request,
    ) -> Result<Response, CallError> {
        self.seen.insert(me, now);
        match request {
            Request::Register { addresses, suites, relay, .. } => {
                let entry = PeerEntry {
                    instance: me,
                    addresses: addresses.clone(),
                    suites: suites.clone(),
                    relay: *relay,
                    seeder: false,
                };
                self.entries.insert(me, entry);
            }
            Request::Announce { locator, seeder, .. } => {
                let entry = self.entries.get_mut(&me).ok_or(CallError::NotFound)?;
                entry.seeder = *seeder;
                self.shares.entry(*locator).or_default().insert(me);
            }
            Request::Heartbeat { locators, .. } => {
                let announced = |locator: &Locator| {
                    self.shares.get(locator).is_some_and(|peers| peers.contains(&me))
                };
                if !self.entries.contains_key(&me) || !locators.iter().all(announced) {
                    return Err(CallError::NotFound);
                }
            }
            Request::Remove { .. } | Request::Lookup { .. } => drop(self.seen.remove(&me)),
        }
        Ok(Response::Done { next_heartbeat_seconds: Some(30) })
    }

    /// Keys that nobody has at addresses where somebody else listens, and the other way round.
    fn lie(&mut self, entries: &mut Vec<PeerEntry>) {
        let mut addresses: Vec<SocketAddr> =
            entries.iter().flat_map(|entry| entry.addresses.clone()).collect();
        addresses.push(SocketAddr::from(([192, 0, 2, 1], 4_000)));
        for _ in 0..self.rng.below(6) {
            let mut key = [0; 32];
            for part in key.chunks_mut(8) {
                part.copy_from_slice(&self.rng.next_u64().to_be_bytes());
            }
            let drawn = self.rng.below(addresses.len() as u64);
            entries.push(PeerEntry {
                instance: Instance { peer: PeerId(key), number: self.rng.next_u64() },
                addresses: vec![addresses[usize::try_from(drawn).expect("few")]],
                suites: vec![Suite::ChaChaPoly],
                relay: self.rng.below(2) == 0,
                seeder: true,
            });
        }
        for entry in entries.iter_mut() {
            let drawn = self.rng.below(addresses.len() as u64);
            entry.addresses.insert(0, addresses[usize::try_from(drawn).expect("few")]);
        }
        self.rng.shuffle(entries);
    }
}
