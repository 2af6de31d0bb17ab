//! Adversaries: peers of the world that obey nobody.
//!
//! An [`Adversary`] stands where an honest [`crate::peer::Peer`] stands: it takes the same inputs
//! and wants the same things of the world. It is known to the tracker, holds the link with its
//! secret, logs in to the relay, dials and is dialled; on its links it does what its [`Vice`]s
//! say, one vice a link, in turns.
//!
//! | module | its story |
//! |---|---|
//! | `vice` | what adversaries do, by name |
//! | `line` | a session in hostile hands |
//! | `seeder` | what those do who are asked |
//! | `requester` | what those do who ask |
//! | `carry` | streams, circuits, and the way to them |
//! | `relay` | a relay that obeys nobody |
//! | `tracker` | a tracker that lies |
//!
//! What an honest peer promises is judged where it is kept ([`crate::world`],
//! [`crate::scenario`]); the adversary itself complains where only it can see that a promise was
//! broken: it was let in without the secret, or was not shown the door.

mod carry;
mod line;
pub mod relay;
mod requester;
mod seeder;
pub mod tracker;
mod vice;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use towpath_core::crypto::public_key;
use towpath_core::id::{ChunkRef, Instance, LinkId, PeerId};
use towpath_core::node::{self, CallId};
use towpath_core::relay::client::{self, Client};
use towpath_core::rng::Rng;
use towpath_core::session::{self, Suite};
use towpath_core::time::Instant;
use towpath_core::tracker_api::{PeerEntry, Request, Response};

use crate::content::Content;
use crate::peer::{Effect, Work};

use self::carry::Carrier;
use self::line::{Heard, Line};
pub use self::vice::Vice;

/// How long an adversary waits to be shown the door.
const DOOR_TIME: Duration = Duration::from_secs(25);
/// It asks the tracker whom to attack this often.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(2);
/// It says to the tracker that it is there this often.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(20);
/// So many attacks, and it has enough.
const MAX_ATTACKS: usize = 40;

/// What an adversary is made of.
#[derive(Debug, Clone)]
pub struct Config {
    /// What it does.
    pub vices: Vec<Vice>,
    /// Its keys; the first is the one that the tracker knows.
    pub secret_keys: Vec<[u8; 32]>,
    /// Instance number.
    pub number: u64,
    /// Where it listens.
    pub address: SocketAddr,
    /// What it says it has.
    pub content: Arc<Content>,
    /// Whether it complains when it is suffered.
    pub knows_the_door: bool,
    /// Keys of all adversaries, which it leaves alone.
    pub friends: Vec<PeerId>,
}

impl Config {
    /// Who it may be.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerId> {
        self.secret_keys.iter().map(public_key).collect()
    }
}

/// An adversary.
#[derive(Debug)]
pub struct Adversary {
    /// What it wants of the world.
    pub effects: Vec<Effect>,
    /// What it did.
    pub counts: Vec<&'static str>,
    /// A promise that was broken.
    pub complaint: Option<String>,
    /// Chunk bytes that it sent after they had been taken back.
    pub late_bytes: u64,
    config: Config,
    me: Instance,
    content: Arc<Content>,
    rng: Rng,
    client: Client,
    client_deadline: Instant,
    token: Option<String>,
    calls: BTreeMap<CallId, Call>,
    next_call: u64,
    links: BTreeMap<LinkId, Link>,
    next_link: u64,
    next_vice: usize,
    attacks: usize,
    todo: BTreeSet<(Instant, u64, Todo)>,
    todos: u64,
    /// The first bytes of a handshake that went well.
    recorded: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
enum Call {
    Register,
    Announce,
    Lookup,
}

/// What is to be done later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Todo {
    Announce,
    Lookup,
    /// One byte more on this link.
    Trickle(LinkId),
    /// It should have been shown the door.
    Door(LinkId),
    /// A chunk that was taken back.
    Late(LinkId, u32, ChunkRef),
}

/// One link.
#[derive(Debug)]
struct Link {
    vice: Vice,
    line: Line,
    carrier: Carrier,
    /// Whom it called; `None` if it was called.
    called: Option<PeerId>,
    /// Whether it has said its piece.
    acted: bool,
    /// Whether it still reads.
    reads: bool,
    /// The share's number on this link.
    handle: u32,
    /// Chunks that it has answered.
    answered: u64,
    /// Requests that it has not.
    asked: Vec<(u32, ChunkRef)>,
    /// Bytes of a chunk that come one by one.
    slow: Vec<u8>,
    /// Whether somebody opened the share to it.
    served: bool,
}

impl Adversary {
    /// One that has just started.
    #[must_use]
    pub fn new(now: Instant, mut rng: Rng, config: Config) -> Self {
        let me = Instance { peer: public_key(&config.secret_keys[0]), number: config.number };
        let secret_key = config.secret_keys[0];
        let client = client::Config { me, secret_key, host: "relay.world".into() };
        let client = Client::new(now, rng.fork("client", 0), client);
        let mut this = Self {
            effects: Vec::new(),
            counts: Vec::new(),
            complaint: None,
            late_bytes: 0,
            content: Arc::clone(&config.content),
            config,
            me,
            rng,
            client,
            client_deadline: Instant::NEVER,
            token: None,
            calls: BTreeMap::new(),
            next_call: 0,
            links: BTreeMap::new(),
            next_link: 0,
            next_vice: 0,
            attacks: 0,
            todo: BTreeSet::new(),
            todos: 0,
            recorded: None,
        };
        this.tell_client(now, client::Input::Want(true));
        this.later(now + Duration::from_millis(100), Todo::Lookup);
        this
    }

    /// When it wants to be ticked.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        let todo = self.todo.first().map_or(Instant::NEVER, |(at, ..)| *at);
        todo.min(self.client_deadline)
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Instant) {
        if self.client_deadline <= now {
            self.tell_client(now, client::Input::Tick);
        }
        while let Some(next @ (at, _, what)) = self.todo.first().copied() {
            if at > now {
                return;
            }
            self.todo.remove(&next);
            match what {
                Todo::Announce => self.register(),
                Todo::Lookup => {
                    let secret = self.content.secret.as_ref();
                    let locator = self.content.descriptor.locator(secret);
                    self.call(Call::Lookup, Request::Lookup { locator });
                    if self.attacks < MAX_ATTACKS {
                        self.later(now + LOOKUP_INTERVAL, Todo::Lookup);
                    }
                }
                Todo::Trickle(link) => self.trickle(now, link),
                Todo::Door(link) => self.at_the_door(now, link),
                Todo::Late(link, request, chunk) => self.send_late(now, link, request, chunk),
            }
        }
    }

    /// Takes one input.
    pub fn input(&mut self, now: Instant, work: Work) {
        match work {
            Work::Node(node::Input::Reply { call, result }) => {
                let response = result.ok();
                match (self.calls.remove(&call), response) {
                    (Some(Call::Register), Some(_)) => self.announce(now),
                    (Some(Call::Lookup), Some(Response::Peers(peers))) => {
                        self.attack(now, &peers);
                    }
                    _ => {}
                }
            }
            Work::Node(node::Input::DialFailed { link, .. }) => drop(self.links.remove(&link)),
            Work::Node(_) => {}
            Work::Client(input) => self.tell_client(now, input),
            Work::Session(link, session::Input::Received(bytes)) => {
                self.received(now, link, &bytes);
            }
            Work::Session(link, session::Input::Ended(_)) => self.ended(link),
            Work::Session(..) => {}
            Work::Dialled(link) => self.opened(now, link),
            Work::Incoming(number, _) => {
                let link = self.add_called(Carrier::Tcp);
                self.effects.push(Effect::Adopt(number, link));
                self.effects.push(Effect::Read(link, READ_BYTES));
            }
        }
    }

    fn later(&mut self, at: Instant, what: Todo) {
        self.todos += 1;
        self.todo.insert((at, self.todos, what));
    }

    fn random(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for part in bytes.chunks_mut(8) {
            part.copy_from_slice(&self.rng.next_u64().to_be_bytes());
        }
        bytes
    }

    fn did(&mut self, vice: Vice) {
        self.counts.push(vice.name());
    }

    // The tracker.

    fn call(&mut self, what: Call, request: Request) {
        let call = CallId(self.next_call);
        self.next_call += 1;
        self.calls.insert(call, what);
        self.effects.push(Effect::Call(call, request, self.token.clone()));
    }

    /// Whether it says that it has the share.
    fn is_seeder(&self) -> bool {
        self.config.vices.iter().any(|vice| Vice::SEEDERS.contains(vice))
    }

    fn register(&mut self) {
        if self.token.is_some() && self.is_seeder() {
            let request = Request::Register {
                me: self.me,
                addresses: vec![self.config.address],
                suites: vec![Suite::ChaChaPoly],
                relay: true,
            };
            self.call(Call::Register, request);
        }
    }

    fn announce(&mut self, now: Instant) {
        let locator = self.content.descriptor.locator(self.content.secret.as_ref());
        let request = Request::Announce { me: self.me, locator, public: None, seeder: true };
        self.call(Call::Announce, request);
        self.later(now + ANNOUNCE_INTERVAL, Todo::Announce);
    }

    /// What the tracker would say of its other keys, if it logged in with each.
    #[must_use]
    pub fn sybils(config: &Config) -> Vec<PeerEntry> {
        let others = config.peers().into_iter().skip(1);
        let entry = |peer| PeerEntry {
            instance: Instance { peer, number: config.number },
            addresses: vec![config.address],
            suites: vec![Suite::ChaChaPoly],
            relay: false,
            seeder: true,
        };
        others.map(entry).collect()
    }

    // Links.

    /// The next vice whose turn it is, of those that fit.
    fn next_vice(&mut self, seeding: bool) -> Option<Vice> {
        for _ in 0..self.config.vices.len() {
            let vice = self.config.vices[self.next_vice % self.config.vices.len()];
            self.next_vice += 1;
            if Vice::SEEDERS.contains(&vice) == seeding {
                return Some(vice);
            }
        }
        None
    }

    fn add(&mut self, vice: Vice, line: Line, carrier: Carrier, called: Option<PeerId>) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let link = Link {
            vice,
            line,
            carrier,
            called,
            acted: false,
            reads: true,
            handle: 0,
            answered: 0,
            asked: Vec::new(),
            slow: Vec::new(),
            served: false,
        };
        self.links.insert(id, link);
        id
    }

    /// Somebody calls.
    fn add_called(&mut self, carrier: Carrier) -> LinkId {
        let vice = self.next_vice(true).unwrap_or(Vice::Silent);
        let line = Line::listen(self.config.secret_keys.clone(), self.random());
        self.add(vice, line, carrier, None)
    }

    fn received(&mut self, now: Instant, id: LinkId, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (answer, heard) = link.line.receive(bytes);
        let (reads, is_tcp) = (link.reads, matches!(link.carrier, Carrier::Tcp));
        self.write(now, id, answer);
        if reads && is_tcp {
            self.effects.push(Effect::Read(id, READ_BYTES));
        }
        for heard in heard {
            let Some(link) = self.links.get(&id) else { return };
            match (heard, link.called.is_some()) {
                (Heard::Open, false) => self.greet(now, id),
                (Heard::Open, true) => self.act(now, id),
                (Heard::Frame(frame_type, body), false) => {
                    self.asked(now, id, frame_type, &body);
                }
                (Heard::Frame(frame_type, body), true) => {
                    self.answered(now, id, frame_type, &body);
                }
            }
        }
    }
}

/// What an adversary reads at once.
const READ_BYTES: usize = 64 * 1024;
