//! What the hub knows of one WebSocket.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use core::net::{IpAddr, Ipv6Addr};
use core::time::Duration;

use super::{CircuitKey, FlowKey, Side};
use crate::close::{CloseReason, Misbehaviour};
use crate::crypto::noise::Handshake;
use crate::id::{Instance, PeerId};
use crate::limits::{
    RELAY_LIVENESS_TIMEOUT, RELAY_OPEN_BURST, RELAY_OPEN_INTERVAL, RELAY_PING_INTERVAL,
    RELAY_RTT_MAX,
};
use crate::relay::flights;
use crate::relay::frame::{FIRST_HUB_CIRCUIT, ToClient};
use crate::relay::seal::Seal;
use crate::time::{Instant, UnixTime};

/// What the driver has of a connection: for data frames the flow and the cost.
pub(super) type Flights = flights::Flights<Option<(FlowKey, usize)>>;

/// One WebSocket.
#[derive(Debug)]
pub(super) struct Connection {
    /// Where from, as far as connections are counted.
    pub(super) network: IpAddr,
    /// Where from.
    pub(super) ip: IpAddr,
    /// When it was opened, on both clocks.
    pub(super) since: Instant,
    pub(super) unix_since: UnixTime,
    pub(super) phase: Phase,
    /// When the last message came.
    pub(super) heard_at: Instant,
    /// When the socket last took something, or had nothing to take.
    pub(super) taken_at: Instant,
    /// The shortest round trip that was seen.
    pub(super) round_trip: Duration,
    /// Messages that wait for the socket.
    pub(super) control: VecDeque<Control>,
    /// Flows to this connection that have something, in the order of their turns.
    pub(super) turns: VecDeque<FlowKey>,
    /// What the driver has: for data frames the flow and the cost.
    pub(super) flights: Flights,
}

/// How far a connection is.
#[derive(Debug)]
pub(super) enum Phase {
    /// The first message of the handshake is awaited, or the third (then since when).
    /// `None`: over, because it failed.
    Handshake { noise: Option<Box<Handshake>>, answered_at: Option<Instant> },
    /// The handshake is complete, with this key; `Login` is awaited.
    Login { seal: Box<Seal>, peer: PeerId },
    /// Logged in.
    Online(Box<Online>),
}

/// What only a connection that is logged in has.
#[derive(Debug)]
pub(super) struct Online {
    pub(super) instance: Instance,
    pub(super) seal: Seal,
    /// Its circuits by their number on this connection.
    pub(super) circuits: BTreeMap<u32, (CircuitKey, Side)>,
    /// The last number that the client chose.
    pub(super) last_open: u32,
    /// The next number that we choose.
    pub(super) next_number: u32,
    /// Its own calls that are not answered yet.
    pub(super) calls: usize,
    /// Calls to it that it has not answered yet.
    pub(super) rings: usize,
    /// When the bucket of its calls would be full.
    opens_full_at: Instant,
    /// What may still come on circuits that were closed while it was on its way.
    stale_bytes: usize,
    /// Number and moment of our last ping, if it is not answered.
    pub(super) ping: Option<(u64, Instant)>,
    pub(super) pings: u64,
    /// When it gets a new token.
    pub(super) token_at: Instant,
}

/// A control message that waits for a socket.
#[derive(Debug)]
pub(super) enum Control {
    /// This one.
    Message(ToClient),
    /// Whatever there is to tell the sender of this flow when it is its turn.
    News(FlowKey),
}

impl Connection {
    /// What is known of it once it is logged in.
    pub(super) fn online(&mut self) -> Option<&mut Online> {
        match &mut self.phase {
            Phase::Online(online) => Some(online),
            Phase::Handshake { .. } | Phase::Login { .. } => None,
        }
    }

    /// Gives the room of empty queues back while nothing is said but signs of life: there are many
    /// such connections.
    pub(super) fn rest(&mut self) {
        if self.online().is_none_or(|online| !online.circuits.is_empty()) {
            return;
        }
        if self.control.is_empty() {
            self.control = VecDeque::new();
        }
        if self.turns.is_empty() {
            self.turns = VecDeque::new();
        }
        self.flights.rest();
    }

    /// When somebody must look after it again, if nothing happens: later than `now`, after
    /// [`Connection::is_dead`] was asked at `now` and a ping was sent if one was due.
    pub(super) fn next_check(&self, now: Instant) -> Instant {
        let mut next = self.heard_at + RELAY_LIVENESS_TIMEOUT;
        if self.flights.unconfirmed_bytes() > 0 {
            next = next.min(self.taken_at + RELAY_LIVENESS_TIMEOUT);
        }
        if let Phase::Online(online) = &self.phase {
            next = next.min(online.token_at);
            let asked_at = online.ping.map_or(self.heard_at, |(_, at)| at.max(self.heard_at));
            next = next.min(asked_at + RELAY_PING_INTERVAL);
        }
        next.max(now + Duration::from_millis(1))
    }
}

impl Online {
    pub(super) fn new(instance: Instance, seal: Seal, token_at: Instant) -> Self {
        Self {
            instance,
            seal,
            circuits: BTreeMap::new(),
            last_open: 0,
            next_number: FIRST_HUB_CIRCUIT,
            calls: 0,
            rings: 0,
            opens_full_at: Instant::ZERO,
            stale_bytes: 0,
            ping: None,
            pings: 0,
            token_at,
        }
    }

    /// The circuit of this number; `None` if it was in use and is closed, which the client may not
    /// know.
    pub(super) fn circuit(&self, number: u32) -> Result<Option<(CircuitKey, Side)>, CloseReason> {
        let circuit = self.circuits.get(&number).copied();
        let was = if number < FIRST_HUB_CIRCUIT {
            number != 0 && number <= self.last_open
        } else {
            number < self.next_number
        };
        if circuit.is_none() && !was {
            // spec R19b
            return Err(misbehaved("unknown_circuit"));
        }
        Ok(circuit)
    }

    /// A circuit was closed while its grant was out: so much may still come on it.
    pub(super) fn expect_stale(&mut self, bytes: usize) {
        self.stale_bytes = self.stale_bytes.saturating_add(bytes);
    }

    /// Data came on a circuit that is closed.
    // spec R19: late data, within what was granted
    pub(super) fn take_stale(&mut self, bytes: usize) -> Result<(), CloseReason> {
        let left = self.stale_bytes.checked_sub(bytes);
        self.stale_bytes = left.ok_or(misbehaved("data_after_close"))?;
        Ok(())
    }

    /// Whether it may make one more call now (a token bucket, kept as the moment when it is full).
    pub(super) fn may_open(&mut self, now: Instant) -> bool {
        let full_at = self.opens_full_at.max(now) + RELAY_OPEN_INTERVAL;
        let allowed = full_at.since(now) <= RELAY_OPEN_INTERVAL * RELAY_OPEN_BURST;
        if allowed {
            self.opens_full_at = full_at;
        }
        allowed
    }
}

/// A connection that was just opened.
pub(super) fn opened(
    now: Instant,
    ip: IpAddr,
    unix_time: UnixTime,
    noise: Handshake,
) -> Connection {
    Connection {
        network: network(ip),
        ip,
        since: now,
        unix_since: unix_time,
        phase: Phase::Handshake { noise: Some(Box::new(noise)), answered_at: None },
        heard_at: now,
        taken_at: now,
        round_trip: RELAY_RTT_MAX,
        control: VecDeque::new(),
        turns: VecDeque::new(),
        flights: Flights::default(),
    }
}

/// What counts as one address: an IPv4 address, or the /64 of an IPv6 address, which is what one
/// subscriber has at the least.
pub(super) fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => IpAddr::V4(ip),
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
    }
}

/// A rule that the client broke.
pub(super) const fn misbehaved(rule: &'static str) -> CloseReason {
    CloseReason::Misbehaved(Misbehaviour(rule))
}

#[cfg(test)]
mod tests;
