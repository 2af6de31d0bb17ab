//! What the hub tells a client that is logged in.

use alloc::format;
use alloc::string::String;

use bytes::{Buf, BytesMut};

use super::circuit::{Sending, State};
use super::online::Call;
use super::{Client, Ending, Event, Phase, Timer, Transmit, broken, failed};
use crate::close::{CloseReason, RemoteClose};
use crate::id::Instance;
use crate::limits::{MAX_RELAY_PENDING, RELAY_BACKOFF_MAX};
use crate::path::DialError;
use crate::relay::frame::{
    CircuitEnd, DATA_HEADER_BYTES, FIRST_HUB_CIRCUIT, Goodbye, OpenError, ToClient, ToHub,
    data_circuit,
};

use super::online::Online;

impl Client {
    pub(super) fn on_control(&mut self, message: ToClient) -> Result<(), Ending> {
        let now = self.now;
        let Phase::Online(online) = &mut self.phase else { return Ok(()) };
        match message {
            ToClient::Welcome { .. } => return Err(broken("welcome_twice")),
            ToClient::Token { token } => self.event(Event::LoggedIn { token }),
            ToClient::Incoming { circuit, from, window_bytes, hub_bytes } => {
                let call = Call { number: circuit, window_bytes, hub_bytes };
                return self.on_incoming(call, from);
            }
            ToClient::Opened { circuit, window_bytes, hub_bytes } => {
                let Some(known) = known(online, circuit)? else { return Ok(()) };
                if known.state != State::Calling {
                    return Err(broken("opened_twice"));
                }
                known.state = State::Open;
                known.sending = Sending::new(window_bytes, hub_bytes);
                known.answered(now);
                let link = known.link;
                self.transmit(Transmit::Opened { link });
                self.allow(circuit);
            }
            ToClient::OpenFailed { circuit, reason } => {
                let Some(known) = known(online, circuit)? else { return Ok(()) };
                if known.state != State::Calling {
                    return Err(broken("open_failed_after_opened"));
                }
                let link = known.link;
                online.remove(circuit);
                self.event(Event::OpenFailed { link, error: dial_error(reason) });
            }
            ToClient::Close { circuit, reason } => return self.on_circuit_closed(circuit, reason),
            ToClient::Credit { circuit, bytes } => {
                let Some(known) = known(online, circuit)? else { return Ok(()) };
                known.sending.credit(bytes);
                online.wake(circuit);
                self.allow(circuit);
            }
            ToClient::HubCredit { circuit, bytes } => {
                let Some(known) = known(online, circuit)? else { return Ok(()) };
                known.sending.grant(bytes);
                online.wake(circuit);
                self.allow(circuit);
            }
            ToClient::Reclaim { circuit, bytes } => {
                let Some(known) = known(online, circuit)? else { return Ok(()) };
                let bytes = known.sending.give_back(bytes);
                online.control.push_back(ToHub::Returned { circuit, bytes });
            }
            ToClient::Ping { .. } if planted!(NoPong) => {}
            ToClient::Ping { nonce } => online.control.push_back(ToHub::Pong { nonce }),
            ToClient::Pong { nonce: _ } => {}
            ToClient::Goodbye { reason } => return Err(self.on_goodbye(reason)),
        }
        Ok(())
    }

    fn on_incoming(&mut self, call: Call, from: Instance) -> Result<(), Ending> {
        let Phase::Online(online) = &mut self.phase else { return Ok(()) };
        if call.number <= online.last_incoming || call.number < FIRST_HUB_CIRCUIT {
            return Err(broken("circuit_number"));
        }
        online.last_incoming = call.number;
        if online.leaving || online.calls.len() >= MAX_RELAY_PENDING {
            online.control.push_back(ToHub::Refuse { circuit: call.number });
            return Ok(());
        }
        let incoming = self.next_incoming;
        self.next_incoming += 1;
        online.ringing.insert(call.number, incoming);
        online.calls.insert(incoming, call);
        self.event(Event::Incoming { incoming, from: from.peer });
        Ok(())
    }

    fn on_circuit_closed(&mut self, number: u32, reason: CircuitEnd) -> Result<(), Ending> {
        let Phase::Online(online) = &mut self.phase else { return Ok(()) };
        if let Some(incoming) = online.ringing.remove(&number) {
            online.calls.remove(&incoming);
            return Ok(());
        }
        if known(online, number)?.is_none() {
            return Ok(());
        }
        self.deadlines.clear(&Timer::Linger(number));
        let Some(circuit) = online.remove(number) else { return Ok(()) };
        let link = circuit.link;
        match circuit.state {
            State::Calling => {
                let error = DialError::NotAtRelay;
                self.event(Event::OpenFailed { link, error });
            }
            State::Open => self.transmit(Transmit::Ended { link, reason: close_reason(reason) }),
            State::Closing => {}
        }
        Ok(())
    }

    /// A data frame, whose length is checked.
    pub(super) fn on_frame(&mut self, mut bytes: BytesMut) -> Result<(), Ending> {
        let now = self.now;
        let Phase::Online(online) = &mut self.phase else { return Ok(()) };
        let number = data_circuit(&bytes).map_err(|error| broken(error.0))?;
        let Some(circuit) = known(online, number)? else { return Ok(()) };
        bytes.advance(DATA_HEADER_BYTES);
        if !circuit.receiving.arrived(bytes.len()) {
            return Err(broken("window_exceeded"));
        }
        let link = circuit.link;
        match circuit.state {
            State::Calling => Err(broken("data_before_opened")),
            State::Closing => Ok(()),
            State::Open => {
                circuit.answered(now);
                self.transmit(Transmit::Deliver { link, bytes });
                Ok(())
            }
        }
    }

    /// The hub closes the connection and says why.
    fn on_goodbye(&mut self, reason: Goodbye) -> Ending {
        Ending(String::from(match reason {
            Goodbye::Replaced => {
                // Two that replace each other would do it for ever: as rarely as possible.
                // spec R28b
                self.failures = RELAY_BACKOFF_MAX.as_secs() as u32;
                "another connection of this very instance took its place"
            }
            Goodbye::Shutdown => "the tracker stops",
            Goodbye::Misbehaved => "the relay says that we broke its rules; is it another version?",
            Goodbye::Limit => "a limit of the relay is reached",
            Goodbye::Timeout => "the relay did not hear from us in time",
        }))
    }
}

/// The circuit of this number; `None` if it was in use and is closed or not accepted, which the hub
/// may not know.
fn known(online: &mut Online, number: u32) -> Result<Option<&mut super::circuit::Circuit>, Ending> {
    let was = if number < FIRST_HUB_CIRCUIT {
        number != 0 && number < online.next_number
    } else {
        number <= online.last_incoming
    };
    if was { Ok(online.circuits.get_mut(&number)) } else { Err(broken("unknown_circuit")) }
}

fn dial_error(reason: OpenError) -> DialError {
    match reason {
        OpenError::Absent | OpenError::Refused | OpenError::NoAnswer => DialError::NotAtRelay,
        OpenError::Busy => {
            DialError::Other(format!("the relay is at one of its limits ({reason:?})"))
        }
    }
}

fn close_reason(reason: CircuitEnd) -> CloseReason {
    match reason {
        CircuitEnd::Closed => CloseReason::Remote(RemoteClose::Ended),
        CircuitEnd::Lost => failed("the peer lost its connection to the relay"),
        CircuitEnd::NoAnswer => failed("the relay gave the call up"),
    }
}
