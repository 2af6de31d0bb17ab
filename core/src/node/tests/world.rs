//! A small world for the node's own tests: real nodes and sessions, real hashes, virtual time;
//! streams, tracker, relay and store are tables in memory. (The large simulated world lives in
//! `fuzz/`.)

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::BytesMut;

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

/// A file with its tree.
pub(super) struct File {
    pub(super) data: Vec<u8>,
    pub(super) root: Hash,
    nodes: Vec<Hash>,
}

impl File {
    pub(super) fn new(data: Vec<u8>) -> Self {
        let length = data.len() as u64;
        let mut builder = TreeBuilder::new(length);
        let mut nodes = vec![Hash([0; 32]); TreeLayout::new(length).nodes() as usize];
        for chunk in data.chunks(CHUNK_BYTES) {
            for (position, hash) in builder.push(merkle::chunk_hash(length, chunk)) {
                nodes[position as usize] = hash;
            }
        }
        Self { root: builder.finish(), data, nodes }
    }

    fn proof(&self, index: u64) -> Vec<Hash> {
        let proof = TreeLayout::new(self.data.len() as u64).proof(index);
        proof
            .map(|node| node.map_or_else(|padding| padding, |at| self.nodes[at as usize]))
            .collect()
    }
}

/// Bytes that differ from chunk to chunk.
pub(super) fn bytes(length: usize) -> Vec<u8> {
    (0..length as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

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

/// What the tracker knows.
#[derive(Default)]
pub(super) struct FakeTracker {
    pub(super) down: bool,
    pub(super) answers: Option<Result<Response, CallError>>,
    pub(super) registered: BTreeMap<Instance, PeerEntry>,
    pub(super) announced: BTreeMap<Locator, BTreeMap<Instance, bool>>,
    pub(super) tokens: BTreeSet<String>,
    pub(super) lies: Vec<PeerEntry>,
    pub(super) calls: Vec<(Instant, Request)>,
    /// To this host only those are named that have everything.
    pub(super) hides_getters_from: Option<usize>,
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

    // Streams.

    fn knock(&mut self, from: usize, link: LinkId, to: usize, circuit: bool) {
        let epoch = self.hosts[from].epoch;
        self.seq += 1;
        let incoming = self.seq;
        self.hosts[to].incoming.insert(incoming, (from, epoch, link, circuit));
        let from = if circuit {
            IncomingFrom::Circuit(self.hosts[from].me.peer)
        } else {
            IncomingFrom::Tcp(self.hosts[from].address)
        };
        self.put(to, Input::Incoming { incoming, from });
    }

    fn start(
        &mut self,
        host: usize,
        link: LinkId,
        setup: Setup,
        peer: (usize, u32, LinkId),
        circuit: bool,
    ) {
        self.seq += 1;
        let mut ephemeral = [0; 32];
        ephemeral[..8].copy_from_slice(&self.seq.to_be_bytes());
        ephemeral[31] = host as u8 + 1;
        let config = session::Config {
            setup,
            secret_key: self.hosts[host].secret_key,
            ephemeral,
            channel_binding: Vec::new(),
        };
        let session = Session::new(self.now, Rng::new(ephemeral), config);
        let slot = Slot {
            session,
            peer,
            inbox: VecDeque::new(),
            wants: None,
            ended: false,
            tick_at: Instant::NEVER,
            circuit,
        };
        self.hosts[host].slots.insert(link, slot);
        self.drain_session(host, link);
    }

    fn put_session(&mut self, host: usize, link: LinkId, input: session::Input) {
        let Some(slot) = self.hosts[host].slots.get_mut(&link) else { return };
        slot.session.handle_input(self.now, input);
        self.drain_session(host, link);
    }

    fn drain_session(&mut self, host: usize, link: LinkId) {
        loop {
            let Some(slot) = self.hosts[host].slots.get_mut(&link) else { return };
            let (peer, epoch, other) = slot.peer;
            match slot.session.poll_output() {
                Output::Transmit(session::Transmit::Send(bytes)) => {
                    self.wire_bytes += bytes.len() as u64;
                    if self.hosts[peer].epoch == epoch {
                        let bytes = BytesMut::from(&bytes[..]);
                        self.later(LATENCY, peer, Step::Arrive(peer, other, bytes));
                    }
                }
                Output::Transmit(session::Transmit::Read { max }) => {
                    slot.wants = Some(max);
                    self.feed_later(host, link);
                }
                Output::Transmit(session::Transmit::ReadChunk { request, content, chunk }) => {
                    let result = self.read_chunk(host, request, content, chunk);
                    let input = session::Input::ChunkRead { request, result };
                    self.later(Duration::ZERO, host, Step::Session(host, link, input));
                }
                // Its last word follows, and all that it sent is on its way already.
                Output::Transmit(session::Transmit::CloseStream) => {}
                Output::Event(event) => {
                    let closed = matches!(event, session::Event::Closed(_));
                    let step = Step::Node(host, Input::Session { link, event });
                    self.later(Duration::ZERO, host, step);
                    if closed {
                        self.hang_up(host, link);
                    }
                }
                Output::Timeout(at) => {
                    if slot.tick_at != at {
                        slot.tick_at = at;
                        if at < Instant::NEVER {
                            self.at(at, host, Step::SessionTick(host, link));
                        }
                    }
                    return;
                }
            }
        }
    }

    fn feed_later(&mut self, host: usize, link: LinkId) {
        if self.hosts[host]
            .slots
            .get(&link)
            .is_some_and(|slot| !slot.inbox.is_empty() || slot.ended)
        {
            // An empty arrival feeds what is there.
            self.later(Duration::ZERO, host, Step::Arrive(host, link, BytesMut::new()));
        }
    }

    /// Hands in what has come, as far as the session wants it.
    fn feed(&mut self, host: usize, link: LinkId) {
        let Some(slot) = self.hosts[host].slots.get_mut(&link) else { return };
        slot.inbox.retain(|bytes| !bytes.is_empty());
        let Some(max) = slot.wants else { return };
        let Some(mut first) = slot.inbox.pop_front() else {
            if slot.ended {
                self.put_session(host, link, session::Input::Ended(None));
            }
            return;
        };
        if first.len() > max {
            let rest = first.split_off(max);
            slot.inbox.push_front(rest);
        }
        slot.wants = None;
        let (peer, epoch, other) = slot.peer;
        if self.hosts[peer].epoch == epoch {
            let sent = session::Input::Sent { bytes: first.len() };
            self.later(LATENCY, peer, Step::Session(peer, other, sent));
        }
        self.put_session(host, link, session::Input::Received(first));
    }

    /// Our end is gone; the other end sees that after all bytes before.
    fn hang_up(&mut self, host: usize, link: LinkId) {
        let Some(slot) = self.hosts[host].slots.get_mut(&link) else { return };
        // Sent bytes are on the agenda already; the closing session needs its own end no more.
        let (peer, epoch, other) = slot.peer;
        self.hosts[host].slots.remove(&link);
        if self.hosts[peer].epoch == epoch {
            self.later(LATENCY, peer, Step::End(peer, other));
        }
    }

    /// The network cuts all links of a host.
    pub(super) fn cut(&mut self, host: usize) {
        let links: Vec<LinkId> = self.hosts[host].slots.keys().copied().collect();
        for link in links {
            let (peer, epoch, other) = self.hosts[host].slots[&link].peer;
            self.put_session(host, link, session::Input::Ended(None));
            if self.hosts[peer].epoch == epoch {
                self.put_session(peer, other, session::Input::Ended(None));
            }
        }
    }

    /// Direct links of this host have died; circuits stand.
    pub(super) fn circuits(&self, host: usize) -> usize {
        self.hosts[host].slots.values().filter(|slot| slot.circuit).count()
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

    // The store.

    fn read_chunk(
        &self,
        host: usize,
        request: RequestId,
        content: ContentKey,
        chunk: ChunkRef,
    ) -> Result<ChunkFrame, Unavailable> {
        let host = &self.hosts[host];
        if host.changed {
            return Err(Unavailable::SourceChanged);
        }
        let (root, data) = host.disk.get(&(content, chunk.space)).ok_or(Unavailable::NotHad)?;
        let proof = self.catalog[root].proof(chunk.index);
        let start = chunk.index as usize * CHUNK_BYTES;
        let length = merkle::chunk_length(data.len() as u64, chunk.index);
        let mut frame = ChunkFrame::new(request, length, proof.len(), BytesMut::new());
        for (to, hash) in frame.proof_mut().chunks_mut(32).zip(&proof) {
            to.copy_from_slice(&hash.0);
        }
        let mut rest = &data[start..start + length];
        for part in frame.body_mut() {
            part.copy_from_slice(&rest[..part.len()]);
            rest = &rest[part.len()..];
            if host.lies {
                part[0] ^= 1;
            }
        }
        Ok(frame)
    }

    fn store_chunk(
        &mut self,
        host: usize,
        content: ContentKey,
        chunk: ChunkRef,
        proof: &[Hash],
        data: &[u8],
    ) -> StoreResult {
        if self.hosts[host].disk_full {
            return StoreResult::Failed("no space left".into());
        }
        let Some((root, disk)) = self.hosts[host].disk.get_mut(&(content, chunk.space)) else {
            return StoreResult::Failed("no store is open".into());
        };
        if !merkle::verify_chunk(*root, disk.len() as u64, chunk.index, proof, data) {
            return StoreResult::False;
        }
        let start = chunk.index as usize * CHUNK_BYTES;
        disk[start..start + data.len()].copy_from_slice(data);
        StoreResult::Written
    }

    // The tracker.

    fn answer(&mut self, host: usize, call: CallId, request: Request, token: Option<String>) {
        self.tracker.calls.push((self.now, request.clone()));
        let mut result = self.answer_to(&request, token);
        if let Ok(Response::Peers(entries)) = &mut result
            && self.tracker.hides_getters_from == Some(host)
        {
            entries.retain(|entry| entry.seeder);
        }
        self.later(LATENCY, host, Step::Node(host, Input::Reply { call, result }));
    }

    fn answer_to(
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
    pub(super) fn restart_tracker(&mut self) {
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

pub(super) fn shape(length: u64) -> ContentsShape {
    ContentsShape { chunks: merkle::chunk_count(length), bytes: length }
}

/// Somebody who is not there.
pub(super) fn nobody(id: u8) -> PeerEntry {
    PeerEntry {
        instance: Instance { peer: PeerId([id; 32]), number: u64::from(id) },
        addresses: vec![SocketAddr::from(([10, 9, 9, id], 9))],
        suites: vec![Suite::ChaChaPoly],
        relay: false,
        seeder: true,
    }
}
