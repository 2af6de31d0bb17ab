//! The tracker of the small world: it knows what it was told, until it is started again or lies.

use super::*;

/// What the tracker knows.
#[derive(Default)]
pub(in super::super) struct FakeTracker {
    pub(in super::super) down: bool,
    pub(in super::super) answers: Option<Result<Response, CallError>>,
    pub(in super::super) registered: BTreeMap<Instance, PeerEntry>,
    pub(in super::super) announced: BTreeMap<Locator, BTreeMap<Instance, bool>>,
    pub(in super::super) tokens: BTreeSet<String>,
    pub(in super::super) lies: Vec<PeerEntry>,
    pub(in super::super) calls: Vec<(Instant, Request)>,
    /// To this host only those are named that have everything.
    pub(in super::super) hides_getters_from: Option<usize>,
}

impl World {
    pub(super) fn answer(
        &mut self,
        host: usize,
        call: CallId,
        request: Request,
        token: Option<String>,
    ) {
        self.tracker.calls.push((self.now, request.clone()));
        let mut result = self.answer_to(&request, token);
        if let Ok(Response::Peers(entries)) = &mut result
            && self.tracker.hides_getters_from == Some(host)
        {
            entries.retain(|entry| entry.seeder);
        }
        self.later(LATENCY, host, Step::Node(host, Input::Reply { call, result }));
    }

    pub(super) fn answer_to(
        &mut self,
        request: &Request,
        token: Option<String>,
    ) -> Result<Response, CallError> {
        let tracker = &mut self.tracker;
        if tracker.down {
            return Err(CallError::Unreachable("down".into()));
        }
        if let Some(answer) = &tracker.answers {
            return answer.clone();
        }
        let done = Ok(Response::Done { next_heartbeat_seconds: Some(10) });
        if let Request::Lookup { locator } = request {
            let peers = tracker.announced.get(locator).ok_or(CallError::NotFound)?;
            let entry = |(instance, seeder): (&Instance, &bool)| {
                let mut entry = tracker.registered.get(instance)?.clone();
                entry.seeder = *seeder;
                Some(entry)
            };
            let mut entries: Vec<PeerEntry> = peers.iter().filter_map(entry).collect();
            entries.extend(tracker.lies.iter().cloned());
            return Ok(Response::Peers(entries));
        }
        if !token.is_some_and(|token| tracker.tokens.contains(&token)) {
            return Err(CallError::Unauthorized);
        }
        match request {
            Request::Register { me, addresses, suites, relay } => {
                let entry = PeerEntry {
                    instance: *me,
                    addresses: addresses.clone(),
                    suites: suites.clone(),
                    relay: *relay,
                    seeder: false,
                };
                tracker.registered.insert(*me, entry);
            }
            Request::Announce { me, locator, seeder, .. } => {
                if !tracker.registered.contains_key(me) {
                    return Err(CallError::NotFound);
                }
                tracker.announced.entry(*locator).or_default().insert(*me, *seeder);
            }
            Request::Heartbeat { me, .. } => {
                if !tracker.registered.contains_key(me) {
                    return Err(CallError::NotFound);
                }
            }
            Request::Remove { me } => {
                tracker.registered.remove(me);
            }
            Request::Lookup { .. } => {}
        }
        done
    }

    /// Everybody is logged out, circuits end, nothing of what was known is left.
    pub(in super::super) fn restart_tracker(&mut self) {
        self.tracker = FakeTracker::default();
        for host in 0..self.hosts.len() {
            let circuits: Vec<LinkId> = self.hosts[host]
                .slots
                .iter()
                .filter(|(_, slot)| slot.circuit)
                .map(|(link, _)| *link)
                .collect();
            self.hosts[host].token = None;
            self.put(host, Input::Relay { token: None });
            for link in circuits {
                self.put_session(host, link, session::Input::Ended(None));
            }
            self.later(Duration::from_secs(1), host, Step::Login(host));
        }
    }
}

/// Somebody who is not there.
pub(in super::super) fn nobody(id: u8) -> PeerEntry {
    PeerEntry {
        instance: Instance { peer: PeerId([id; 32]), number: u64::from(id) },
        addresses: vec![SocketAddr::from(([10, 9, 9, id], 9))],
        suites: vec![Suite::ChaChaPoly],
        relay: false,
        seeder: true,
    }
}
