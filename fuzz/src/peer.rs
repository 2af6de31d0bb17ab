//! One peer of the world: a node, its sessions and its relay client, wired as a runtime wires them.
//!
//! A peer does nothing by itself. Inputs go in ([`Peer::input`]), the machines are drained until
//! all of them wait, and what they want of the outside comes out as [`Effect`]s for the
//! [`crate::world`].

mod links;
mod tale;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use towpath_core::crypto::public_key;
use towpath_core::id::{ChunkRef, ContentKey, Hash, Instance, LinkId, PeerId};
use towpath_core::node::{self, CallId, Event, IncomingFrom, Node};
use towpath_core::output::Output;
use towpath_core::relay::client::{self, Client};
use towpath_core::rng::Rng;
use towpath_core::session::{self, Setup};
use towpath_core::time::Instant;
use towpath_core::tracker_api::Request;
use towpath_core::wire::RequestId;

use self::links::{Carrier, Link, circuit};
pub use self::tale::Tells;
use crate::oracle::Oracle;

/// What a peer wants of the outside.
#[derive(Debug)]
pub enum Effect {
    /// Open a TCP stream for this link.
    Dial(LinkId, SocketAddr),
    /// Stop dialling, or cut the stream.
    Cut(LinkId),
    /// The stream that came in is this link.
    Adopt(u64, LinkId),
    /// Close the stream that came in.
    Refuse(u64),
    /// Write to the link's stream.
    Write(LinkId, Bytes),
    /// Read at most so much from the link's stream.
    Read(LinkId, usize),
    /// Close the link's stream after what was written.
    Close(LinkId),
    /// Call the tracker.
    Call(CallId, Request, Option<String>),
    /// Open the WebSocket to the relay.
    Connect,
    /// Send a message to the relay.
    Message(Bytes),
    /// Close the WebSocket.
    Disconnect,
    /// Read a chunk from disk.
    ReadChunk(LinkId, RequestId, ContentKey, ChunkRef),
    /// Verify and write a chunk.
    StoreChunk(ContentKey, ChunkRef, LinkId, Vec<Hash>, BytesMut),
    /// Hand verified bytes to a pipe.
    Deliver(ContentKey, ChunkRef, BytesMut),
    /// Something for the application.
    Tell(Event),
    /// For those who watch: which machine, and what it does.
    Tale(&'static str, String),
    /// A session ended because the other side broke this rule; who that was, as far as is known.
    Accuse(&'static str, Who),
    /// A session ended because the other side was not heard of any more.
    GiveUp,
}

/// The other side of a link, as far as it is known.
#[derive(Debug, Clone, Copy, Default)]
pub struct Who {
    /// Its key: proven, or as it was called, or as the relay says.
    pub peer: Option<PeerId>,
    /// Where it is.
    pub address: Option<SocketAddr>,
}

/// What comes to a peer.
#[derive(Debug)]
pub enum Work {
    /// For the node.
    Node(node::Input),
    /// For the relay client.
    Client(client::Input),
    /// For the session of a link.
    Session(LinkId, session::Input),
    /// A dialled stream is open.
    Dialled(LinkId),
    /// A stream came in; the world's number for it.
    Incoming(u64, SocketAddr),
}

/// One peer.
#[derive(Debug)]
pub struct Peer {
    /// Who it is.
    pub me: Instance,
    /// What it wants of the outside; the world takes it.
    pub effects: Vec<Effect>,
    /// How much it tells to those who watch.
    pub tells: Tells,
    /// What went beyond its limit, and how many bytes of it there are.
    pub held_too_much: Option<(&'static str, usize)>,
    /// Who watches it.
    pub oracle: Oracle,
    secret_key: [u8; 32],
    node: Node,
    node_deadline: Instant,
    client: Client,
    client_deadline: Instant,
    links: BTreeMap<LinkId, Link>,
    /// Circuits that wait for the node's word: the node's number and the client's.
    circuits: BTreeMap<u64, u64>,
    /// Who waits for the node's word.
    callers: BTreeMap<u64, Who>,
    next_incoming: u64,
    work: VecDeque<Work>,
    rng: Rng,
    keys: Rng,
}

/// What a peer is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its X25519 secret key.
    pub secret_key: [u8; 32],
    /// Instance number.
    pub number: u64,
    /// Whether it prefers AES.
    pub prefer_aes: bool,
    /// Limits of its rates.
    pub limit_up: Option<u64>,
    /// Limits of its rates.
    pub limit_down: Option<u64>,
}

/// Numbers of circuits that came in start here, so that they cannot meet the world's own.
const CIRCUIT_NUMBERS: u64 = 1 << 32;

impl Peer {
    /// A peer that has just started.
    #[must_use]
    pub fn new(now: Instant, mut rng: Rng, config: &Config) -> Self {
        let me = Instance { peer: public_key(&config.secret_key), number: config.number };
        let node = node::Config {
            me,
            prefer_aes: config.prefer_aes,
            accept_strangers: false,
            limit_up_bytes_per_second: config.limit_up,
            limit_down_bytes_per_second: config.limit_down,
        };
        let client =
            client::Config { me, secret_key: config.secret_key, host: "relay.world".into() };
        Self {
            me,
            effects: Vec::new(),
            tells: Tells::Nothing,
            held_too_much: None,
            oracle: Oracle::default(),
            secret_key: config.secret_key,
            node: Node::new(now, rng.fork("node", 0), node),
            node_deadline: now,
            client: Client::new(now, rng.fork("client", 0), client),
            client_deadline: now,
            links: BTreeMap::new(),
            circuits: BTreeMap::new(),
            callers: BTreeMap::new(),
            next_incoming: CIRCUIT_NUMBERS,
            work: VecDeque::new(),
            keys: rng.fork("keys", 0),
            rng,
        }
    }

    /// Figures of a download.
    #[must_use]
    pub fn progress(&self, key: ContentKey) -> node::Progress {
        self.node.progress(key)
    }

    /// When it wants to be ticked.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let links = self.links.values().map(|link| link.deadline).min().unwrap_or(Instant::NEVER);
        links.min(self.node_deadline).min(self.client_deadline)
    }

    /// Ticks whatever is due.
    pub fn tick(&mut self, now: Instant) {
        if self.node_deadline <= now {
            self.work.push_back(Work::Node(node::Input::Tick));
        }
        if self.client_deadline <= now {
            self.work.push_back(Work::Client(client::Input::Tick));
        }
        let due = self.links.iter().filter(|(_, link)| link.deadline <= now);
        self.work.extend(due.map(|(id, _)| Work::Session(*id, session::Input::Tick)));
        self.run(now);
        assert!(self.deadline() > now, "a machine would spin: {:?}", self.deadline());
    }

    /// Ticks everything, due or not: a timeout may come early.
    pub fn tick_early(&mut self, now: Instant) {
        self.work.push_back(Work::Node(node::Input::Tick));
        self.work.push_back(Work::Client(client::Input::Tick));
        self.work.extend(self.links.keys().map(|id| Work::Session(*id, session::Input::Tick)));
        self.run(now);
    }

    /// Takes one input and drains everything.
    pub fn input(&mut self, now: Instant, work: Work) {
        self.work.push_back(work);
        self.run(now);
    }

    fn run(&mut self, now: Instant) {
        while let Some(work) = self.work.pop_front() {
            self.tale(|| tale::of_work(&work));
            match work {
                Work::Node(input) => {
                    if let node::Input::DialFailed { link, .. } = &input {
                        self.links.remove(link);
                    }
                    let news = Oracle::news(&input);
                    self.node.handle_input(now, input);
                    self.drain_node();
                    self.oracle.check(news);
                }
                Work::Client(input) => {
                    self.client.handle_input(now, input);
                    self.drain_client();
                }
                Work::Session(id, input) => self.session(now, id, Some(input)),
                Work::Dialled(id) => self.open(now, id),
                Work::Incoming(number, from) => {
                    let who = Who { peer: None, address: Some(from) };
                    self.callers.insert(number, who);
                    let from = IncomingFrom::Tcp(from);
                    let input = node::Input::Incoming { incoming: number, from };
                    self.work.push_back(Work::Node(input));
                }
            }
        }
    }

    fn drain_node(&mut self) {
        loop {
            match self.node.poll_output() {
                Output::Timeout(at) => {
                    self.node_deadline = at;
                    return;
                }
                Output::Event(event) => {
                    self.tale(|| tale::of_event(&event));
                    self.effects.push(Effect::Tell(event));
                }
                Output::Transmit(transmit) => {
                    self.tale(|| tale::of_node(&transmit));
                    self.node_transmit(transmit);
                }
            }
        }
    }

    fn node_transmit(&mut self, transmit: node::Transmit) {
        match transmit {
            node::Transmit::Dial { link, to, setup } => {
                self.add_link(link, setup, Carrier::Tcp, Who { peer: None, address: Some(to) });
                self.effects.push(Effect::Dial(link, to));
            }
            node::Transmit::OpenCircuit { link, to, setup } => {
                self.add_link(link, setup, circuit(), Who { peer: Some(to.peer), address: None });
                self.work.push_back(Work::Client(client::Input::Open { link, to }));
            }
            node::Transmit::Accept { incoming, link, setup } => {
                let who = self.callers.remove(&incoming).unwrap_or_default();
                if let Some(number) = self.circuits.remove(&incoming) {
                    self.add_link(link, setup, circuit(), who);
                    let accept = client::Input::Accept { incoming: number, link };
                    self.work.push_back(Work::Client(accept));
                    self.work.push_back(Work::Dialled(link));
                } else {
                    self.add_link(link, setup, Carrier::Tcp, who);
                    self.effects.push(Effect::Adopt(incoming, link));
                    self.work.push_back(Work::Dialled(link));
                }
            }
            node::Transmit::Refuse { incoming } => {
                self.callers.remove(&incoming);
                match self.circuits.remove(&incoming) {
                    Some(incoming) => {
                        self.work.push_back(Work::Client(client::Input::Refuse { incoming }));
                    }
                    None => self.effects.push(Effect::Refuse(incoming)),
                }
            }
            node::Transmit::Abandon { link } => match self.links.remove(&link) {
                Some(Link { carrier: Carrier::Circuit { .. }, .. }) => {
                    self.work.push_back(Work::Client(client::Input::Close { link }));
                }
                Some(Link { carrier: Carrier::Tcp, .. }) | None => {
                    self.effects.push(Effect::Cut(link));
                }
            },
            node::Transmit::Session { link, command } => {
                self.oracle.commanded(link, &command);
                self.work.push_back(Work::Session(link, session::Input::Command(command)));
            }
            node::Transmit::Call { call, request, token } => {
                self.effects.push(Effect::Call(call, request, token));
            }
            node::Transmit::WantRelay(want) => {
                self.work.push_back(Work::Client(client::Input::Want(want)));
            }
            node::Transmit::StoreChunk { content, chunk, link, proof, data } => {
                self.effects.push(Effect::StoreChunk(content, chunk, link, proof, data));
            }
            node::Transmit::Deliver { content, chunk, data } => {
                self.effects.push(Effect::Deliver(content, chunk, data));
            }
        }
    }

    fn add_link(&mut self, id: LinkId, setup: Setup, carrier: Carrier, who: Who) {
        let deadline = Instant::NEVER;
        let asked = BTreeSet::new();
        let link = Link { setup, who, carrier, session: None, closed: false, deadline, asked };
        let before = self.links.insert(id, link);
        assert!(before.is_none(), "the node used a link number twice: {id:?}");
    }

    fn drain_client(&mut self) {
        loop {
            match self.client.poll_output() {
                Output::Timeout(at) => {
                    self.client_deadline = at;
                    return;
                }
                Output::Event(event) => {
                    self.tale(|| tale::of_client_event(&event));
                    self.client_event(event);
                }
                Output::Transmit(transmit) => {
                    self.tale(|| tale::of_client(&transmit));
                    self.client_transmit(transmit);
                }
            }
        }
    }

    fn client_event(&mut self, event: client::Event) {
        let input = match event {
            client::Event::LoggedIn { token } => node::Input::Relay { token: Some(token) },
            client::Event::LoggedOut(_) => node::Input::Relay { token: None },
            client::Event::OpenFailed { link, error } => {
                self.links.remove(&link);
                node::Input::DialFailed { link, error }
            }
            client::Event::Incoming { incoming, from } => {
                let number = self.next_incoming;
                self.next_incoming += 1;
                self.circuits.insert(number, incoming);
                self.callers.insert(number, Who { peer: Some(from), address: None });
                let from = IncomingFrom::Circuit(from);
                node::Input::Incoming { incoming: number, from }
            }
        };
        self.work.push_back(Work::Node(input));
    }

    fn client_transmit(&mut self, transmit: client::Transmit) {
        match transmit {
            client::Transmit::Connect => self.effects.push(Effect::Connect),
            client::Transmit::Send { message } => self.effects.push(Effect::Message(message)),
            client::Transmit::Disconnect => self.effects.push(Effect::Disconnect),
            client::Transmit::Opened { link } => self.work.push_back(Work::Dialled(link)),
            client::Transmit::Deliver { link, bytes } => {
                if let Some(Link { carrier: Carrier::Circuit { unread, .. }, .. }) =
                    self.links.get_mut(&link)
                {
                    unread.push_back(bytes);
                    self.circuit_goes_on(link);
                }
            }
            client::Transmit::Writable { link, bytes } => {
                if let Some(Link { carrier: Carrier::Circuit { writable_bytes, .. }, .. }) =
                    self.links.get_mut(&link)
                {
                    *writable_bytes += bytes;
                    self.circuit_goes_on(link);
                }
            }
            client::Transmit::Ended { link, reason } => {
                if let Some(Link { carrier: Carrier::Circuit { ended, unsent, .. }, .. }) =
                    self.links.get_mut(&link)
                {
                    *ended = Some(reason.to_string());
                    unsent.clear();
                    self.circuit_goes_on(link);
                }
            }
        }
    }
}
