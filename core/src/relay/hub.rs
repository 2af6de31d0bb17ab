//! The tracker's side of the relay: login, routing, credit, fairness, limits.
//!
//! # A connection
//! 1. `Connected` → the handshake and then `Login` are awaited, for a bounded time.
//! 2. `Login` → `Welcome` with a token. An older connection of the same instance ends.
//! 3. The client opens circuits (`Open`), or is called (`Incoming` → `Accept` or `Refuse`).
//! 4. A connection that breaks a rule, says nothing, or does not read, ends; its circuits end with
//!    it.
//!
//! # A circuit
//! It has two [`flow::Flow`]s. A data frame is looked up, checked against both windows, given the
//! receiver's circuit number in place and put into its flow's queue; the receiver's connection
//! hands frames to the driver, no more than [`RELAY_BACKLOG_BYTES`] at a time, control frames first
//! and flows in turns. `Sent` gives their bytes back to the budget, and the sender is granted more.
//!
//! The hub never stops reading a socket: whoever stays within the windows cannot make it hold more
//! than its budget, and whoever does not is thrown out. An input costs what it touches: idle
//! connections stand in maps and in one queue of deadlines, and nobody walks over them.

mod circuits;
mod connection;
mod flow;
mod forward;
mod login;
mod token;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use core::fmt;
use core::net::IpAddr;

use bytes::{Bytes, BytesMut};

use crate::close::{Awaited, CloseReason, LocalClose};
use crate::counters::Counters;
use crate::deadlines::Deadlines;
use crate::id::Instance;
use crate::limits::{MAX_RELAY_CONTROL_QUEUE, RELAY_LIVENESS_TIMEOUT, RELAY_PING_INTERVAL};
use crate::output::Output;
use crate::relay::frame::{CircuitEnd, Goodbye, Kind, ToClient, ToHub, kind};
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};

use connection::{Connection, Control, Phase, misbehaved};
use flow::{Flow, Ledger};

pub use token::check_token;

/// A WebSocket, as hub and driver know it; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

/// What a hub starts with.
pub struct Config {
    /// The relay's own X25519 secret key.
    pub secret_key: [u8; 32],
    /// Key of the tokens' HMAC.
    pub token_key: [u8; 32],
    /// All bytes that the hub may hold for slow receivers.
    pub buffer_budget_bytes: usize,
    /// Connections from one IP address; of IPv6 a /64 counts as one.
    pub max_connections_per_ip: usize,
    /// Connections in all.
    pub max_connections: usize,
}

/// What a hub takes.
#[derive(Debug)]
pub enum Input {
    /// The clock reached the deadline, or just passed.
    Tick,
    /// A WebSocket was opened; with 32 fresh random bytes for the ephemeral key.
    Connected {
        /// Which.
        conn: ConnId,
        /// From where (after a configured proxy's header).
        ip: IpAddr,
        /// The `Host` header: part of the handshake's prologue.
        host: String,
        /// From the driver, never used twice.
        ephemeral: [u8; 32],
        /// Wall-clock time, for the token's expiry.
        unix_time: UnixTime,
    },
    /// One binary message.
    Message {
        /// From whom.
        conn: ConnId,
        /// All of it.
        bytes: BytesMut,
    },
    /// So many payload bytes of `Send`s to it were taken by its socket.
    Sent {
        /// To whom.
        conn: ConnId,
        /// Bytes.
        bytes: usize,
    },
    /// Its socket is closed.
    Disconnected(ConnId),
    /// End everything with a word.
    Shutdown,
}

/// What a hub wants done.
#[derive(Debug)]
pub enum Transmit {
    /// Send one binary message, in order.
    Send {
        /// To whom.
        conn: ConnId,
        /// All of it. The hub forwards a data frame in the buffer in which it came.
        message: Bytes,
    },
    /// Close the socket once the `Send`s before are out; nothing more is said about it.
    Close {
        /// Whose.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
}

/// What a hub tells the tracker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// This instance is logged in.
    LoggedIn(ConnId, Instance),
    /// It is not any more.
    LoggedOut(ConnId, Instance),
    /// After `Shutdown`: all is said.
    Stopped,
}

/// Figures of a hub, for metrics and tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// WebSockets.
    pub connections: usize,
    /// Those that are logged in.
    pub online: usize,
    /// Circuits, those included whose call is not answered yet.
    pub circuits: usize,
    /// Bytes of the budget that are granted or held.
    pub reserved_bytes: usize,
    /// Payload bytes that were handed on so far.
    pub forwarded_bytes: u64,
}

/// The hub.
pub struct Hub {
    now: Instant,
    rng: Rng,
    config: Config,
    stopped: bool,
    connections: BTreeMap<ConnId, Connection>,
    by_instance: BTreeMap<Instance, ConnId>,
    by_network: BTreeMap<IpAddr, usize>,
    circuits: BTreeMap<CircuitKey, Circuit>,
    next_circuit: u64,
    ledger: Ledger,
    deadlines: Deadlines<Timer>,
    /// Connections that may have something to send.
    touched: BTreeSet<ConnId>,
    /// Connections that must end when the input is done.
    doomed: BTreeMap<ConnId, CloseReason>,
    outputs: VecDeque<Output<Transmit, Event>>,
    counters: Counters,
    forwarded_bytes: u64,
}

/// A circuit, as the hub knows it; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct CircuitKey(u64);

/// One of the two sides of a circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Caller = 0,
    Called = 1,
}

/// One direction of a circuit, by its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct FlowKey {
    circuit: CircuitKey,
    from: Side,
}

/// Two connections, and a flow from each to the other.
#[derive(Debug)]
struct Circuit {
    state: State,
    /// By side: the connection, and the circuit's number there.
    ends: [(ConnId, u32); 2],
    /// By sender.
    flows: [Flow; 2],
}

/// How far a circuit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The called peer has not answered yet.
    Calling,
    /// Both may send.
    Open,
    /// One side has closed; the other still gets what is queued, and then this reason.
    Closing(Side, CircuitEnd),
}

/// Why a deadline stands in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// When a connection must have logged in.
    Login(ConnId),
    /// When to see whether a connection is alive.
    Alive(ConnId),
    /// When a called peer must have answered.
    Call(CircuitKey),
    /// When to see whether a flow uses its window.
    Window(FlowKey),
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Called,
            Self::Called => Self::Caller,
        }
    }
}

impl Hub {
    /// A hub without connections.
    #[must_use]
    pub fn new(now: Instant, rng: Rng, config: Config) -> Self {
        Self {
            now,
            rng,
            stopped: false,
            connections: BTreeMap::new(),
            by_instance: BTreeMap::new(),
            by_network: BTreeMap::new(),
            circuits: BTreeMap::new(),
            next_circuit: 0,
            ledger: Ledger::new(config.buffer_budget_bytes),
            config,
            deadlines: Deadlines::default(),
            touched: BTreeSet::new(),
            doomed: BTreeMap::new(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            forwarded_bytes: 0,
        }
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        if self.stopped {
            return;
        }
        match input {
            Input::Tick => {}
            Input::Connected { conn, ip, host, ephemeral, unix_time } => {
                self.on_connected(conn, ip, &host, ephemeral, unix_time);
            }
            Input::Message { conn, bytes } => {
                if let Err(reason) = self.on_message(conn, bytes) {
                    self.close(conn, reason);
                }
            }
            Input::Sent { conn, bytes } => self.on_sent(conn, bytes),
            Input::Disconnected(conn) => self.forget(conn),
            Input::Shutdown => return self.shut_down(),
        }
        while let Some(timer) = self.deadlines.pop_due(self.now) {
            self.on_timer(timer);
        }
        self.settle();
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Output<Transmit, Event> {
        if let Some(output) = self.outputs.pop_front() {
            return output;
        }
        Output::Timeout(if self.stopped { Instant::NEVER } else { self.deadlines.next() })
    }

    /// Figures, for metrics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            connections: self.connections.len(),
            online: self.by_instance.len(),
            circuits: self.circuits.len(),
            reserved_bytes: self.ledger.reserved_bytes(),
            forwarded_bytes: self.forwarded_bytes,
        }
    }

    /// What was dropped or ended, by reason.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether this instance is logged in.
    #[must_use]
    pub fn is_online(&self, instance: &Instance) -> bool {
        self.by_instance.contains_key(instance)
    }

    fn on_message(&mut self, id: ConnId, mut bytes: BytesMut) -> Result<(), CloseReason> {
        let Some(connection) = self.connections.get_mut(&id) else {
            self.counters.count("message_after_close");
            return Ok(());
        };
        connection.heard_at = self.now;
        match kind(&bytes).map_err(|error| misbehaved(error.0))? {
            Kind::Handshake => self.on_handshake(id, &bytes[1..]),
            Kind::Data => self.on_data(id, bytes),
            Kind::Control => {
                let seal = match &mut connection.phase {
                    Phase::Handshake { .. } => return Err(misbehaved("control_before_handshake")),
                    Phase::Login { seal, .. } => seal,
                    Phase::Online(online) => &mut online.seal,
                };
                let message = seal.open(&mut bytes).and_then(ToHub::decode);
                self.on_control(id, message.map_err(|error| misbehaved(error.0))?)
            }
        }
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Login(id) => self.close(id, CloseReason::Timeout(Awaited::Handshake)),
            Timer::Alive(id) => self.check_alive(id),
            Timer::Call(key) => self.on_call_timeout(key),
            Timer::Window(key) => self.check_window(key),
        }
    }

    // spec R14
    fn check_alive(&mut self, id: ConnId) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let silence = now.since(connection.heard_at);
        if silence >= RELAY_LIVENESS_TIMEOUT {
            return self.close(id, CloseReason::Timeout(Awaited::Liveness));
        }
        let stuck = connection.flights.unconfirmed_bytes() > 0
            && now.since(connection.taken_at) >= RELAY_LIVENESS_TIMEOUT;
        if stuck {
            return self.close(id, CloseReason::Timeout(Awaited::Writable));
        }
        let Some(online) = connection.online() else { return };
        let asked = online.ping.is_some_and(|(_, at)| now.since(at) < RELAY_PING_INTERVAL);
        if silence >= RELAY_PING_INTERVAL && !asked {
            online.pings += 1;
            online.ping = Some((online.pings, now));
            let nonce = online.pings;
            self.tell(id, ToClient::Ping { nonce });
        }
        self.renew_token(id);
        if let Some(connection) = self.connections.get(&id) {
            self.deadlines.set(Timer::Alive(id), connection.next_check(now));
        }
    }

    /// Puts a control message into the queue of a connection.
    fn tell(&mut self, id: ConnId, message: ToClient) {
        self.queue_control(id, Control::Message(message));
    }

    fn queue_control(&mut self, id: ConnId, control: Control) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.control.len() >= MAX_RELAY_CONTROL_QUEUE {
            let reason = CloseReason::Local(LocalClose::Limit("MAX_RELAY_CONTROL_QUEUE"));
            self.doomed.insert(id, reason);
            return;
        }
        connection.control.push_back(control);
        self.touched.insert(id);
    }

    /// Sends what can be sent, and ends what must end, until nothing is left to do.
    fn settle(&mut self) {
        loop {
            if let Some((id, reason)) = self.doomed.pop_first() {
                self.close(id, reason);
            } else if let Some(id) = self.touched.pop_first() {
                self.pump(id);
            } else {
                return;
            }
        }
    }

    /// Ends a connection with a word.
    fn close(&mut self, id: ConnId, reason: CloseReason) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if let CloseReason::Misbehaved(rule) = &reason {
            self.counters.count(rule.0);
        }
        // spec R5b: with a word where the keys for it exist; nobody else is touched
        if let (Some(online), Some(reason)) = (connection.online(), goodbye(&reason)) {
            let message = online.seal.seal(&ToClient::Goodbye { reason }.encode());
            self.outputs.push_back(Output::Transmit(Transmit::Send { conn: id, message }));
        }
        self.outputs.push_back(Output::Transmit(Transmit::Close { conn: id, reason }));
        self.forget(id);
    }

    /// Forgets a connection; its circuits end.
    fn forget(&mut self, id: ConnId) {
        let Some(mut connection) = self.connections.remove(&id) else { return };
        self.deadlines.clear(&Timer::Login(id));
        self.deadlines.clear(&Timer::Alive(id));
        self.touched.remove(&id);
        self.doomed.remove(&id);
        if let Some(count) = self.by_network.get_mut(&connection.network) {
            *count -= 1;
            if *count == 0 {
                self.by_network.remove(&connection.network);
            }
        }
        if let Some(online) = connection.online() {
            if self.by_instance.get(&online.instance) == Some(&id) {
                self.by_instance.remove(&online.instance);
            }
            let event = Event::LoggedOut(id, online.instance);
            self.outputs.push_back(Output::Event(event));
            for (key, side) in core::mem::take(&mut online.circuits).into_values() {
                // spec R29
                self.end_circuit(key, side, CircuitEnd::Lost);
            }
        }
        // The driver drops what it holds. A circuit may still be there, until its other side has
        // got what this one said.
        for (key, cost) in connection.flights.into_rest().flatten() {
            self.drained(key, cost);
        }
    }

    fn shut_down(&mut self) {
        while let Some((&id, _)) = self.connections.first_key_value() {
            self.close(id, CloseReason::Local(LocalClose::Stopped));
        }
        self.outputs.push_back(Output::Event(Event::Stopped));
        self.stopped = true;
    }

    /// Memory of the frames that wait for a socket: for tests.
    #[cfg(test)]
    pub(super) fn waiting_capacity(&self) -> usize {
        let flows = self.circuits.values().flat_map(|circuit| &circuit.flows);
        flows.flat_map(|flow| &flow.queue).map(BytesMut::capacity).sum()
    }

    /// Checks our own books: for tests, after every input.
    #[cfg(test)]
    pub(super) fn assert_sound(&self) {
        let flows = self.circuits.values().flat_map(|circuit| &circuit.flows);
        let in_flight: usize = flows.clone().map(|flow| flow.in_flight_bytes).sum();
        let handed: usize = self
            .connections
            .values()
            .flat_map(|connection| connection.flights.iter())
            .filter_map(|what| what.map(|(_, cost)| cost))
            .sum();
        self.ledger.assert_adds_up(flows, handed - in_flight);
        for connection in self.connections.values() {
            let most = crate::limits::RELAY_BACKLOG_BYTES
                + crate::limits::RELAY_CONTROL_BACKLOG_BYTES
                + crate::limits::MAX_RELAY_CONTROL_BYTES;
            assert!(connection.flights.unconfirmed_bytes() <= most);
        }
        for (key, circuit) in &self.circuits {
            for side in [Side::Caller, Side::Called] {
                let (conn, number) = circuit.ends[side as usize];
                let closed = matches!(circuit.state, State::Closing(by, _) if by == side);
                let there = self.connections.get(&conn).is_some_and(|connection| {
                    matches!(&connection.phase, Phase::Online(online)
                        if online.circuits.get(&number) == Some(&(*key, side)))
                });
                assert_eq!(there, !closed, "{key:?} {side:?}");
            }
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("now", &self.now).field("stats", &self.stats()).finish()
    }
}

/// What the client is told of the reason.
const fn goodbye(reason: &CloseReason) -> Option<Goodbye> {
    match reason {
        CloseReason::Local(LocalClose::Superseded) => Some(Goodbye::Replaced),
        CloseReason::Local(LocalClose::Stopped | LocalClose::Done) => Some(Goodbye::Shutdown),
        CloseReason::Local(LocalClose::Limit(_)) => Some(Goodbye::Limit),
        CloseReason::Timeout(_) => Some(Goodbye::Timeout),
        CloseReason::Misbehaved(_) => Some(Goodbye::Misbehaved),
        CloseReason::Remote(_) | CloseReason::Incompatible(_) => None,
    }
}
