//! A hub with a sender and a receiver that have a circuit, and connections that only stand there.
//!
//! A real client on each side keeps the windows open; only the hub is measured.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use towpath_core::crypto::public_key;
use towpath_core::id::{Instance, LinkId};
use towpath_core::output::Output;
use towpath_core::relay::client::{self, Client};
use towpath_core::relay::hub::{self, ConnId, Hub};
use towpath_core::rng::Rng;
use towpath_core::time::{Instant, UnixTime};

use crate::Meter;

const HOST: &str = "relay";
const LINK: LinkId = LinkId(7);
/// The time that one message takes on its way.
const MESSAGE_TIME: Duration = Duration::from_millis(1);
/// Messages until hub and clients know how fast their sockets are.
const WARM_UP_MESSAGES: usize = 1_000;
const MESSAGE_BYTES: usize = 64 * 1024;

/// A hub, a sender and a receiver that have a circuit, and connections that do nothing.
pub struct Relay {
    hub: Hub,
    clients: Vec<Client>,
    now: Instant,
    /// What the sender's session may still hand in.
    allowed: usize,
    /// On while messages are carried.
    meter: Meter,
    /// Data messages that came out of the hub.
    forwarded: u64,
    /// Messages for clients, by client.
    queue: Vec<(usize, Bytes)>,
}

impl Relay {
    /// A relay with a circuit and so many idle connections beside its two.
    ///
    /// # Panics
    /// If a client cannot log in, or the circuit does not open.
    #[must_use]
    pub fn new(idle: usize) -> Self {
        let config = hub::Config {
            secret_key: [77; 32],
            token_key: [78; 32],
            buffer_budget_bytes: 256 << 20,
            max_connections_per_ip: 20_000,
            max_connections: 20_000,
        };
        let hub = Hub::new(Instant::ZERO, Rng::new([1; 32]), config);
        let mut relay = Self {
            hub,
            clients: Vec::new(),
            now: Instant::ZERO,
            allowed: 0,
            meter: Meter::default(),
            forwarded: 0,
            queue: Vec::new(),
        };
        for index in 0..idle + 2 {
            relay.join(index);
        }
        let to = instance(1);
        relay.client(0, client::Input::Open { link: LINK, to });
        relay.settle();
        assert!(relay.allowed > 0, "the circuit is open");
        let payload = Bytes::from(vec![7; MESSAGE_BYTES]);
        for _ in 0..WARM_UP_MESSAGES {
            relay.send(payload.slice(..relay.allowed.min(MESSAGE_BYTES)));
        }
        relay
    }

    fn join(&mut self, index: usize) {
        let me = instance(index);
        let config = client::Config { me, secret_key: secret(index), host: String::from(HOST) };
        self.clients.push(Client::new(Instant::ZERO, Rng::new([2; 32]), config));
        self.hub(hub::Input::Connected {
            conn: ConnId(index as u64),
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            host: String::from(HOST),
            ephemeral: secret(index + 100_000),
            unix_time: UnixTime(0),
        });
        self.client(index, client::Input::Want(true));
        self.client(index, client::Input::Connected { ephemeral: secret(index + 200_000) });
        self.settle();
        assert!(self.clients[index].is_online());
    }

    fn hub(&mut self, input: hub::Input) {
        let Self { hub, now, queue, meter, .. } = self;
        meter.run(|| {
            hub.handle_input(*now, input);
            loop {
                match hub.poll_output() {
                    Output::Timeout(_) => return,
                    Output::Event(_) => {}
                    Output::Transmit(hub::Transmit::Send { conn, message }) => {
                        queue.push((conn.0 as usize, message));
                    }
                    Output::Transmit(hub::Transmit::Close { reason, .. }) => panic!("{reason}"),
                }
            }
        });
    }

    fn client(&mut self, index: usize, input: client::Input) {
        self.clients[index].handle_input(self.now, input);
        loop {
            match self.clients[index].poll_output() {
                Output::Timeout(_) => return,
                Output::Event(client::Event::Incoming { incoming, .. }) => {
                    self.client(index, client::Input::Accept { incoming, link: LINK });
                }
                Output::Event(_) => {}
                Output::Transmit(client::Transmit::Send { message }) => {
                    let (bytes, conn) = (message.len(), ConnId(index as u64));
                    let message = BytesMut::from(&message[..]);
                    self.hub(hub::Input::Message { conn, bytes: message });
                    self.client(index, client::Input::Sent { bytes });
                }
                Output::Transmit(client::Transmit::Writable { bytes, .. }) if index == 0 => {
                    self.allowed += bytes;
                }
                Output::Transmit(client::Transmit::Deliver { link, bytes }) => {
                    self.forwarded += 1;
                    self.client(index, client::Input::Consumed { link, bytes: bytes.len() });
                }
                Output::Transmit(_) => {}
            }
        }
    }

    /// The sockets take what the hub sends, and the clients read it.
    fn settle(&mut self) {
        while !self.queue.is_empty() {
            for (index, message) in std::mem::take(&mut self.queue) {
                let (conn, bytes) = (ConnId(index as u64), message.len());
                self.hub(hub::Input::Sent { conn, bytes });
                self.client(index, client::Input::Message(BytesMut::from(&message[..])));
            }
        }
    }

    /// Sends what the window allows, and lets it arrive.
    fn send(&mut self, bytes: Bytes) {
        self.now = self.now + MESSAGE_TIME;
        self.allowed -= bytes.len();
        self.client(0, client::Input::Data { link: LINK, bytes });
        self.settle();
    }

    /// Carries so many messages; the time inside the hub.
    ///
    /// # Panics
    /// If the windows close.
    pub fn carry(&mut self, payload: &Bytes, messages: u64) -> Duration {
        self.meter = Meter { on: true, ..Meter::default() };
        let end = self.forwarded + messages;
        while self.forwarded < end {
            assert!(self.allowed >= payload.len(), "the windows are open");
            self.send(payload.clone());
        }
        std::mem::take(&mut self.meter).spent
    }
}

/// A key of its own for each number.
#[must_use]
pub fn secret(number: usize) -> [u8; 32] {
    let mut key = [1; 32];
    key[..8].copy_from_slice(&(number as u64).to_be_bytes());
    key
}

/// The client of this number: the one that has its key.
#[must_use]
pub fn instance(index: usize) -> Instance {
    Instance { peer: public_key(&secret(index)), number: index as u64 }
}
