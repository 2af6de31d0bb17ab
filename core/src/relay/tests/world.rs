//! One hub, some clients, and a pipe with a rate, a delay and a socket buffer in each direction
//! between them. One clock, one seed. After every input the hub's books and both sides' queues are
//! checked.

mod sides;
mod wires;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use bytes::{Bytes, BytesMut};

use self::wires::Pipe;
use crate::close::CloseReason;
use crate::crypto::public_key;
use crate::id::{Instance, LinkId, PeerId};
use crate::limits::{MAX_RELAY_CONTROL_BYTES, RELAY_BACKLOG_BYTES, RELAY_CONTROL_BACKLOG_BYTES};
use crate::output::Output;
use crate::path::DialError;
use crate::relay::client::{self, Client};
use crate::relay::hub::{self, ConnId, Hub};
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};

pub(super) const KIB: usize = 1024;
pub(super) const MIB: usize = 1024 * 1024;
pub(super) const HOST: &str = "relay.example:8443";

/// Most that a driver may have of one socket's messages: the goodbye comes on top of the backlog.
const MOST_UNCONFIRMED: usize =
    RELAY_BACKLOG_BYTES + RELAY_CONTROL_BACKLOG_BYTES + 3 * MAX_RELAY_CONTROL_BYTES;

/// How the application behind a link takes its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taking {
    AtOnce,
    Never,
}

/// One end of a circuit.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) opened: bool,
    pub(super) ended: Option<CloseReason>,
    pub(super) open_failed: Option<DialError>,
    pub(super) allowed_bytes: usize,
    pub(super) to_send_bytes: usize,
    pub(super) sent_bytes: usize,
    pub(super) received_bytes: usize,
    pub(super) unconsumed_bytes: usize,
    pub(super) first_bytes: Vec<u8>,
    pub(super) close_when_sent: bool,
}

pub(super) struct Peer {
    pub(super) me: Instance,
    pub(super) ip: IpAddr,
    pub(super) client: Client,
    pub(super) up: Pipe,
    pub(super) down: Pipe,
    pub(super) conn: Option<ConnId>,
    pub(super) reachable: bool,
    pub(super) accepts: bool,
    pub(super) answers: bool,
    pub(super) taking: Taking,
    pub(super) ends: BTreeMap<LinkId, End>,
    pub(super) tokens: Vec<String>,
    pub(super) logged_out: Vec<String>,
    pub(super) connects: Vec<Instant>,
    timeout: Instant,
}

/// Something that happens at a moment.
#[derive(Debug)]
enum What {
    Connected(usize, ConnId),
    Refused(usize),
    ToHub(ConnId, Bytes),
    ToClient(usize, ConnId, Bytes),
    LeftClient(usize, ConnId),
    LeftHub(usize, ConnId),
    ClosedByHub(usize, ConnId),
    ClosedByClient(ConnId),
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) rng: Rng,
    pub(super) hub: Hub,
    pub(super) peers: Vec<Peer>,
    pub(super) hub_events: Vec<hub::Event>,
    pub(super) closed: Vec<(ConnId, CloseReason)>,
    /// What a hostile connection got.
    pub(super) raw: BTreeMap<ConnId, Vec<Bytes>>,
    /// Whether the hub's books are added up after every input.
    pub(super) audited: bool,
    /// Everything that was sent, hashed into one number, to compare runs.
    pub(super) trace: u64,
    by_conn: BTreeMap<ConnId, usize>,
    events: BTreeMap<(Instant, u64), What>,
    inbox: VecDeque<(usize, client::Input)>,
    hub_timeout: Instant,
    next: u64,
    pattern: Bytes,
}

pub(super) fn hub_config(budget_bytes: usize) -> hub::Config {
    hub::Config {
        secret_key: [77; 32],
        token_key: [78; 32],
        buffer_budget_bytes: budget_bytes,
        max_connections_per_ip: 100,
        max_connections: 1_000,
    }
}

impl World {
    pub(super) fn new(seed: u8, budget_bytes: usize) -> Self {
        let mut rng = Rng::new([seed; 32]);
        let hub = Hub::new(Instant::ZERO, rng.fork("hub", 0), hub_config(budget_bytes));
        let mut pattern = BytesMut::new();
        for i in 0_u32..262_139 {
            pattern.extend_from_slice(&i.wrapping_mul(2_654_435_761).to_be_bytes());
        }
        Self {
            now: Instant::ZERO,
            rng,
            hub,
            peers: vec![],
            hub_events: vec![],
            closed: vec![],
            raw: BTreeMap::new(),
            audited: true,
            trace: 0,
            by_conn: BTreeMap::new(),
            events: BTreeMap::new(),
            inbox: VecDeque::new(),
            hub_timeout: Instant::NEVER,
            next: 1,
            pattern: pattern.freeze(),
        }
    }

    /// A peer whose two pipes have this rate and delay; wanted, and so on its way to the hub.
    pub(super) fn peer(&mut self, bytes_per_second: u64, delay: Duration) -> usize {
        let index = self.peers.len();
        let secret_key = [index as u8 + 1; 32];
        self.peer_with_key(bytes_per_second, delay, secret_key, 1_000 + index as u64)
    }

    pub(super) fn peer_with_key(
        &mut self,
        bytes_per_second: u64,
        delay: Duration,
        secret_key: [u8; 32],
        number: u64,
    ) -> usize {
        let index = self.peers.len();
        let me = Instance { peer: public_key(&secret_key), number };
        let config = client::Config { me, secret_key, host: String::from(HOST) };
        let client = Client::new(self.now, self.rng.fork("client", index as u64), config);
        self.peers.push(Peer {
            me,
            ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, index as u8)),
            client,
            up: Pipe::new(bytes_per_second, delay),
            down: Pipe::new(bytes_per_second, delay),
            conn: None,
            reachable: true,
            accepts: true,
            answers: true,
            taking: Taking::AtOnce,
            ends: BTreeMap::new(),
            tokens: vec![],
            logged_out: vec![],
            connects: vec![],
            timeout: Instant::NEVER,
        });
        self.tell_client(index, client::Input::Want(true));
        index
    }

    /// Two peers on fast and short paths that are logged in.
    pub(super) fn pair(seed: u8) -> (Self, usize, usize) {
        let mut world = Self::new(seed, 64 * MIB);
        let a = world.peer(100_000_000, Duration::from_millis(5));
        let b = world.peer(100_000_000, Duration::from_millis(5));
        world.run(Duration::from_secs(1));
        assert!(world.peers[a].client.is_online() && world.peers[b].client.is_online());
        (world, a, b)
    }

    /// A circuit from `a` to `b`; both links, once it is open.
    pub(super) fn circuit(&mut self, a: usize, b: usize) -> (LinkId, LinkId) {
        let link = self.open(a, b);
        let before: Vec<LinkId> = self.peers[b].ends.keys().copied().collect();
        self.run_until(|world| world.peers[a].ends[&link].opened);
        let other = self.peers[b].ends.keys().find(|link| !before.contains(link));
        (link, *other.expect("the called peer knows it first"))
    }

    pub(super) fn open(&mut self, a: usize, b: usize) -> LinkId {
        let to = self.peers[b].me;
        self.open_to(a, to)
    }

    pub(super) fn open_to(&mut self, a: usize, to: Instance) -> LinkId {
        let link = LinkId(self.number());
        self.peers[a].ends.insert(link, End::default());
        self.tell_client(a, client::Input::Open { link, to });
        link
    }

    /// The application behind a link has more to send.
    pub(super) fn send(&mut self, peer: usize, link: LinkId, bytes: usize) {
        self.end(peer, link).to_send_bytes += bytes;
        self.offer(peer, link);
    }

    pub(super) fn close(&mut self, peer: usize, link: LinkId) {
        self.tell_client(peer, client::Input::Close { link });
    }

    pub(super) fn end(&mut self, peer: usize, link: LinkId) -> &mut End {
        self.peers[peer].ends.get_mut(&link).expect("a link of this peer")
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.next_at() <= end {
            self.step();
        }
        self.now = end;
    }

    /// Runs until something is so, at most for ten minutes of virtual time.
    pub(super) fn run_until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        let deadline = self.now + Duration::from_secs(600);
        while !done(self) {
            assert!(self.next_at() < deadline, "it does not happen");
            self.step();
        }
    }

    fn next_at(&self) -> Instant {
        let events = self.events.first_key_value().map_or(Instant::NEVER, |((at, _), _)| *at);
        let clients = self.peers.iter().map(|peer| peer.timeout).min();
        events.min(self.hub_timeout).min(clients.unwrap_or(Instant::NEVER))
    }

    fn step(&mut self) {
        let at = self.next_at();
        assert!(at < Instant::NEVER, "nothing will ever happen");
        self.now = self.now.max(at);
        if self.events.first_key_value().is_some_and(|((first, _), _)| *first <= at) {
            let (_, what) = self.events.pop_first().expect("there is one");
            return self.happen(what);
        }
        if self.hub_timeout <= at {
            self.tell_hub(hub::Input::Tick);
            assert!(self.hub_timeout > self.now, "the hub spins");
            return;
        }
        if let Some(index) = self.peers.iter().position(|peer| peer.timeout <= at) {
            self.tell_client(index, client::Input::Tick);
            assert!(self.peers[index].timeout > self.now, "the client spins");
        }
    }

    fn at(&mut self, at: Instant, what: What) {
        let number = self.number();
        self.events.insert((at, number), what);
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Connected(index, conn) => self.connected(index, conn),
            What::Refused(index) => {
                let why = String::from("connection refused");
                self.tell_client(index, client::Input::Disconnected(why));
            }
            What::ToHub(conn, bytes) => {
                self.tell_hub(hub::Input::Message { conn, bytes: BytesMut::from(&bytes[..]) });
            }
            What::ToClient(index, conn, bytes) => {
                if self.peers[index].conn == Some(conn) {
                    let bytes = BytesMut::from(&bytes[..]);
                    self.tell_client(index, client::Input::Message(bytes));
                }
            }
            What::LeftClient(index, conn) => {
                if self.peers[index].conn == Some(conn) {
                    self.left(index, true);
                }
            }
            What::LeftHub(index, conn) => {
                if self.peers[index].conn == Some(conn) {
                    self.left(index, false);
                }
            }
            What::ClosedByHub(index, conn) => {
                if self.peers[index].conn == Some(conn) {
                    self.unplug_silently(index);
                    let why = String::from("the server closed the connection");
                    self.tell_client(index, client::Input::Disconnected(why));
                }
            }
            What::ClosedByClient(conn) => self.tell_hub(hub::Input::Disconnected(conn)),
        }
    }

    fn note(&mut self, bytes: &[u8]) {
        for chunk in [bytes.len() as u64, u64::from(bytes[0]), u64::from(bytes[bytes.len() - 1])] {
            self.trace = (self.trace ^ chunk).wrapping_mul(0x0000_0100_0000_01B3);
        }
        self.trace ^= self.now.as_nanos();
    }

    pub(super) fn stranger(&self, byte: u8) -> Instance {
        Instance { peer: PeerId([byte; 32]), number: 1 }
    }
}

impl core::fmt::Debug for World {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&format!("World at {:?}: {:?}", self.now, self.hub))
    }
}
