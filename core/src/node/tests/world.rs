//! A small world for the node's own tests: real nodes and sessions, real hashes, virtual time;
//! streams, tracker, relay and store are tables in memory. (The large simulated world lives in
//! `fuzz/`.)

mod store;
mod streams;
mod tracker;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::BytesMut;

use self::store::File;
pub(super) use self::store::{bytes, shape};
use self::tracker::FakeTracker;
pub(super) use self::tracker::nobody;
use super::super::*;
use crate::crypto::public_key;
use crate::download::ChunkSet;
use crate::id::{ChunkRef, Descriptor, Hash, Kind, PeerId, Secret, Space};
use crate::limits::CHUNK_BYTES;
use crate::merkle::{self, TreeBuilder, TreeLayout};
use crate::path::{DialError, Policy};
use crate::session::{ChunkFrame, Session, Setup, Suite};
use crate::tracker_api::{CallError, PeerEntry, Request, Response};
use crate::wire::{RequestId, Unavailable};

pub(super) const LATENCY: Duration = Duration::from_millis(5);

/// One session and its end of the stream.
struct Slot {
    session: Session,
    peer: (usize, u32, LinkId),
    inbox: VecDeque<BytesMut>,
    wants: Option<usize>,
    ended: bool,
    tick_at: Instant,
    circuit: bool,
}

/// A peer's computer.
pub(super) struct Host {
    pub(super) node: Node,
    pub(super) me: Instance,
    secret_key: [u8; 32],
    epoch: u32,
    pub(super) address: SocketAddr,
    slots: BTreeMap<LinkId, Slot>,
    dials: BTreeMap<LinkId, (Setup, bool)>,
    incoming: BTreeMap<u64, (usize, u32, LinkId, bool)>,
    tick_at: Instant,
    wants_relay: bool,
    token: Option<String>,
    /// What stands on its disk: the root of the file, and its bytes as far as they are there.
    pub(super) disk: BTreeMap<(ContentKey, Space), (Hash, Vec<u8>)>,
    pub(super) piped: Vec<u8>,
    pub(super) events: Vec<(Instant, Event)>,
    // How it behaves.
    pub(super) blocked: bool,
    pub(super) lies: bool,
    pub(super) changed: bool,
    pub(super) disk_full: bool,
    pub(super) reader_stopped: bool,
    pub(super) finishes: bool,
}

enum Step {
    Tick(usize),
    SessionTick(usize, LinkId),
    Node(usize, Input),
    Session(usize, LinkId, session::Input),
    Arrive(usize, LinkId, BytesMut),
    End(usize, LinkId),
    Knock { from: usize, link: LinkId, to: usize, circuit: bool },
    Open(usize, LinkId, (usize, u32, LinkId)),
    Call(usize, CallId, Request, Option<String>),
    Login(usize),
}

pub(super) struct World {
    pub(super) now: Instant,
    seq: u64,
    agenda: BTreeMap<(Instant, u64), (usize, u32, Step)>,
    pub(super) hosts: Vec<Host>,
    pub(super) tracker: FakeTracker,
    catalog: BTreeMap<Hash, File>,
    pub(super) wire_bytes: u64,
}

impl World {
    pub(super) fn new(hosts: usize) -> Self {
        let mut world = Self {
            now: Instant::ZERO,
            seq: 0,
            agenda: BTreeMap::new(),
            hosts: Vec::new(),
            tracker: FakeTracker::default(),
            catalog: BTreeMap::new(),
            wire_bytes: 0,
        };
        for index in 0..hosts {
            world.add_host(index as u8 + 1, |_| {});
        }
        world
    }

    pub(super) fn add_host(&mut self, id: u8, configure: impl FnOnce(&mut Config)) -> usize {
        let secret_key = [id; 32];
        let me = Instance { peer: public_key(&secret_key), number: u64::from(id) };
        let mut config = Config {
            me,
            prefer_aes: true,
            accept_strangers: false,
            limit_up_bytes_per_second: None,
            limit_down_bytes_per_second: None,
        };
        configure(&mut config);
        let host = Host {
            node: Node::new(self.now, Rng::new([id; 32]), config),
            me,
            secret_key,
            epoch: 0,
            address: SocketAddr::from(([10, 0, 0, id], 1_000)),
            slots: BTreeMap::new(),
            dials: BTreeMap::new(),
            incoming: BTreeMap::new(),
            tick_at: Instant::NEVER,
            wants_relay: false,
            token: None,
            disk: BTreeMap::new(),
            piped: Vec::new(),
            events: Vec::new(),
            blocked: false,
            lies: false,
            changed: false,
            disk_full: false,
            reader_stopped: false,
            finishes: true,
        };
        self.hosts.push(host);
        let index = self.hosts.len() - 1;
        let addresses = vec![self.hosts[index].address];
        self.put(index, Input::Listening { addresses });
        index
    }

    /// The process dies and starts again with another instance number, knowing nothing.
    pub(super) fn restart(&mut self, host: usize) {
        let links: Vec<LinkId> = self.hosts[host].slots.keys().copied().collect();
        for link in links {
            self.hang_up(host, link);
        }
        let rng = Rng::new([host as u8 + 100; 32]);
        let old = &mut self.hosts[host];
        old.epoch += 1;
        old.me.number += 1_000;
        let config = Config { me: old.me, ..old.node.config.clone() };
        old.node = Node::new(self.now, rng, config);
        (old.wants_relay, old.token, old.tick_at) = (false, None, Instant::NEVER);
        old.dials.clear();
        old.incoming.clear();
        let addresses = vec![old.address];
        self.put(host, Input::Listening { addresses });
    }

    // What tests do.

    pub(super) fn file(&mut self, data: Vec<u8>) -> Descriptor {
        let file = File::new(data);
        let (root, length_bytes) = (file.root, file.data.len() as u64);
        self.catalog.insert(root, file);
        Descriptor { kind: Kind::File, length_bytes, root }
    }

    pub(super) fn share(
        &mut self,
        host: usize,
        key: u32,
        descriptor: Descriptor,
        secret: u8,
    ) -> Locator {
        let key = ContentKey(key);
        let data = self.catalog[&descriptor.root].data.clone();
        self.hosts[host].disk.insert((key, Space::Root), (descriptor.root, data.clone()));
        let contents = (descriptor.kind == Kind::Manifest).then(|| {
            let root = Hash(data[..32].try_into().unwrap());
            let data = self.catalog[&root].data.clone();
            let shape = shape(data.len() as u64);
            self.hosts[host].disk.insert((key, Space::Contents), (root, data));
            shape
        });
        let secret = (secret > 0).then(|| Secret::new([secret; 32]));
        let locator = descriptor.locator(secret.as_ref());
        let name = String::from("name");
        self.put(host, Input::Share { content: key, descriptor, secret, name, contents });
        locator
    }

    pub(super) fn get(&mut self, host: usize, key: u32, locator: Locator, secret: u8) {
        self.get_with(host, key, locator, secret, Policy::Auto, Sink::Store, None);
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn get_with(
        &mut self,
        host: usize,
        key: u32,
        locator: Locator,
        secret: u8,
        policy: Policy,
        sink: Sink,
        timeout: Option<Duration>,
    ) {
        let secret = (secret > 0).then(|| Secret::new([secret; 32]));
        let content = ContentKey(key);
        let serve = sink == Sink::Store;
        self.put(host, Input::Get { content, locator, secret, policy, sink, serve, timeout });
    }

    pub(super) fn put(&mut self, host: usize, input: Input) {
        self.hosts[host].node.handle_input(self.now, input);
        self.drain_node(host);
    }

    pub(super) fn data(&self, root: Hash) -> &[u8] {
        &self.catalog[&root].data
    }

    pub(super) fn happened(&self, host: usize, what: impl Fn(&Event) -> bool) -> bool {
        self.hosts[host].events.iter().any(|(_, event)| what(event))
    }

    pub(super) fn count(&self, host: usize, what: impl Fn(&Event) -> bool) -> usize {
        self.hosts[host].events.iter().filter(|(_, event)| what(event)).count()
    }

    pub(super) fn links(&self, host: usize) -> usize {
        self.hosts[host].slots.len()
    }

    /// Runs until `done` or for so long; answers whether it was done.
    pub(super) fn run(&mut self, millis: u64, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + Duration::from_millis(millis);
        while !done(self) {
            match self.agenda.first_key_value() {
                Some(((at, _), _)) if *at <= end => self.step(),
                Some(_) | None => {
                    self.now = end;
                    return done(self);
                }
            }
        }
        true
    }

    // Time.

    fn later(&mut self, after: Duration, host: usize, step: Step) {
        let at = self.now + after;
        self.at(at, host, step);
    }

    fn at(&mut self, at: Instant, host: usize, step: Step) {
        self.seq += 1;
        let epoch = self.hosts[host].epoch;
        self.agenda.insert((at, self.seq), (host, epoch, step));
    }

    fn step(&mut self) {
        let Some(((at, _), (owner, epoch, step))) = self.agenda.pop_first() else { return };
        self.now = self.now.max(at);
        if self.hosts[owner].epoch != epoch {
            return;
        }
        match step {
            Step::Tick(host) => {
                if self.hosts[host].tick_at == at {
                    self.put(host, Input::Tick);
                    assert!(self.hosts[host].tick_at > self.now, "a tick moves the deadline");
                }
            }
            Step::SessionTick(host, link) => {
                if self.hosts[host].slots.get(&link).is_some_and(|slot| slot.tick_at == at) {
                    self.put_session(host, link, session::Input::Tick);
                }
            }
            Step::Node(host, input) => self.put(host, input),
            Step::Session(host, link, input) => self.put_session(host, link, input),
            Step::Arrive(host, link, bytes) => {
                if let Some(slot) = self.hosts[host].slots.get_mut(&link) {
                    slot.inbox.push_back(bytes);
                    self.feed(host, link);
                }
            }
            Step::End(host, link) => {
                if let Some(slot) = self.hosts[host].slots.get_mut(&link) {
                    slot.ended = true;
                    self.feed(host, link);
                }
            }
            Step::Knock { from, link, to, circuit } => self.knock(from, link, to, circuit),
            Step::Open(host, link, peer) => {
                if let Some((setup, circuit)) = self.hosts[host].dials.remove(&link) {
                    self.start(host, link, setup, peer, circuit);
                } else {
                    self.later(LATENCY, peer.0, Step::End(peer.0, peer.2));
                }
            }
            Step::Call(host, call, request, token) => self.answer(host, call, request, token),
            Step::Login(host) => {
                if self.hosts[host].wants_relay && !self.tracker.down {
                    let token = format!("token {host} {}", self.seq);
                    self.tracker.tokens.insert(token.clone());
                    self.hosts[host].token = Some(token.clone());
                    self.put(host, Input::Relay { token: Some(token) });
                }
            }
        }
    }

    // Nodes.

    fn drain_node(&mut self, host: usize) {
        loop {
            match self.hosts[host].node.poll_output() {
                Output::Transmit(transmit) => self.carry_out(host, transmit),
                Output::Event(event) => {
                    self.hosts[host].events.push((self.now, event.clone()));
                    self.apply(host, event);
                }
                Output::Timeout(at) => {
                    if self.hosts[host].tick_at != at {
                        self.hosts[host].tick_at = at;
                        if at < Instant::NEVER {
                            self.at(at, host, Step::Tick(host));
                        }
                    }
                    return;
                }
            }
        }
    }

    fn carry_out(&mut self, host: usize, transmit: Transmit) {
        match transmit {
            Transmit::Dial { link, to, setup } => {
                let target = self.hosts.iter().position(|target| target.address == to);
                self.hosts[host].dials.insert(link, (setup, false));
                match target {
                    Some(target) if self.hosts[target].blocked || self.hosts[host].blocked => {}
                    Some(to) => {
                        let step = Step::Knock { from: host, link, to, circuit: false };
                        self.later(LATENCY, host, step);
                    }
                    None => {
                        let failed = Input::DialFailed { link, error: DialError::Refused };
                        self.later(LATENCY, host, Step::Node(host, failed));
                    }
                }
            }
            Transmit::OpenCircuit { link, to, setup } => {
                let known = |target: &Host| target.me == to && target.token.is_some();
                let target = self.hosts.iter().position(known);
                self.hosts[host].dials.insert(link, (setup, true));
                match target.filter(|_| self.hosts[host].token.is_some()) {
                    Some(to) => {
                        let step = Step::Knock { from: host, link, to, circuit: true };
                        self.later(2 * LATENCY, host, step);
                    }
                    None => {
                        let failed = Input::DialFailed { link, error: DialError::NotAtRelay };
                        self.later(LATENCY, host, Step::Node(host, failed));
                    }
                }
            }
            Transmit::Accept { incoming, link, setup } => {
                let Some((from, epoch, their, circuit)) =
                    self.hosts[host].incoming.remove(&incoming)
                else {
                    panic!("accepted what never came");
                };
                self.start(host, link, setup, (from, epoch, their), circuit);
                if self.hosts[from].epoch == epoch {
                    let own = (host, self.hosts[host].epoch, link);
                    self.later(LATENCY, from, Step::Open(from, their, own));
                }
            }
            Transmit::Refuse { incoming } => {
                if let Some((from, _, link, _)) = self.hosts[host].incoming.remove(&incoming) {
                    self.hosts[from].dials.remove(&link);
                    let failed = Input::DialFailed { link, error: DialError::Refused };
                    self.later(LATENCY, from, Step::Node(from, failed));
                }
            }
            Transmit::Abandon { link } => {
                self.hosts[host].dials.remove(&link);
                self.hang_up(host, link);
            }
            Transmit::Session { link, command } => {
                let input = session::Input::Command(command);
                self.later(Duration::ZERO, host, Step::Session(host, link, input));
            }
            Transmit::Call { call, request, token } => {
                self.later(LATENCY, host, Step::Call(host, call, request, token));
            }
            Transmit::WantRelay(wanted) => {
                self.hosts[host].wants_relay = wanted;
                if wanted {
                    self.later(2 * LATENCY, host, Step::Login(host));
                } else {
                    self.hosts[host].token = None;
                    let step = Step::Node(host, Input::Relay { token: None });
                    self.later(Duration::ZERO, host, step);
                }
            }
            Transmit::StoreChunk { content, chunk, link, proof, data } => {
                let result = self.store_chunk(host, content, chunk, &proof, &data);
                let input = Input::ChunkStored { content, chunk, link, result, buffer: data };
                self.later(Duration::from_micros(200), host, Step::Node(host, input));
            }
            Transmit::Deliver { content, chunk, data } => {
                self.hosts[host].piped.extend_from_slice(&data);
                if !self.hosts[host].reader_stopped {
                    let input = Input::Delivered { content, chunk, buffer: data };
                    self.later(Duration::from_micros(10), host, Step::Node(host, input));
                }
            }
        }
    }

    /// The application of this world: begins and finishes what it can.
    fn apply(&mut self, host: usize, event: Event) {
        let (key, space, root, length) = match event {
            Event::Described { content, descriptor, .. } => {
                (content, Space::Root, descriptor.root, descriptor.length_bytes)
            }
            Event::SpaceComplete(key, Space::Root) if self.is_manifest(host, key) => {
                let manifest = &self.hosts[host].disk[&(key, Space::Root)].1;
                let root = Hash(manifest[..32].try_into().unwrap());
                (key, Space::Contents, root, self.catalog[&root].data.len() as u64)
            }
            Event::SpaceComplete(key, _) if self.hosts[host].finishes => {
                return self.later(Duration::ZERO, host, Step::Node(host, Input::Finished(key)));
            }
            _ => return,
        };
        self.hosts[host].disk.insert((key, space), (root, vec![0; length as usize]));
        let shape = shape(length);
        let have = ChunkSet::default();
        let input = Input::Begin { content: key, space, shape, have };
        self.later(Duration::ZERO, host, Step::Node(host, input));
    }

    fn is_manifest(&self, host: usize, key: ContentKey) -> bool {
        let content = self.hosts[host].node.contents.get(&key);
        content
            .and_then(|content| content.about.as_ref())
            .is_some_and(|about| about.descriptor.kind == Kind::Manifest)
    }
}
