//! The way of the bytes: in, through a flow's queue, out in turns, and the grants that follow.

use bytes::BytesMut;

use super::circuits::wire;
use super::connection::{Connection, Control, Phase, misbehaved};
use super::{Circuit, CircuitKey, ConnId, FlowKey, Hub, State, Timer, Transmit};
use crate::close::{Awaited, CloseReason};
use crate::limits::{
    RELAY_BACKLOG_BYTES, RELAY_CONTROL_BACKLOG_BYTES, RELAY_FRAME_COST_BYTES,
    RELAY_LIVENESS_TIMEOUT, RELAY_RTT_MAX, RELAY_WINDOW_CHECK,
};
use crate::output::Output;
use crate::relay::frame::{DATA_HEADER_BYTES, ToClient, data_circuit, set_data_circuit};

/// A waiting frame up to this length is copied into memory of its own size, because the buffer in
/// which it came may be much larger.
const COPY_BYTES: usize = 4 * 1024;

impl Hub {
    /// A data frame, whose length is checked.
    // spec R24: whatever comes is taken at once
    pub(super) fn on_data(&mut self, id: ConnId, mut frame: BytesMut) -> Result<(), CloseReason> {
        let number = data_circuit(&frame).map_err(|error| misbehaved(error.0))?;
        let payload = frame.len() - DATA_HEADER_BYTES;
        // spec R22
        let cost = payload + RELAY_FRAME_COST_BYTES;
        let online = self.connections.get_mut(&id).and_then(|connection| connection.online());
        let online = online.ok_or(misbehaved("data_before_login"))?;
        let Some((key, side)) = online.circuit(number)? else {
            self.counters.count("data_after_close");
            return online.take_stale(cost);
        };
        let circuit = self.circuits.get_mut(&key).expect("connections know living circuits only");
        let flow = &mut circuit.flows[side as usize];
        // spec R17
        if circuit.state == State::Calling {
            return Err(misbehaved("data_before_open"));
        }
        // spec R23: the receiver's window, then the hub's
        if payload > flow.credit_bytes {
            return Err(misbehaved("window_exceeded"));
        }
        if cost > flow.grant_bytes() {
            return Err(misbehaved("hub_window_exceeded"));
        }
        flow.credit_bytes -= payload;
        if circuit.state != State::Open {
            self.ledger.arrived_late(flow, cost);
            self.counters.count("data_after_close");
            return Ok(());
        }
        flow.arrived(cost);
        let (to, number) = circuit.ends[side.other() as usize];
        let Some(receiver) = self.connections.get_mut(&to) else { return Ok(()) };
        // spec R20: nothing else of it is touched
        set_data_circuit(&mut frame, number);
        if receiver.flights.unconfirmed_bytes() > 0 && frame.len() <= COPY_BYTES {
            frame = BytesMut::from(&frame[..]);
        }
        // spec R24b: it waits here, whatever the receiver does
        flow.queue.push_back(frame);
        if !flow.in_turns {
            flow.in_turns = true;
            flow.deficit_bytes = receiver.flights.turn_bytes();
            receiver.turns.push_back(FlowKey { circuit: key, from: side });
        }
        self.touched.insert(to);
        Ok(())
    }

    /// A socket has taken bytes: their flows are granted more.
    pub(super) fn on_sent(&mut self, id: ConnId, mut bytes: usize) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.flights.took(self.now, bytes);
        }
        loop {
            let Some(connection) = self.connections.get_mut(&id) else { return };
            connection.taken_at = self.now;
            let Some(what) = connection.flights.confirm(&mut bytes) else {
                connection.rest();
                break;
            };
            if let Some((flow, cost)) = what {
                self.drained(flow, cost);
            }
        }
        self.touched.insert(id);
    }

    /// The driver holds so much of a flow no more.
    pub(super) fn drained(&mut self, key: FlowKey, cost: usize) {
        let Some(circuit) = self.circuits.get_mut(&key.circuit) else {
            return self.ledger.landed(cost);
        };
        let (sender, _) = circuit.ends[key.from as usize];
        let round_trip = self.connections.get(&sender).map_or(RELAY_RTT_MAX, |c| c.round_trip);
        let flow = &mut circuit.flows[key.from as usize];
        let woke = self.ledger.drained(flow, cost, self.now, round_trip);
        if circuit.state != State::Open || planted!(NoNewGrant) {
            return;
        }
        self.grant(key);
        if woke {
            self.watch_window(key);
        }
    }

    /// Grants the sender of an open circuit's flow what it can have now.
    pub(super) fn grant(&mut self, key: FlowKey) {
        let Some(circuit) = self.circuits.get_mut(&key.circuit) else { return };
        if circuit.state != State::Open {
            return;
        }
        let flow = &mut circuit.flows[key.from as usize];
        let granted = self.ledger.grant(flow);
        if granted > 0 {
            flow.news.grant_bytes += granted;
            self.announce(key);
        }
    }

    /// There is something to tell the sender of a flow.
    pub(super) fn announce(&mut self, key: FlowKey) {
        let Some(circuit) = self.circuits.get_mut(&key.circuit) else { return };
        let (sender, _) = circuit.ends[key.from as usize];
        let news = &mut circuit.flows[key.from as usize].news;
        if !core::mem::replace(&mut news.announced, true) {
            self.queue_control(sender, Control::News(key));
        }
    }

    /// Looks after a flow's window from now on, if it is more than the minimum.
    pub(super) fn watch_window(&mut self, key: FlowKey) {
        let Some(circuit) = self.circuits.get(&key.circuit) else { return };
        let flow = &circuit.flows[key.from as usize];
        if flow.wants_more() || flow.reclaim.is_some() {
            self.deadlines.set(Timer::Window(key), self.now + RELAY_WINDOW_CHECK);
        }
    }

    pub(super) fn check_window(&mut self, key: FlowKey) {
        let now = self.now;
        let Some(circuit) = self.circuits.get_mut(&key.circuit) else { return };
        let (sender, _) = circuit.ends[key.from as usize];
        let flow = &mut circuit.flows[key.from as usize];
        if circuit.state == State::Open {
            match flow.reclaim {
                Some((_, at)) if now.since(at) >= RELAY_LIVENESS_TIMEOUT => {
                    return self.close(sender, CloseReason::Timeout(Awaited::Answer));
                }
                Some(_) => {}
                None => {
                    let excess = self.ledger.check(flow);
                    if excess > 0 {
                        flow.reclaim = Some((excess, now));
                        flow.news.reclaim_bytes = excess;
                        self.announce(key);
                    }
                }
            }
        }
        self.watch_window(key);
    }

    /// Hands to the driver what the connection's socket may have: control frames, then data in
    /// turns.
    // spec R26
    pub(super) fn pump(&mut self, id: ConnId) {
        self.pump_control(id);
        while let Some(closing) = self.pump_data(id) {
            self.finish_closing(closing);
            self.pump_control(id);
        }
    }

    fn pump_control(&mut self, id: ConnId) {
        let Self { connections, circuits, outputs, now, .. } = self;
        let Some(connection) = connections.get_mut(&id) else { return };
        let Connection { phase: Phase::Online(online), control, flights, taken_at, .. } =
            connection
        else {
            return;
        };
        let mut send = |flights: &mut super::connection::Flights, message: &ToClient| {
            let message = online.seal.seal(&message.encode());
            if flights.unconfirmed_bytes() == 0 {
                *taken_at = *now;
            }
            flights.push(*now, message.len(), None);
            outputs.push_back(Output::Transmit(Transmit::Send { conn: id, message }));
        };
        while flights.unconfirmed_bytes() < RELAY_BACKLOG_BYTES + RELAY_CONTROL_BACKLOG_BYTES {
            match control.pop_front() {
                None => return,
                Some(Control::Message(message)) => send(flights, &message),
                Some(Control::News(key)) => {
                    let Some(circuit) = circuits.get_mut(&key.circuit) else { continue };
                    let (_, circuit_number) = circuit.ends[key.from as usize];
                    let news = core::mem::take(&mut circuit.flows[key.from as usize].news);
                    for message in news.messages(circuit_number).into_iter().flatten() {
                        send(flights, &message);
                    }
                }
            }
        }
    }

    /// Hands out data frames, flow by flow, until the socket has enough. Stops early, and answers
    /// which circuit it is, when a circuit that was closed by its sender has nothing left.
    fn pump_data(&mut self, id: ConnId) -> Option<CircuitKey> {
        let Self { connections, circuits, outputs, now, forwarded_bytes, .. } = self;
        let connection = connections.get_mut(&id)?;
        let Connection { turns, flights, taken_at, .. } = connection;
        while let Some(&key) = turns.front() {
            let Some(Circuit { flows, state, .. }) = circuits.get_mut(&key.circuit) else {
                turns.pop_front();
                continue;
            };
            let flow = &mut flows[key.from as usize];
            let Some(frame) = flow.queue.front() else {
                flow.in_turns = false;
                turns.pop_front();
                if matches!(state, State::Closing(by, _) if *by == key.from) {
                    return Some(key.circuit);
                }
                continue;
            };
            let turn = flights.turn_bytes();
            let bytes = frame.len().min(turn);
            if bytes > flights.room_bytes() {
                return None;
            }
            // spec R27: equal shares of bytes
            if flow.deficit_bytes < bytes {
                flow.deficit_bytes += turn;
                turns.rotate_left(1);
                continue;
            }
            let Some((frame, cost)) = flow.take(bytes) else { continue };
            flow.deficit_bytes -= bytes;
            flow.in_flight_bytes += cost;
            if flights.unconfirmed_bytes() == 0 {
                *taken_at = *now;
            }
            flights.push(*now, bytes, Some((key, cost)));
            *forwarded_bytes += (bytes - DATA_HEADER_BYTES) as u64;
            let message = frame.freeze();
            outputs.push_back(Output::Transmit(Transmit::Send { conn: id, message }));
        }
        None
    }
}

impl super::flow::News {
    /// The messages that tell it.
    fn messages(&self, circuit: u32) -> [Option<ToClient>; 3] {
        let (credit, grant) = (wire(self.credit_bytes), wire(self.grant_bytes));
        let reclaim = wire(self.reclaim_bytes);
        [
            (credit > 0).then_some(ToClient::Credit { circuit, bytes: credit }),
            (grant > 0).then_some(ToClient::HubCredit { circuit, bytes: grant }),
            (reclaim > 0).then_some(ToClient::Reclaim { circuit, bytes: reclaim }),
        ]
    }
}
