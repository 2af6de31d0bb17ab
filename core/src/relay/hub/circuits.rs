//! Control messages of clients, and the life of a circuit.

use super::connection::misbehaved;
use super::{Circuit, CircuitKey, ConnId, FlowKey, Hub, Side, State, Timer};
use crate::close::CloseReason;
use crate::id::Instance;
use crate::limits::{
    MAX_RELAY_CIRCUITS, MAX_RELAY_PENDING, RELAY_CALL_TIMEOUT, RELAY_WINDOW_MAX_BYTES,
};
use crate::relay::frame::{CircuitEnd, FIRST_HUB_CIRCUIT, OpenError, ToClient, ToHub};

impl Hub {
    pub(super) fn on_control(&mut self, id: ConnId, message: ToHub) -> Result<(), CloseReason> {
        if let ToHub::Login { instance } = message {
            return self.on_login(id, instance);
        }
        let online = self.connections.get_mut(&id).and_then(|connection| connection.online());
        // spec R10
        let Some(online) = online else { return Err(misbehaved("control_before_login")) };
        match message {
            ToHub::Login { .. } => Err(misbehaved("login_twice")),
            ToHub::Open { circuit, to, window_bytes } => {
                // spec R15
                if circuit >= FIRST_HUB_CIRCUIT || circuit <= online.last_open {
                    return Err(misbehaved("circuit_number"));
                }
                online.last_open = circuit;
                if let Err(reason) = self.open(id, circuit, to, window_bytes as usize) {
                    self.tell(id, ToClient::OpenFailed { circuit, reason });
                }
                Ok(())
            }
            ToHub::Accept { circuit, window_bytes } => {
                let found = online.circuit(circuit)?;
                self.accept(found, window_bytes)
            }
            ToHub::Refuse { circuit } => match online.circuit(circuit)? {
                Some((key, Side::Called)) => self.refuse(key),
                Some((_, Side::Caller)) => Err(misbehaved("refuse_own_call")),
                None => Ok(()),
            },
            ToHub::Close { circuit } => {
                if let Some((key, side)) = online.circuit(circuit)? {
                    self.end_circuit(key, side, CircuitEnd::Closed);
                }
                Ok(())
            }
            ToHub::Credit { circuit, bytes } => {
                let found = online.circuit(circuit)?;
                self.credit(found, bytes as usize)
            }
            ToHub::Returned { circuit, bytes } => {
                let found = online.circuit(circuit)?;
                self.returned(found, bytes as usize)
            }
            ToHub::Ping { nonce } => {
                self.tell(id, ToClient::Pong { nonce });
                Ok(())
            }
            ToHub::Pong { nonce } => {
                self.on_pong(id, nonce);
                Ok(())
            }
        }
    }

    fn on_pong(&mut self, id: ConnId, nonce: u64) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(online) = connection.online() else { return };
        if let Some((asked, at)) = online.ping
            && asked == nonce
        {
            online.ping = None;
            connection.round_trip = connection.round_trip.min(now.since(at));
        }
    }

    /// A call: rings at the called instance, or fails at once.
    // spec R16
    fn open(
        &mut self,
        id: ConnId,
        number: u32,
        to: Instance,
        window_bytes: usize,
    ) -> Result<(), OpenError> {
        let now = self.now;
        let callee = self.by_instance.get(&to).copied();
        let Some(caller) = self.connections.get_mut(&id).and_then(|c| c.online()) else {
            return Err(OpenError::Busy);
        };
        if !caller.may_open(now)
            || caller.calls >= MAX_RELAY_PENDING
            || caller.circuits.len() >= MAX_RELAY_CIRCUITS
        {
            return Err(OpenError::Busy);
        }
        // spec K7: who calls, and not whence
        let from = caller.instance;
        let callee = callee.filter(|callee| *callee != id).ok_or(OpenError::Absent)?;
        let called = self.connections.get_mut(&callee).and_then(|c| c.online());
        let called = called.ok_or(OpenError::Absent)?;
        if called.rings >= MAX_RELAY_PENDING
            || called.circuits.len() >= MAX_RELAY_CIRCUITS
            || called.next_number == u32::MAX
            || !self.ledger.has_room()
        {
            return Err(OpenError::Busy);
        }
        let key = CircuitKey(self.next_circuit);
        self.next_circuit += 1;
        let called_number = called.next_number;
        called.next_number += 1;
        called.rings += 1;
        called.circuits.insert(called_number, (key, Side::Called));
        if let Some(caller) = self.connections.get_mut(&id).and_then(|c| c.online()) {
            caller.calls += 1;
            caller.circuits.insert(number, (key, Side::Caller));
        }
        let outward = self.ledger.open(0);
        let mut inward = self.ledger.open(window_bytes);
        let hub_bytes = wire(self.ledger.grant(&mut inward));
        let ends = [(id, number), (callee, called_number)];
        let circuit = Circuit { state: State::Calling, ends, flows: [outward, inward] };
        self.circuits.insert(key, circuit);
        self.deadlines.set(Timer::Call(key), now + RELAY_CALL_TIMEOUT);
        let window_bytes = wire(window_bytes);
        let circuit = called_number;
        self.tell(callee, ToClient::Incoming { circuit, from, window_bytes, hub_bytes });
        Ok(())
    }

    fn accept(
        &mut self,
        found: Option<(CircuitKey, Side)>,
        window_bytes: u32,
    ) -> Result<(), CloseReason> {
        let Some((key, side)) = found else { return Ok(()) };
        let Some(circuit) = self.circuits.get_mut(&key) else { return Ok(()) };
        match circuit.state {
            State::Calling if side == Side::Called => {}
            // The caller has gone while the answer was on its way.
            State::Closing(..) => return Ok(()),
            State::Calling | State::Open => return Err(misbehaved("accept_without_call")),
        }
        circuit.state = State::Open;
        let outward = &mut circuit.flows[Side::Caller as usize];
        outward.credit_bytes = window_bytes as usize;
        let hub_bytes = wire(self.ledger.grant(outward));
        let (caller, number) = circuit.ends[Side::Caller as usize];
        self.answered(key);
        for from in [Side::Caller, Side::Called] {
            self.watch_window(FlowKey { circuit: key, from });
        }
        self.tell(caller, ToClient::Opened { circuit: number, window_bytes, hub_bytes });
        Ok(())
    }

    fn refuse(&mut self, key: CircuitKey) -> Result<(), CloseReason> {
        match self.circuits.get(&key).map(|circuit| circuit.state) {
            Some(State::Calling) => {
                self.fail_call(key, OpenError::Refused, None);
                Ok(())
            }
            Some(State::Open) => Err(misbehaved("refuse_after_accept")),
            Some(State::Closing(..)) | None => Ok(()),
        }
    }

    pub(super) fn on_call_timeout(&mut self, key: CircuitKey) {
        self.fail_call(key, OpenError::NoAnswer, Some(CircuitEnd::NoAnswer));
    }

    /// A call has its answer, or will have none.
    fn answered(&mut self, key: CircuitKey) {
        self.deadlines.clear(&Timer::Call(key));
        let Some(circuit) = self.circuits.get(&key) else { return };
        let [(caller, _), (called, _)] = circuit.ends;
        if let Some(caller) = self.connections.get_mut(&caller).and_then(|c| c.online()) {
            caller.calls -= 1;
        }
        if let Some(called) = self.connections.get_mut(&called).and_then(|c| c.online()) {
            called.rings -= 1;
        }
    }

    /// Ends a call that was not answered with `Accept`: the caller is told, and the called peer too
    /// if there is something to tell.
    fn fail_call(&mut self, key: CircuitKey, error: OpenError, to_called: Option<CircuitEnd>) {
        self.answered(key);
        let Some(circuit) = self.remove_circuit(key) else { return };
        let [(caller, number), (called, called_number)] = circuit.ends;
        self.tell(caller, ToClient::OpenFailed { circuit: number, reason: error });
        if let Some(connection) = self.connections.get_mut(&called).and_then(|c| c.online()) {
            connection.expect_stale(circuit.flows[Side::Called as usize].grant_bytes());
        }
        if let Some(reason) = to_called {
            self.tell(called, ToClient::Close { circuit: called_number, reason });
        }
    }

    /// One side of a circuit closes it, or is gone. The other side gets what is queued for it, and
    /// then the reason.
    // spec R18
    pub(super) fn end_circuit(&mut self, key: CircuitKey, by: Side, reason: CircuitEnd) {
        let Some(circuit) = self.circuits.get_mut(&key) else { return };
        match circuit.state {
            State::Calling => match by {
                Side::Called => self.fail_call(key, OpenError::Refused, None),
                Side::Caller => self.cancel_call(key, reason),
            },
            State::Open => {
                let (conn, number) = circuit.ends[by as usize];
                self.ledger.drop_queue(&mut circuit.flows[by.other() as usize]);
                let flow = &mut circuit.flows[by as usize];
                flow.news = super::flow::News::default();
                circuit.state = State::Closing(by, reason);
                let sent = flow.queue.is_empty();
                if let Some(online) = self.connections.get_mut(&conn).and_then(|c| c.online()) {
                    online.circuits.remove(&number);
                }
                if sent && !planted!(LeakCircuit) {
                    self.finish_closing(key);
                }
            }
            State::Closing(..) => {
                let _ = self.remove_circuit(key);
            }
        }
    }

    /// The caller does not want it any more.
    fn cancel_call(&mut self, key: CircuitKey, reason: CircuitEnd) {
        self.answered(key);
        let Some(circuit) = self.remove_circuit(key) else { return };
        let (called, number) = circuit.ends[Side::Called as usize];
        if let Some(online) = self.connections.get_mut(&called).and_then(|c| c.online()) {
            // It may have accepted and sent already.
            online.expect_stale(circuit.flows[Side::Called as usize].grant_bytes());
        }
        self.tell(called, ToClient::Close { circuit: number, reason });
    }

    /// All that was queued for the remaining side is sent: it gets the reason.
    pub(super) fn finish_closing(&mut self, key: CircuitKey) {
        let Some(&Circuit { state: State::Closing(by, reason), ends, .. }) =
            self.circuits.get(&key)
        else {
            return;
        };
        let (rest, number) = ends[by.other() as usize];
        let Some(circuit) = self.remove_circuit(key) else { return };
        if let Some(online) = self.connections.get_mut(&rest).and_then(|c| c.online()) {
            online.expect_stale(circuit.flows[by.other() as usize].grant_bytes());
        }
        self.tell(rest, ToClient::Close { circuit: number, reason });
    }

    /// Forgets a circuit and its numbers, and gives its reservations back.
    fn remove_circuit(&mut self, key: CircuitKey) -> Option<Circuit> {
        let circuit = self.circuits.remove(&key)?;
        for (conn, number) in circuit.ends {
            if let Some(online) = self.connections.get_mut(&conn).and_then(|c| c.online()) {
                online.circuits.remove(&number);
            }
        }
        for from in [Side::Caller, Side::Called] {
            self.deadlines.clear(&Timer::Window(FlowKey { circuit: key, from }));
            self.ledger.close(&circuit.flows[from as usize]);
        }
        Some(circuit)
    }

    /// The receiver of a flow can take more: its sender is told.
    fn credit(
        &mut self,
        found: Option<(CircuitKey, Side)>,
        bytes: usize,
    ) -> Result<(), CloseReason> {
        let Some((key, side)) = found else { return Ok(()) };
        let Some(circuit) = self.circuits.get_mut(&key) else { return Ok(()) };
        let from = side.other();
        match circuit.state {
            State::Calling => return Err(misbehaved("credit_before_open")),
            State::Closing(..) => return Ok(()),
            State::Open => {}
        }
        let flow = &mut circuit.flows[from as usize];
        flow.credit_bytes += bytes;
        // spec R21
        if flow.credit_bytes > RELAY_WINDOW_MAX_BYTES {
            return Err(misbehaved("window_too_large"));
        }
        flow.news.credit_bytes += bytes;
        self.announce(FlowKey { circuit: key, from });
        Ok(())
    }

    /// A sender gives back some of its grant, as it was asked to.
    fn returned(
        &mut self,
        found: Option<(CircuitKey, Side)>,
        bytes: usize,
    ) -> Result<(), CloseReason> {
        let Some((key, from)) = found else { return Ok(()) };
        let Some(circuit) = self.circuits.get_mut(&key) else { return Ok(()) };
        let flow = &mut circuit.flows[from as usize];
        // spec R25b
        let (most, _) = flow.reclaim.take().ok_or(misbehaved("return_unasked"))?;
        if bytes > most || bytes > flow.grant_bytes() {
            return Err(misbehaved("return_too_large"));
        }
        self.ledger.returned(flow, bytes);
        // It may have used in the meantime what it was meant to keep: then nothing is on its way
        // that would bring it a grant.
        self.grant(FlowKey { circuit: key, from });
        Ok(())
    }
}

/// Windows and their parts are at most [`RELAY_WINDOW_MAX_BYTES`].
pub(super) fn wire(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
