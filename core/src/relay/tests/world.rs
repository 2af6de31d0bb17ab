//! One hub, some clients, and a pipe with a rate, a delay and a socket buffer in each direction
//! between them. One clock, one seed. After every input the hub's books and both sides' queues are
//! checked.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use bytes::{Bytes, BytesMut};

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

/// One direction of a WebSocket.
#[derive(Debug, Clone)]
pub(super) struct Pipe {
    pub(super) bytes_per_second: u64,
    pub(super) delay: Duration,
    pub(super) buffer_bytes: usize,
    /// Nothing leaves the socket.
    pub(super) paused: bool,
    /// What the driver has and the socket has not.
    waiting: VecDeque<Bytes>,
    /// What the socket has.
    socket: VecDeque<Bytes>,
    busy: bool,
}

impl Pipe {
    pub(super) fn new(bytes_per_second: u64, delay: Duration) -> Self {
        Self {
            bytes_per_second,
            delay,
            buffer_bytes: 4 * MIB,
            paused: false,
            waiting: VecDeque::new(),
            socket: VecDeque::new(),
            busy: false,
        }
    }

    fn clear(&mut self) {
        self.waiting.clear();
        self.socket.clear();
        self.busy = false;
    }
}

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

    fn connected(&mut self, index: usize, conn: ConnId) {
        let ephemeral = [self.number() as u8; 32];
        let peer = &mut self.peers[index];
        peer.conn = Some(conn);
        let ip = peer.ip;
        self.by_conn.insert(conn, index);
        self.tell_hub(hub::Input::Connected {
            conn,
            ip,
            host: String::from(HOST),
            ephemeral,
            unix_time: UnixTime(1_800_000_000 + self.now.since(Instant::ZERO).as_secs() as i64),
        });
        self.tell_client(index, client::Input::Connected { ephemeral: [ephemeral[0] ^ 255; 32] });
    }

    /// A connection of nobody, for hostile bytes.
    pub(super) fn raw_connection(&mut self, ip: IpAddr) -> ConnId {
        let conn = ConnId(self.number());
        self.raw.insert(conn, vec![]);
        self.tell_hub(hub::Input::Connected {
            conn,
            ip,
            host: String::from(HOST),
            ephemeral: [conn.0 as u8; 32],
            unix_time: UnixTime(1_800_000_000),
        });
        conn
    }

    pub(super) fn raw_message(&mut self, conn: ConnId, bytes: &[u8]) {
        self.tell_hub(hub::Input::Message { conn, bytes: BytesMut::from(bytes) });
    }

    pub(super) fn why_closed(&self, conn: ConnId) -> Option<&CloseReason> {
        self.closed.iter().find(|(closed, _)| *closed == conn).map(|(_, reason)| reason)
    }

    /// The cable is pulled: both sides learn it at once.
    pub(super) fn unplug(&mut self, index: usize) {
        let Some(conn) = self.peers[index].conn else { return };
        self.unplug_silently(index);
        self.tell_hub(hub::Input::Disconnected(conn));
        let why = String::from("the cable was pulled");
        self.tell_client(index, client::Input::Disconnected(why));
    }

    fn unplug_silently(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        peer.up.clear();
        peer.down.clear();
        if let Some(conn) = peer.conn.take() {
            self.by_conn.remove(&conn);
        }
    }

    pub(super) fn pause(&mut self, index: usize, paused: bool) {
        self.peers[index].down.paused = paused;
        if !paused {
            self.depart(index, false);
        }
    }

    /// A message has left the socket.
    fn left(&mut self, index: usize, up: bool) {
        let now = self.now;
        let peer = &mut self.peers[index];
        let pipe = if up { &mut peer.up } else { &mut peer.down };
        pipe.busy = false;
        let Some(message) = pipe.socket.pop_front() else { return self.depart(index, up) };
        let (Some(conn), at) = (peer.conn, now + pipe.delay) else { return };
        let what =
            if up { What::ToHub(conn, message) } else { What::ToClient(index, conn, message) };
        self.at(at, what);
        self.admit(index, up);
        self.depart(index, up);
    }

    /// The next message begins to leave the socket.
    fn depart(&mut self, index: usize, up: bool) {
        let now = self.now;
        let peer = &mut self.peers[index];
        let pipe = if up { &mut peer.up } else { &mut peer.down };
        if pipe.busy || pipe.paused {
            return;
        }
        let (Some(front), Some(conn)) = (pipe.socket.front(), peer.conn) else { return };
        pipe.busy = true;
        // 14 bytes of WebSocket framing.
        let nanos = (front.len() as u64 + 14) * 1_000_000_000 / pipe.bytes_per_second;
        let at = now + Duration::from_nanos(nanos);
        let what = if up { What::LeftClient(index, conn) } else { What::LeftHub(index, conn) };
        self.at(at, what);
    }

    /// The socket takes what it has room for, and says so, in pieces of any size.
    fn admit(&mut self, index: usize, up: bool) {
        let mut taken = vec![];
        let peer = &mut self.peers[index];
        let pipe = if up { &mut peer.up } else { &mut peer.down };
        let mut held: usize = pipe.socket.iter().map(Bytes::len).sum();
        while let Some(front) = pipe.waiting.front() {
            if held > 0 && held + front.len() > pipe.buffer_bytes {
                break;
            }
            held += front.len();
            let message = pipe.waiting.pop_front().expect("there is a front");
            taken.push(message.len());
            pipe.socket.push_back(message);
        }
        let conn = peer.conn;
        self.depart(index, up);
        for mut bytes in taken {
            while bytes > 0 {
                let part = 1 + self.rng.below(bytes as u64) as usize;
                let part = if part > bytes / 2 { bytes } else { part };
                bytes -= part;
                match conn {
                    Some(_) if up => self.tell_client(index, client::Input::Sent { bytes: part }),
                    Some(conn) => self.tell_hub(hub::Input::Sent { conn, bytes: part }),
                    None => {}
                }
            }
        }
    }

    pub(super) fn tell_hub(&mut self, input: hub::Input) {
        let now = self.now;
        self.hub.handle_input(now, input);
        let mut touched = vec![];
        loop {
            match self.hub.poll_output() {
                Output::Timeout(at) => {
                    self.hub_timeout = at;
                    break;
                }
                Output::Event(event) => self.hub_events.push(event),
                Output::Transmit(hub::Transmit::Send { conn, message }) => {
                    self.note(&message);
                    if let Some(raw) = self.raw.get_mut(&conn) {
                        raw.push(message);
                    } else if let Some(&index) = self.by_conn.get(&conn) {
                        self.peers[index].down.waiting.push_back(message);
                        touched.push(index);
                    }
                }
                Output::Transmit(hub::Transmit::Close { conn, reason }) => {
                    self.closed.push((conn, reason));
                    if let Some(&index) = self.by_conn.get(&conn)
                        && !self.peers[index].down.paused
                    {
                        // Behind the goodbye.
                        let pipe = &self.peers[index].down;
                        let at = self.now + pipe.delay * 2 + Duration::from_millis(50);
                        self.at(at, What::ClosedByHub(index, conn));
                    }
                }
            }
        }
        if self.audited {
            self.hub.assert_sound();
        }
        for index in touched {
            let waiting: usize = self.peers[index].down.waiting.iter().map(Bytes::len).sum();
            assert!(waiting <= MOST_UNCONFIRMED, "{waiting} bytes wait for a client");
            self.admit(index, false);
        }
    }

    /// Inputs that an output leads to wait until all outputs before are carried out, as in a
    /// driver.
    pub(super) fn tell_client(&mut self, index: usize, input: client::Input) {
        self.inbox.push_back((index, input));
        if self.inbox.len() > 1 {
            return;
        }
        while let Some((index, _)) = self.inbox.front() {
            let index = *index;
            let tick = client::Input::Tick;
            let (_, front) = self.inbox.front_mut().expect("it was there just now");
            let input = core::mem::replace(front, tick);
            self.feed(index, input);
            self.inbox.pop_front();
        }
    }

    fn feed(&mut self, index: usize, input: client::Input) {
        let now = self.now;
        self.peers[index].client.handle_input(now, input);
        let mut outputs = vec![];
        loop {
            match self.peers[index].client.poll_output() {
                Output::Timeout(at) => {
                    self.peers[index].timeout = at;
                    break;
                }
                output => outputs.push(output),
            }
        }
        for output in outputs {
            match output {
                Output::Timeout(_) => unreachable!("it ended the drain"),
                Output::Event(event) => self.client_event(index, event),
                Output::Transmit(transmit) => self.client_transmit(index, transmit),
            }
        }
    }

    fn client_event(&mut self, index: usize, event: client::Event) {
        let peer = &mut self.peers[index];
        match event {
            client::Event::LoggedIn { token } => peer.tokens.push(token),
            client::Event::LoggedOut(why) => peer.logged_out.push(why),
            client::Event::OpenFailed { link, error } => {
                let end = peer.ends.get_mut(&link).expect("a link that was opened");
                assert!(end.open_failed.replace(error).is_none() && !end.opened);
            }
            client::Event::Incoming { incoming, from: _ } => {
                if !peer.answers {
                    return;
                }
                if !peer.accepts {
                    return self.tell_client(index, client::Input::Refuse { incoming });
                }
                let link = LinkId(self.number());
                self.peers[index].ends.insert(link, End::default());
                self.tell_client(index, client::Input::Accept { incoming, link });
            }
        }
    }

    fn client_transmit(&mut self, index: usize, transmit: client::Transmit) {
        match transmit {
            client::Transmit::Connect => {
                let conn = ConnId(self.number());
                self.peers[index].connects.push(self.now);
                let at = self.now + self.peers[index].up.delay * 2;
                let up = self.peers[index].reachable;
                self.at(at, if up { What::Connected(index, conn) } else { What::Refused(index) });
            }
            client::Transmit::Disconnect => {
                if let Some(conn) = self.peers[index].conn {
                    // What the socket has taken still arrives.
                    let taken = core::mem::take(&mut self.peers[index].up.socket);
                    self.unplug_silently(index);
                    let pipe = &self.peers[index].up;
                    if !pipe.paused {
                        let at = self.now + pipe.delay;
                        for message in taken {
                            self.at(at, What::ToHub(conn, message));
                        }
                        self.at(at, What::ClosedByClient(conn));
                    }
                }
            }
            client::Transmit::Send { message } => {
                self.note(&message);
                let pipe = &mut self.peers[index].up;
                pipe.waiting.push_back(message);
                let waiting: usize = pipe.waiting.iter().map(Bytes::len).sum();
                assert!(waiting <= MOST_UNCONFIRMED, "{waiting} bytes wait for the hub");
                self.admit(index, true);
            }
            client::Transmit::Opened { link } => {
                let end = self.end(index, link);
                assert!(!end.opened);
                end.opened = true;
            }
            client::Transmit::Ended { link, reason } => {
                if let Some(end) = self.peers[index].ends.get_mut(&link) {
                    assert!(end.ended.replace(reason).is_none());
                }
            }
            client::Transmit::Writable { link, bytes } => {
                let end = self.end(index, link);
                assert!(end.opened && end.ended.is_none() && bytes > 0);
                end.allowed_bytes += bytes;
                self.offer(index, link);
            }
            client::Transmit::Deliver { link, bytes } => self.deliver(index, link, &bytes),
        }
    }

    /// The application hands in what it may, in pieces of any size. The first eight bytes of a
    /// stream name its link, the others depend on it.
    fn offer(&mut self, index: usize, link: LinkId) {
        loop {
            let most = 1 + self.rng.below(300 * KIB as u64) as usize;
            let pattern = self.pattern.clone();
            let end = self.end(index, link);
            let most = most.min(end.allowed_bytes).min(end.to_send_bytes);
            if most == 0 {
                break;
            }
            let bytes = if end.sent_bytes < 8 {
                let name = link.0.to_be_bytes();
                let from = end.sent_bytes;
                Bytes::copy_from_slice(&name[from..(from + most).min(8)])
            } else {
                let from =
                    (end.sent_bytes + link.0 as usize * 7_919 % pattern.len()) % pattern.len();
                pattern.slice(from..(from + most).min(pattern.len()))
            };
            end.allowed_bytes -= bytes.len();
            end.to_send_bytes -= bytes.len();
            end.sent_bytes += bytes.len();
            self.tell_client(index, client::Input::Data { link, bytes });
        }
        let end = self.end(index, link);
        if end.to_send_bytes == 0 && core::mem::take(&mut end.close_when_sent) {
            self.close(index, link);
        }
    }

    fn deliver(&mut self, index: usize, link: LinkId, bytes: &[u8]) {
        let pattern = self.pattern.clone();
        let taking = self.peers[index].taking;
        let next = self.next;
        let end = self.end(index, link);
        assert!(end.opened && end.ended.is_none());
        let mut rest = bytes;
        while !rest.is_empty() {
            let missing = 8_usize.saturating_sub(end.first_bytes.len());
            let part = if missing > 0 {
                let part = missing.min(rest.len());
                end.first_bytes.extend_from_slice(&rest[..part]);
                part
            } else {
                let sender = u64::from_be_bytes(end.first_bytes[..].try_into().unwrap());
                let offset = (sender as usize).wrapping_mul(7_919) % pattern.len();
                let from = (end.received_bytes + offset) % pattern.len();
                let part = rest.len().min(pattern.len() - from);
                let same = rest[..part] == pattern[from..from + part];
                assert!(same || sender > next, "other bytes than were sent");
                part
            };
            end.received_bytes += part;
            rest = &rest[part..];
        }
        end.unconsumed_bytes += bytes.len();
        if taking == Taking::AtOnce {
            self.consume(index, link);
        }
    }

    /// The application takes what has come, in two pieces.
    pub(super) fn consume(&mut self, index: usize, link: LinkId) {
        let bytes = core::mem::take(&mut self.end(index, link).unconsumed_bytes);
        let first = self.rng.below(bytes as u64 + 1) as usize;
        self.tell_client(index, client::Input::Consumed { link, bytes: first });
        self.tell_client(index, client::Input::Consumed { link, bytes: bytes - first });
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
