//! Streams and circuits of an adversary, and its relay client, which is the real one.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use towpath_core::id::LinkId;
use towpath_core::output::Output;
use towpath_core::relay::client;
use towpath_core::time::Instant;

use super::{Adversary, Todo};
use crate::peer::Effect;

/// What carries a link.
#[derive(Debug)]
pub(super) enum Carrier {
    /// A stream of the world.
    Tcp,
    /// A circuit, with what it may carry now and what waits for more.
    Circuit {
        /// Bytes.
        writable_bytes: usize,
        /// Bytes.
        unsent: BytesMut,
    },
}

impl Carrier {
    pub(super) fn circuit() -> Self {
        Self::Circuit { writable_bytes: 0, unsent: BytesMut::new() }
    }
}

impl Adversary {
    pub(super) fn tell_client(&mut self, now: Instant, input: client::Input) {
        self.client.handle_input(now, input);
        let mut outputs = Vec::new();
        loop {
            match self.client.poll_output() {
                Output::Timeout(at) => {
                    self.client_deadline = at;
                    break;
                }
                output => outputs.push(output),
            }
        }
        for output in outputs {
            match output {
                Output::Timeout(_) => {}
                Output::Event(event) => self.client_event(now, event),
                Output::Transmit(transmit) => self.client_transmit(now, transmit),
            }
        }
    }

    fn client_event(&mut self, now: Instant, event: client::Event) {
        match event {
            client::Event::LoggedIn { token } => {
                self.token = Some(token);
                self.register();
            }
            client::Event::LoggedOut(_) => self.token = None,
            client::Event::OpenFailed { link, .. } => drop(self.links.remove(&link)),
            client::Event::Incoming { incoming, .. } => {
                let link = self.add_called(Carrier::circuit());
                self.tell_client(now, client::Input::Accept { incoming, link });
            }
        }
    }

    fn client_transmit(&mut self, now: Instant, transmit: client::Transmit) {
        match transmit {
            client::Transmit::Connect => self.effects.push(Effect::Connect),
            client::Transmit::Send { message } => self.effects.push(Effect::Message(message)),
            client::Transmit::Disconnect => self.effects.push(Effect::Disconnect),
            client::Transmit::Opened { link } => self.opened(now, link),
            client::Transmit::Deliver { link, bytes } => {
                let length = bytes.len();
                self.received(now, link, &bytes);
                if self.links.get(&link).is_some_and(|link| link.reads) {
                    self.tell_client(now, client::Input::Consumed { link, bytes: length });
                }
            }
            client::Transmit::Writable { link, bytes } => {
                if let Some(Carrier::Circuit { writable_bytes, .. }) =
                    self.links.get_mut(&link).map(|link| &mut link.carrier)
                {
                    *writable_bytes += bytes;
                    self.write(now, link, Vec::new());
                }
            }
            client::Transmit::Ended { link, .. } => self.ended(link),
        }
    }

    /// Writes bytes to a link's stream.
    pub(super) fn write(&mut self, now: Instant, id: LinkId, bytes: Vec<u8>) {
        let Some(link) = self.links.get_mut(&id) else { return };
        match &mut link.carrier {
            Carrier::Tcp if bytes.is_empty() => {}
            Carrier::Tcp => self.effects.push(Effect::Write(id, Bytes::from(bytes))),
            Carrier::Circuit { writable_bytes, unsent } => {
                unsent.extend_from_slice(&bytes);
                let now_bytes = (*writable_bytes).min(unsent.len());
                if now_bytes == 0 {
                    return;
                }
                *writable_bytes -= now_bytes;
                let bytes = unsent.split_to(now_bytes).freeze();
                self.tell_client(now, client::Input::Data { link: id, bytes });
            }
        }
    }

    /// Seals plaintext, and writes it.
    pub(super) fn say(&mut self, now: Instant, id: LinkId, plain: &[u8]) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let sealed = link.line.seal(plain, usize::MAX);
        self.write(now, id, sealed);
    }

    /// The other side has ended a link.
    pub(super) fn ended(&mut self, id: LinkId) {
        let Some(link) = self.links.remove(&id) else { return };
        if link.called.is_some() && link.vice.breaks_a_rule() && link.acted {
            self.counts.push("adversary shown the door");
        }
    }

    /// Ends a link.
    pub(super) fn hang_up(&mut self, now: Instant, id: LinkId) {
        match self.links.remove(&id).map(|link| link.carrier) {
            Some(Carrier::Tcp) => self.effects.push(Effect::Close(id)),
            Some(Carrier::Circuit { .. }) => {
                self.tell_client(now, client::Input::Close { link: id });
            }
            None => {}
        }
    }

    /// It has waited long enough to be shown the door.
    pub(super) fn at_the_door(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.get(&id) else { return };
        if link.acted && link.vice.breaks_a_rule() && self.config.knows_the_door {
            let (vice, called) = (link.vice, link.called);
            self.complaint = Some(format!("{vice:?} was suffered on {id:?} to {called:?}"));
        }
        self.hang_up(now, id);
    }

    /// One byte more of a chunk.
    pub(super) fn trickle(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.slow.is_empty() {
            return;
        }
        let byte = link.slow.remove(0);
        let sealed = link.line.seal(&[byte], 1);
        self.write(now, id, sealed);
        let pause = Duration::from_millis(1_000 + self.rng.below(59_000));
        self.later(now + pause, Todo::Trickle(id));
    }
}
