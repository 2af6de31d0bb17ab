//! The relay: WebSockets between hosts and the real hub.
//!
//! Each end learns of what the other did after the latency between them; a WebSocket that the hub
//! closes is read to its end by the host. What one end has said is its last word to its machine:
//! the other end's later news of the same WebSocket are kept from it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::Bytes;
use towpath_core::close::{Awaited, CloseReason};
use towpath_core::limits::{
    MAX_RELAY_PAYLOAD_BYTES, RELAY_BACKLOG_BYTES, RELAY_CONTROL_BACKLOG_BYTES,
};
use towpath_core::output::Output;
use towpath_core::relay::client;
use towpath_core::relay::hub::{self, ConnId, Hub};
use towpath_core::rng::Rng;
use towpath_core::time::Instant;

use super::clocks::earlier;
use super::wires::{Lane, Place};
use super::{Happening as Any, World};
use crate::adversary::relay::HostileRelay;
use crate::peer::Work;
use crate::pipe::Pipe;

/// What may wait at a host for its WebSocket: the client's own limit, and some control frames.
const MAX_WAITING_BYTES: usize = RELAY_BACKLOG_BYTES + (64 << 10);

/// What may wait at the hub for a host's WebSocket.
const MAX_HUB_WAITING_BYTES: usize =
    RELAY_BACKLOG_BYTES + RELAY_CONTROL_BACKLOG_BYTES + MAX_RELAY_PAYLOAD_BYTES;

/// How often an end of a WebSocket looks whether it can be told of.
const RETRY: Duration = Duration::from_millis(20);
/// A cut that looks for a message that is half-way looks so often, and so many times.
const CUT_STEP: Duration = Duration::from_millis(2);
pub(super) const CUT_PATIENCE: u16 = 500;

#[derive(Debug)]
pub(super) enum Happening {
    /// A host's WebSocket reaches the hub.
    Connect(ConnId),
    /// The host learns that it is open.
    Opened(ConnId),
    /// A message may be read by the hub (`true`) or by the host.
    Arrive(ConnId, bool),
    /// So many bytes have left the host (`true`) or the hub.
    Left(ConnId, bool, usize),
    /// The host learns that its WebSocket is closed, or that there is none.
    Closed(usize, u32, ConnId, &'static str),
    /// The hub learns that the host has closed it.
    Gone(ConnId),
    /// It obeys nobody from now on, or is the real one again.
    Hostile(bool),
    /// The hub wants to be ticked.
    Tick(u32),
    /// All WebSockets break: when a message is half-way, or after so many looks.
    CutAll(u16),
    /// All WebSockets carry a wrong bit.
    DamageAll,
}

#[derive(Debug)]
struct Socket {
    host: usize,
    epoch: u32,
    to_hub: Pipe,
    to_host: Pipe,
    /// Whether the hub has it.
    at_hub: bool,
    /// The host has vanished without a word: nothing passes any more.
    dead: bool,
}

/// The hub and its sockets.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) token_key: [u8; 32],
    secret_key: [u8; 32],
    hub: Option<Hub>,
    hostile: Option<Box<HostileRelay>>,
    /// Whether it ever obeyed nobody.
    pub(super) was_hostile: bool,
    epoch: u32,
    /// When the hub wants to be ticked, on the world's clock.
    deadline: Instant,
    /// How far its clock is ahead of the world's.
    ahead: Duration,
    sockets: BTreeMap<ConnId, Socket>,
    /// The WebSocket that a host has or opens, as the host knows it.
    by_host: BTreeMap<usize, ConnId>,
    next: u64,
    /// The hub says that a client broke this rule.
    accused: Option<&'static str>,
    /// The most bytes that ever waited at the hub for one host.
    most_waiting: usize,
    keys: Rng,
}

impl Relay {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let mut keys = rng.fork("relay", 0);
        Self {
            token_key: random(&mut keys),
            secret_key: random(&mut keys),
            hub: None,
            hostile: None,
            was_hostile: false,
            epoch: 0,
            deadline: Instant::NEVER,
            ahead: Duration::ZERO,
            sockets: BTreeMap::new(),
            by_host: BTreeMap::new(),
            next: 0,
            accused: None,
            most_waiting: 0,
            keys,
        }
    }
}

fn random(rng: &mut Rng) -> [u8; 32] {
    let mut bytes = [0; 32];
    for part in bytes.chunks_mut(8) {
        part.copy_from_slice(&rng.next_u64().to_be_bytes());
    }
    bytes
}

impl World {
    pub(super) fn start_hub(&mut self) {
        let relay = &mut self.relay;
        relay.epoch += 1;
        let config = hub::Config {
            secret_key: relay.secret_key,
            token_key: relay.token_key,
            buffer_budget_bytes: self.hub_budget_bytes,
            max_connections_per_ip: 1_000,
            max_connections: 1_000,
        };
        let rng = self.rng.fork_numbered("hub", u64::from(relay.epoch));
        relay.hub = Some(Hub::new(self.now + relay.ahead, rng, config));
        relay.deadline = Instant::NEVER;
        self.drain_hub();
    }

    pub(super) fn hub_clock_jumps(&mut self, by: Duration) {
        self.relay.ahead += by;
        if self.relay.hub.is_some() && self.relay.deadline < Instant::NEVER {
            self.relay.deadline = earlier(self.relay.deadline, by);
            self.plan(self.relay.deadline, Any::Relay(Happening::Tick(self.relay.epoch)));
        }
    }

    pub(super) fn stop_hub(&mut self) {
        self.relay.hub = None;
        self.relay.deadline = Instant::NEVER;
        for conn in self.all_sockets() {
            self.lose_socket(conn, "the tracker went away");
        }
    }

    pub(super) fn all_sockets(&self) -> Vec<ConnId> {
        self.relay.sockets.keys().copied().collect()
    }

    pub(super) fn relay_happens(&mut self, what: Happening) -> Result<(), String> {
        match what {
            Happening::Connect(conn) => self.socket_comes(conn),
            Happening::Opened(conn) => {
                let ephemeral = random(&mut self.relay.keys);
                if let Some((host, epoch)) = self.owner(conn) {
                    let connected = client::Input::Connected { ephemeral };
                    return self.input(host, epoch, Work::Client(connected));
                }
            }
            Happening::Arrive(conn, at_hub) => return self.message_arrives(conn, at_hub),
            Happening::Left(conn, false, bytes) => {
                if self.relay.sockets.get(&conn).is_some_and(|socket| socket.at_hub) {
                    self.hub_input(hub::Input::Sent { conn, bytes });
                }
            }
            Happening::Left(conn, true, bytes) => {
                if let Some((host, epoch)) = self.owner(conn) {
                    let sent = client::Input::Sent { bytes };
                    return self.input(host, epoch, Work::Client(sent));
                }
            }
            Happening::Closed(host, epoch, conn, why) => {
                let parted = self.walls.stand_between(Place::Hub, Place::Host(host));
                let lane = self.socket_lane(conn, false);
                if parted || lane.is_some_and(|to_host| !to_host.is_read()) {
                    // What the hub said before is read first.
                    let later = self.now + RETRY;
                    let closed = Happening::Closed(host, epoch, conn, why);
                    self.plan(later, Any::Relay(closed));
                } else if self.relay.by_host.get(&host) == Some(&conn) {
                    self.relay.by_host.remove(&host);
                    self.remove_socket(conn);
                    let closed = client::Input::Disconnected(why.into());
                    return self.input(host, epoch, Work::Client(closed));
                }
            }
            Happening::Gone(conn) => {
                let Some(host) = self.socket_host(conn) else { return Ok(()) };
                let parted = self.walls.stand_between(Place::Host(host), Place::Hub);
                let lane = self.socket_lane(conn, true);
                if parted || lane.is_some_and(|to_hub| !to_hub.is_read()) {
                    // What the host said before is read first.
                    let later = self.now + RETRY;
                    self.plan(later, Any::Relay(Happening::Gone(conn)));
                } else if self.remove_socket(conn).is_some_and(|socket| socket.at_hub) {
                    self.hub_input(hub::Input::Disconnected(conn));
                }
            }
            Happening::Hostile(hostile) => self.become_hostile(hostile),
            Happening::Tick(epoch) => {
                let real = self.relay.hostile.is_none();
                if real && epoch == self.relay.epoch && self.relay.deadline <= self.now {
                    self.hub_input(hub::Input::Tick);
                    assert!(self.relay.deadline > self.now, "the hub would spin");
                }
            }
            Happening::CutAll(patience) => {
                let now = self.now;
                let half_way = |socket: &Socket| {
                    socket.to_hub.is_half_way(now) || socket.to_host.is_half_way(now)
                };
                if patience > 0 && !self.relay.sockets.values().any(half_way) {
                    let again = Happening::CutAll(patience - 1);
                    self.plan(now + CUT_STEP, Any::Relay(again));
                    return Ok(());
                }
                self.count("relay cut");
                for conn in self.all_sockets() {
                    let Some(socket) = self.relay.sockets.get_mut(&conn) else { continue };
                    let known = socket.at_hub;
                    let torn = [socket.to_hub.cut(now), socket.to_host.cut(now)];
                    if torn.contains(&true) {
                        self.count("message cut in two");
                    }
                    self.lose_socket(conn, "the connection was reset");
                    if known {
                        self.hub_input(hub::Input::Disconnected(conn));
                    }
                }
            }
            Happening::DamageAll => {
                for conn in self.all_sockets() {
                    self.damage(Lane::Socket(conn, true));
                    self.damage(Lane::Socket(conn, false));
                }
            }
        }
        Ok(())
    }

    /// Whose WebSocket it is, if it is still his.
    fn owner(&self, conn: ConnId) -> Option<(usize, u32)> {
        let socket = self.relay.sockets.get(&conn)?;
        let is_his = self.relay.by_host.get(&socket.host) == Some(&conn);
        is_his.then_some((socket.host, socket.epoch))
    }

    fn remove_socket(&mut self, conn: ConnId) -> Option<Socket> {
        let socket = self.relay.sockets.remove(&conn)?;
        self.lane_is_gone(Place::Hub);
        self.lane_is_gone(Place::Host(socket.host));
        Some(socket)
    }

    pub(super) fn connect_relay(&mut self, host: usize, epoch: u32) {
        let conn = ConnId(self.relay.next);
        self.relay.next += 1;
        let (to_hub, to_host) = (Pipe::default(), Pipe::default());
        let socket = Socket { host, epoch, to_hub, to_host, at_hub: false, dead: false };
        self.relay.sockets.insert(conn, socket);
        let before = self.relay.by_host.insert(host, conn);
        assert!(before.is_none(), "a relay client opened a second WebSocket");
        let there = self.now + self.latency(Place::Host(host));
        self.plan(there, Any::Relay(Happening::Connect(conn)));
    }

    fn socket_comes(&mut self, conn: ConnId) {
        let Some(socket) = self.relay.sockets.get_mut(&conn) else { return };
        if socket.dead {
            self.remove_socket(conn);
            return;
        }
        let place = Place::Host(socket.host);
        if self.hosts[socket.host].unplugged || self.walls.part(place, Place::Hub) {
            // Its first packets are sent again.
            let later = self.now + Duration::from_secs(1);
            return self.plan(later, Any::Relay(Happening::Connect(conn)));
        }
        if self.relay.hub.is_none() && self.relay.hostile.is_none() {
            return self.lose_socket(conn, "the tracker is down");
        }
        socket.at_hub = true;
        let host = socket.host;
        let back = self.now + self.latency(Place::Host(host));
        self.plan(back, Any::Relay(Happening::Opened(conn)));
        let low = u8::try_from(host).expect("few hosts");
        let input = hub::Input::Connected {
            conn,
            ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, low)),
            host: "relay.world".into(),
            ephemeral: random(&mut self.relay.keys),
            unix_time: self.wall_clock,
        };
        self.count("relay connection");
        self.hub_input(input);
    }

    pub(super) fn send_to_relay(&mut self, host: usize, message: Bytes) -> Result<(), String> {
        self.trace.bytes(&message);
        let Some(&conn) = self.relay.by_host.get(&host) else { return Ok(()) };
        let Some(socket) = self.relay.sockets.get_mut(&conn) else { return Ok(()) };
        socket.to_hub.put(message);
        let waiting = socket.to_hub.waiting_bytes();
        if waiting > MAX_WAITING_BYTES {
            return Err(format!("host {host}: {waiting} bytes wait for the relay"));
        }
        self.offer(Lane::Socket(conn, true));
        Ok(())
    }

    pub(super) fn socket_lane(&mut self, conn: ConnId, to_hub: bool) -> Option<&mut Pipe> {
        let socket = self.relay.sockets.get_mut(&conn).filter(|socket| !socket.dead)?;
        Some(if to_hub { &mut socket.to_hub } else { &mut socket.to_host })
    }

    pub(super) fn socket_host(&self, conn: ConnId) -> Option<usize> {
        self.relay.sockets.get(&conn).map(|socket| socket.host)
    }

    fn message_arrives(&mut self, conn: ConnId, at_hub: bool) -> Result<(), String> {
        let now = self.now;
        let Some(socket) = self.relay.sockets.get_mut(&conn).filter(|socket| !socket.dead) else {
            return Ok(());
        };
        let hub_has_it = socket.at_hub;
        let pipe = if at_hub { &mut socket.to_hub } else { &mut socket.to_host };
        let Some(bytes) = pipe.take_message(now) else { return Ok(()) };
        self.offer(Lane::Socket(conn, at_hub));
        if !at_hub {
            if let Some((host, epoch)) = self.owner(conn) {
                return self.input(host, epoch, Work::Client(client::Input::Message(bytes)));
            }
        } else if hub_has_it {
            self.hub_input(hub::Input::Message { conn, bytes });
        }
        self.check_hub()
    }

    /// The host closes its WebSocket, or its process is dead; the hub learns of it.
    pub(super) fn disconnect_relay(&mut self, host: usize) {
        if let Some(conn) = self.relay.by_host.remove(&host) {
            if self.relay.sockets.get(&conn).is_some_and(|socket| socket.dead) {
                return;
            }
            let later = self.now + self.latency(Place::Host(host));
            self.plan(later, Any::Relay(Happening::Gone(conn)));
        }
    }

    /// A machine vanishes from the network: the hub is not told. If it crashed, it has forgotten
    /// itself.
    pub(super) fn lose_host_at_hub(&mut self, host: usize, crashed: bool) {
        for socket in self.relay.sockets.values_mut().filter(|socket| socket.host == host) {
            socket.dead = crashed || socket.at_hub;
        }
        if crashed {
            self.relay.by_host.remove(&host);
        }
        self.lane_is_gone(Place::Host(host));
    }

    /// A WebSocket is over for the hub. The host reads what was sent to it, and learns of it.
    fn lose_socket(&mut self, conn: ConnId, why: &'static str) {
        let Some(socket) = self.relay.sockets.get_mut(&conn) else { return };
        socket.at_hub = false;
        if socket.dead {
            self.relay.sockets.remove(&conn);
            return;
        }
        let (host, epoch) = (socket.host, socket.epoch);
        let drained_at = socket.to_host.drained_at();
        let at = drained_at.max(self.now + self.latency(Place::Host(host)));
        self.plan(at, Any::Relay(Happening::Closed(host, epoch, conn, why)));
    }

    /// The relay obeys nobody from now on, or is the real one again: all connections are lost.
    fn become_hostile(&mut self, hostile: bool) {
        self.stop_hub();
        self.relay.hostile = None;
        if hostile {
            self.relay.was_hostile = true;
            let rng = self.rng.fork_numbered("hostile relay", self.numbers);
            let relay = HostileRelay::new(self.relay.secret_key, rng);
            self.relay.hostile = Some(Box::new(relay));
        } else if self.tracker_up {
            self.start_hub();
        }
    }

    fn drain_hostile(&mut self) {
        let Some(relay) = &mut self.relay.hostile else { return };
        let (out, counts) = (std::mem::take(&mut relay.out), std::mem::take(&mut relay.counts));
        for what in counts {
            self.count(what);
        }
        for (conn, message) in out {
            match message {
                Some(message) => {
                    self.trace.bytes(&message);
                    if let Some(socket) = self.relay.sockets.get_mut(&conn) {
                        socket.to_host.put(message);
                    }
                    self.offer(Lane::Socket(conn, false));
                }
                None => self.lose_socket(conn, "the relay closed the connection"),
            }
        }
    }

    fn hub_input(&mut self, input: hub::Input) {
        if let Some(relay) = &mut self.relay.hostile {
            relay.input(input);
            return self.drain_hostile();
        }
        if let Some(hub) = &mut self.relay.hub {
            hub.handle_input(self.now + self.relay.ahead, input);
            self.drain_hub();
        }
    }

    /// The hub says that a client broke a rule: an adversary, or there is a fault.
    fn hub_accuses(&mut self, conn: ConnId, rule: &'static str) {
        let host = self.socket_host(conn);
        if host.is_some_and(|host| self.hosts[host].adversary.is_some()) {
            self.count("adversary accused by the hub");
        } else {
            self.relay.accused = Some(rule);
        }
    }

    fn drain_hub(&mut self) {
        loop {
            let Some(hub) = &mut self.relay.hub else { return };
            match hub.poll_output() {
                Output::Timeout(at) => {
                    let at = earlier(at, self.relay.ahead);
                    if at != self.relay.deadline && at < Instant::NEVER {
                        self.plan(at, Any::Relay(Happening::Tick(self.relay.epoch)));
                    }
                    self.relay.deadline = at;
                    return;
                }
                Output::Event(_) => {}
                Output::Transmit(hub::Transmit::Send { conn, message }) => {
                    self.trace.bytes(&message);
                    if let Some(socket) = self.relay.sockets.get_mut(&conn) {
                        socket.to_host.put(message);
                        let waiting = socket.to_host.waiting_bytes();
                        self.relay.most_waiting = self.relay.most_waiting.max(waiting);
                    }
                    self.offer(Lane::Socket(conn, false));
                }
                Output::Transmit(hub::Transmit::Close { conn, reason }) => {
                    self.count("hub closed a connection");
                    match reason {
                        CloseReason::Misbehaved(rule) => self.hub_accuses(conn, rule.0),
                        CloseReason::Timeout(Awaited::Liveness) => self.hub_gives_up(conn),
                        CloseReason::Timeout(_)
                        | CloseReason::Local(_)
                        | CloseReason::Remote(_)
                        | CloseReason::Incompatible(_) => {}
                    }
                    self.lose_socket(conn, "the relay closed the connection");
                }
            }
        }
    }

    /// The hub has not heard of a host for long: it must have been away.
    fn hub_gives_up(&mut self, conn: ConnId) {
        if let Some(socket) = self.relay.sockets.get(&conn) {
            let host = &mut self.hosts[socket.host];
            host.given_up_by_hub += u64::from(!socket.dead && host.frozen.is_none());
        }
    }

    /// The hub keeps within its budget.
    fn check_hub(&self) -> Result<(), String> {
        let reserved = self.relay.hub.as_ref().map_or(0, |hub| hub.stats().reserved_bytes);
        if reserved > self.hub_budget_bytes {
            return Err(format!("the hub reserves {reserved} bytes"));
        }
        if self.relay.most_waiting > MAX_HUB_WAITING_BYTES {
            return Err(format!("{} bytes wait at the hub for a host", self.relay.most_waiting));
        }
        match self.relay.accused {
            Some(rule) if !self.damaged => {
                Err(format!("the hub says that a client broke the protocol: {rule}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// What must hold when nobody wants anything.
    pub(super) fn check_calm_hub(&self) -> Result<(), String> {
        let Some(hub) = &self.relay.hub else { return Ok(()) };
        let stats = hub.stats();
        let on = self.hosts.iter().filter(|host| host.is_on()).count();
        if stats.circuits > 0 || stats.reserved_bytes > 0 || stats.connections > on {
            return Err(format!("{on} hosts are on, and the hub has {stats:?}"));
        }
        Ok(())
    }
}
