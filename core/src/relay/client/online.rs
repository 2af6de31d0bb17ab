//! What a client does while it is logged in: the node's and the sessions' wishes, and the sending.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::string::String;

use bytes::Bytes;

use super::circuit::{Circuit, Sending, State, Turn};
use super::{Client, Event, Phase, Timer, Transmit, failed};
use crate::close::{CloseReason, RemoteClose};
use crate::id::{Instance, LinkId};
use crate::limits::{
    MAX_RELAY_CONTROL_QUEUE, RELAY_BACKLOG_BYTES, RELAY_CLIENT_POOL_BYTES,
    RELAY_CLIENT_SHARE_MIN_BYTES, RELAY_CONTROL_BACKLOG_BYTES, RELAY_LINGER,
    RELAY_LIVENESS_TIMEOUT, RELAY_PING_INTERVAL, RELAY_WINDOW_START_BYTES,
};
use crate::path::DialError;
use crate::relay::frame::{DATA_HEADER_BYTES, FIRST_HUB_CIRCUIT, ToHub};
use crate::relay::seal::Seal;
use crate::time::Instant;

/// A connection that is logged in.
#[derive(Debug)]
pub(super) struct Online {
    pub(super) seal: Seal,
    pub(super) circuits: BTreeMap<u32, Circuit>,
    pub(super) links: BTreeMap<LinkId, u32>,
    /// Calls that the node has not answered yet, by the node's number.
    pub(super) calls: BTreeMap<u64, Call>,
    /// The same by the hub's number.
    pub(super) ringing: BTreeMap<u32, u64>,
    /// The next number that we choose.
    pub(super) next_number: u32,
    /// The last number that the hub chose.
    pub(super) last_incoming: u32,
    pub(super) control: VecDeque<ToHub>,
    /// Circuits that have something and may send it, in the order of their turns.
    turns: VecDeque<u32>,
    /// Not wanted any more: only what is under way is still said.
    pub(super) leaving: bool,
    pub(super) heard_at: Instant,
    asked_at: Option<Instant>,
    pings: u64,
}

/// A call that the node has not answered yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) number: u32,
    pub(super) window_bytes: u32,
    pub(super) hub_bytes: u32,
}

impl Online {
    pub(super) fn new(now: Instant, seal: Seal) -> Self {
        Self {
            seal,
            circuits: BTreeMap::new(),
            links: BTreeMap::new(),
            calls: BTreeMap::new(),
            ringing: BTreeMap::new(),
            next_number: 1,
            last_incoming: FIRST_HUB_CIRCUIT - 1,
            control: VecDeque::new(),
            turns: VecDeque::new(),
            leaving: false,
            heard_at: now,
            asked_at: None,
            pings: 0,
        }
    }

    fn circuit(&mut self, link: LinkId) -> Option<(u32, &mut Circuit)> {
        let number = *self.links.get(&link)?;
        Some((number, self.circuits.get_mut(&number)?))
    }

    /// What each circuit may have waiting for the socket.
    fn share_bytes(&self, backlog_bytes: usize) -> usize {
        (RELAY_CLIENT_POOL_BYTES / self.circuits.len().max(1))
            .min(backlog_bytes * 2)
            .max(RELAY_CLIENT_SHARE_MIN_BYTES)
    }

    /// Whether no session has anything to say any more, and everything was handed on.
    pub(super) fn is_quiet(&self) -> bool {
        self.circuits.is_empty() && self.control.is_empty()
    }

    /// Forgets a circuit.
    pub(super) fn remove(&mut self, number: u32) -> Option<Circuit> {
        let circuit = self.circuits.remove(&number)?;
        self.links.remove(&circuit.link);
        Some(circuit)
    }

    /// A circuit may have something to send now.
    pub(super) fn wake(&mut self, number: u32) {
        if let Some(circuit) = self.circuits.get_mut(&number)
            && circuit.sending.wants_turn()
        {
            self.turns.push_back(number);
        }
    }
}

impl Client {
    fn online(&mut self) -> Option<&mut Online> {
        match &mut self.phase {
            Phase::Online(online) => Some(online),
            Phase::Off
            | Phase::Waiting
            | Phase::Connecting
            | Phase::Handshake(_)
            | Phase::Login(_) => None,
        }
    }

    pub(super) fn on_open(&mut self, link: LinkId, to: Instance) {
        let now = self.now;
        let Some(online) = self.online() else {
            let error = DialError::Unreachable;
            return self.event(Event::OpenFailed { link, error });
        };
        let number = online.next_number;
        if number >= FIRST_HUB_CIRCUIT || online.links.contains_key(&link) {
            let error = DialError::Other(String::from("no circuit number is left; reconnect"));
            return self.event(Event::OpenFailed { link, error });
        }
        online.next_number += 1;
        online.links.insert(link, number);
        let circuit = Circuit::new(now, link, State::Calling, Sending::default());
        online.circuits.insert(number, circuit);
        let window_bytes = START;
        online.control.push_back(ToHub::Open { circuit: number, to, window_bytes });
    }

    pub(super) fn on_accept(&mut self, incoming: u64, link: LinkId) {
        let now = self.now;
        let call = self.online().and_then(|online| {
            let call = online.calls.remove(&incoming)?;
            online.ringing.remove(&call.number);
            Some((online, call))
        });
        let Some((online, Call { number, window_bytes, hub_bytes })) = call else {
            let reason = CloseReason::Remote(RemoteClose::Ended);
            return self.transmit(Transmit::Ended { link, reason });
        };
        online.links.insert(link, number);
        let sending = Sending::new(window_bytes, hub_bytes);
        online.circuits.insert(number, Circuit::new(now, link, State::Open, sending));
        let window_bytes = START;
        online.control.push_back(ToHub::Accept { circuit: number, window_bytes });
        self.transmit(Transmit::Opened { link });
        self.allow(number);
    }

    pub(super) fn on_refuse(&mut self, incoming: u64) {
        let Some(online) = self.online() else { return };
        if let Some(Call { number, .. }) = online.calls.remove(&incoming) {
            online.ringing.remove(&number);
            online.control.push_back(ToHub::Refuse { circuit: number });
        }
    }

    pub(super) fn on_data(&mut self, link: LinkId, bytes: Bytes) {
        let Some(online) = self.online() else { return };
        let Some((number, circuit)) = online.circuit(link) else { return };
        if circuit.state == State::Open {
            circuit.sending.push(bytes);
            online.wake(number);
        }
    }

    pub(super) fn on_consumed(&mut self, link: LinkId, bytes: usize) {
        let now = self.now;
        let Some(online) = self.online() else { return };
        let Some((number, circuit)) = online.circuit(link) else { return };
        let credit = circuit.consumed(now, bytes);
        if credit > 0 && circuit.state == State::Open {
            let bytes = u32::try_from(credit).unwrap_or(u32::MAX);
            online.control.push_back(ToHub::Credit { circuit: number, bytes });
        }
    }

    /// The session has ended: what it left is sent first.
    pub(super) fn on_close(&mut self, link: LinkId) {
        let linger_until = self.now + RELAY_LINGER;
        let Some(online) = self.online() else { return };
        let Some((number, circuit)) = online.circuit(link) else { return };
        if circuit.state == State::Open && !circuit.sending.is_empty() {
            circuit.state = State::Closing;
            // The link is gone for everybody but this circuit.
            online.links.remove(&link);
            self.deadlines.set(Timer::Linger(number), linger_until);
            return;
        }
        self.give_up(number);
    }

    /// Closes a circuit, whatever it still holds.
    pub(super) fn give_up(&mut self, number: u32) {
        self.deadlines.clear(&Timer::Linger(number));
        let Some(online) = self.online() else { return };
        if online.remove(number).is_some() {
            online.control.push_back(ToHub::Close { circuit: number });
        }
    }

    /// The socket took bytes.
    pub(super) fn on_sent(&mut self, mut bytes: usize) {
        self.flights.took(self.now, bytes);
        while let Some(what) = self.flights.confirm(&mut bytes) {
            let Some((number, payload)) = what else { continue };
            let Some(online) = self.online() else { continue };
            if let Some(circuit) = online.circuits.get_mut(&number) {
                circuit.sending.confirmed(payload);
                self.allow(number);
            }
        }
    }

    /// Tells a circuit's session how much more it may hand in.
    pub(super) fn allow(&mut self, number: u32) {
        let backlog = self.flights.backlog_bytes();
        let Some(online) = self.online() else { return };
        let share = online.share_bytes(backlog);
        let Some(circuit) = online.circuits.get_mut(&number) else { return };
        if circuit.state != State::Open {
            return;
        }
        let (link, bytes) = (circuit.link, circuit.sending.allow(share));
        if bytes > 0 {
            self.transmit(Transmit::Writable { link, bytes });
        }
    }

    /// Asks the hub for a sign of life, or gives it up.
    // spec R14
    pub(super) fn check_alive(&mut self) {
        let now = self.now;
        let Some(online) = self.online() else { return };
        let silence = now.since(online.heard_at);
        if silence >= RELAY_LIVENESS_TIMEOUT {
            return self.fail(format!("the relay said nothing for {} s", silence.as_secs()));
        }
        let asked = online.asked_at.is_some_and(|at| now.since(at) < RELAY_PING_INTERVAL);
        if silence >= RELAY_PING_INTERVAL && !asked {
            online.pings += 1;
            online.asked_at = Some(now);
            online.control.push_back(ToHub::Ping { nonce: online.pings });
        }
        let asked_at = online.asked_at.map_or(online.heard_at, |at| at.max(online.heard_at));
        let dead_at = online.heard_at + RELAY_LIVENESS_TIMEOUT;
        self.deadlines.set(Timer::Alive, dead_at.min(asked_at + RELAY_PING_INTERVAL));
    }

    /// Hands the driver what the socket may have: control frames, then data in turns.
    // spec R26
    pub(super) fn pump(&mut self) {
        if self.online().is_some_and(|o| o.control.len() > MAX_RELAY_CONTROL_QUEUE) {
            return self.fail(String::from("the relay does not read what it is told"));
        }
        loop {
            self.pump_control();
            if !self.pump_data() {
                return;
            }
        }
    }

    fn pump_control(&mut self) {
        while self.flights.unconfirmed_bytes() < RELAY_BACKLOG_BYTES + RELAY_CONTROL_BACKLOG_BYTES {
            let Some(online) = self.online() else { return };
            let Some(message) = online.control.pop_front() else { return };
            let message = online.seal.seal(&message.encode());
            self.send(message, None);
        }
    }

    /// Sends data frames. Stops early, and answers `true`, when there is a control frame to send.
    fn pump_data(&mut self) -> bool {
        loop {
            let room = self.flights.room_bytes().saturating_sub(DATA_HEADER_BYTES);
            let most = self.flights.payload_bytes();
            let Some(online) = self.online() else { return false };
            let Some(&number) = online.turns.front() else { return false };
            let Some(circuit) = online.circuits.get_mut(&number) else {
                online.turns.pop_front();
                continue;
            };
            match circuit.sending.turn(number, room, most) {
                None => return false,
                Some(Turn::Over) => online.turns.rotate_left(1),
                Some(Turn::Idle) => {
                    online.turns.pop_front();
                }
                Some(Turn::Frame(frame, payload)) => {
                    let done = circuit.state == State::Closing && circuit.sending.is_empty();
                    self.send(frame, Some((number, payload)));
                    if done {
                        self.give_up(number);
                        return true;
                    }
                }
            }
        }
    }

    /// The connection is gone, and all circuits with it.
    pub(super) fn end_all(&mut self, online: Online, why: &str) {
        for circuit in online.circuits.into_values() {
            let link = circuit.link;
            match circuit.state {
                State::Calling => {
                    let error = DialError::Unreachable;
                    self.event(Event::OpenFailed { link, error });
                }
                State::Open => self.transmit(Transmit::Ended { link, reason: failed(why) }),
                State::Closing => {}
            }
        }
    }
}

/// The window that the other side gets at the start.
const START: u32 = RELAY_WINDOW_START_BYTES as u32;
