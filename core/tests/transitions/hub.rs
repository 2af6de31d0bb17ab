//! The hub, as one of its connections sees it; both ends of circuits are played by hand.

use std::net::{IpAddr, Ipv4Addr};

use bytes::BytesMut;
use towpath_core::crypto::public_key;
use towpath_core::id::Instance;
use towpath_core::output::Output;
use towpath_core::relay::frame::{FIRST_HUB_CIRCUIT, ToHub, begin_data};
use towpath_core::relay::hub::{self, Config, ConnId, Event, Hub, Transmit};
use towpath_core::rng::Rng;
use towpath_core::time::{Instant, UnixTime};

use super::relay::{HOST, Hand};
use super::{Input, START, State, Table, tick_time};

/// The connection that the table is about, and the other one.
const CONN: ConnId = ConnId(1);
const OTHER: ConnId = ConnId(2);
/// The circuit that either client opens, and the one that the hub rings with.
const OURS: u32 = 1;
const RINGS: u32 = FIRST_HUB_CIRCUIT;

struct Relay {
    hub: Hub,
    now: Instant,
    deadline: Instant,
    hands: [Hand; 2],
    unsent: usize,
    /// How far the connection is, by what the hub has said of it.
    is_there: bool,
    is_online: bool,
    /// Whether the other one has called.
    is_called: bool,
}

const fn index(conn: ConnId) -> usize {
    (conn.0 - 1) as usize
}

fn instance(conn: ConnId) -> Instance {
    let key = 10 + conn.0 as u8;
    Instance { peer: public_key(&[key; 32]), number: conn.0 }
}

impl Relay {
    /// A hub at which the other one is logged in.
    fn new() -> Self {
        let config = Config {
            secret_key: [1; 32],
            token_key: [2; 32],
            buffer_budget_bytes: 1 << 24,
            max_connections_per_ip: 8,
            max_connections: 8,
        };
        let hub = Hub::new(START, Rng::new([1; 32]), config);
        let (now, hands) = (START, [Hand::new(true, 11), Hand::new(true, 12)]);
        let this = Self {
            hub,
            now,
            deadline: now,
            hands,
            unsent: 0,
            is_there: false,
            is_online: false,
            is_called: false,
        };
        this.after(&[
            |relay| relay.connect(OTHER),
            |relay| relay.handshake(OTHER),
            |relay| relay.handshake(OTHER),
            |relay| relay.message(OTHER, &ToHub::Login { instance: OTHER.0 }),
        ])
    }

    fn put(&mut self, input: hub::Input) -> bool {
        self.hub.handle_input(self.now, input);
        true
    }

    fn connect(&mut self, conn: ConnId) -> bool {
        let (ip, host) = (IpAddr::V4(Ipv4Addr::LOCALHOST), HOST.into());
        let (ephemeral, unix_time) = ([20 + conn.0 as u8; 32], UnixTime(0));
        self.is_there |= conn == CONN;
        self.put(hub::Input::Connected { conn, ip, host, ephemeral, unix_time })
    }

    fn handshake(&mut self, conn: ConnId) -> bool {
        let bytes = self.hands[index(conn)].next_message();
        bytes.is_some_and(|bytes| self.put(hub::Input::Message { conn, bytes }))
    }

    fn message(&mut self, conn: ConnId, message: &ToHub) -> bool {
        let bytes = self.hands[index(conn)].seal(&message.encode());
        bytes.is_some_and(|bytes| self.put(hub::Input::Message { conn, bytes }))
    }

    fn data(&mut self, conn: ConnId, circuit: u32) -> bool {
        let mut bytes = begin_data(circuit, 100);
        bytes.extend_from_slice(&[7; 100]);
        self.hands[index(conn)].has_keys() && self.put(hub::Input::Message { conn, bytes })
    }

    fn tick(&mut self) -> bool {
        self.now = tick_time(self.now, self.deadline);
        self.put(hub::Input::Tick)
    }

    fn drain(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            match self.hub.poll_output() {
                Output::Timeout(at) => {
                    self.deadline = at;
                    return said;
                }
                Output::Transmit(Transmit::Send { conn, message }) => {
                    self.unsent += if conn == CONN { message.len() } else { 0 };
                    let words = self.hands[index(conn)].hear(&message, true);
                    said.push(format!("{}{words}", to(conn)));
                }
                Output::Transmit(Transmit::Close { conn, reason }) => {
                    self.is_there &= conn != CONN;
                    said.push(format!("{}close ({reason})", to(conn)));
                }
                Output::Event(Event::LoggedIn(conn, _)) => {
                    self.is_online |= conn == CONN;
                    said.push("LoggedIn".into());
                }
                Output::Event(Event::LoggedOut(conn, _)) => {
                    self.is_online &= conn != CONN;
                    said.push("LoggedOut".into());
                }
                Output::Event(Event::Stopped) => said.push("Stopped".into()),
            }
        }
    }

    fn after(mut self, inputs: &[fn(&mut Self) -> bool]) -> Self {
        for put in inputs {
            put(&mut self);
            self.drain();
        }
        self
    }

    fn state(&self) -> String {
        let circuits = self.hub.stats().circuits;
        match (self.is_there, self.is_online) {
            (false, _) => "absent".into(),
            (true, false) => "logging in".into(),
            (true, true) if circuits > 0 => "circuit".into(),
            (true, true) => "online".into(),
        }
    }
}

fn to(conn: ConnId) -> &'static str {
    if conn == CONN { "" } else { "to the other: " }
}

fn connect(relay: &mut Relay) -> bool {
    !relay.is_there && relay.hands[0].has_keys() == relay.is_online && relay.connect(CONN)
}

fn handshake(relay: &mut Relay) -> bool {
    relay.is_there && relay.handshake(CONN)
}

fn login(relay: &mut Relay) -> bool {
    relay.message(CONN, &ToHub::Login { instance: CONN.0 })
}

fn sent(relay: &mut Relay) -> bool {
    let bytes = std::mem::take(&mut relay.unsent);
    relay.put(hub::Input::Sent { conn: CONN, bytes })
}

fn open_to(relay: &mut Relay, from: ConnId, to: Instance) -> bool {
    relay.message(from, &ToHub::Open { circuit: OURS, to, window_bytes: 500_000 })
}

fn open(relay: &mut Relay) -> bool {
    open_to(relay, CONN, instance(OTHER))
}

fn other_opens(relay: &mut Relay) -> bool {
    relay.is_called = true;
    open_to(relay, OTHER, instance(CONN))
}

fn accept(relay: &mut Relay) -> bool {
    relay.message(CONN, &ToHub::Accept { circuit: RINGS, window_bytes: 500_000 })
}

fn other_accepts(relay: &mut Relay) -> bool {
    relay.message(OTHER, &ToHub::Accept { circuit: RINGS, window_bytes: 500_000 })
}

fn other_closes(relay: &mut Relay) -> bool {
    relay.message(OTHER, &ToHub::Close { circuit: RINGS })
}

fn online() -> Relay {
    Relay::new().after(&[connect, handshake, handshake, login, sent])
}

#[test]
fn relay_hub() {
    Table {
        name: "relay-hub",
        about: "One connection of a hub, at which another client is logged in. Circuit 1 is the \
                one that a client opens, H1 the one\nthat the hub rings with.",
        states: vec![
            State("absent", Relay::new),
            State("logging in, first message awaited", || Relay::new().after(&[connect])),
            State("logging in, third message awaited", || {
                Relay::new().after(&[connect, handshake])
            }),
            State("logging in, Login awaited", || {
                Relay::new().after(&[connect, handshake, handshake])
            }),
            State("online", online),
            State("online, silent for a while", || online().after(&[Relay::tick, sent])),
            State("circuit: calls", || online().after(&[open])),
            State("circuit: is called", || online().after(&[other_opens, sent])),
            State("circuit: open, as caller", || online().after(&[open, other_accepts, sent])),
            State("circuit: open, as called", || online().after(&[other_opens, accept, sent])),
        ],
        inputs: [socket_inputs(), client_inputs(), other_inputs()].into_iter().flatten().collect(),
        drain: Relay::drain,
        state: Relay::state,
    }
    .check();
}

/// The socket and the clock.
fn socket_inputs() -> Vec<Input<Relay>> {
    vec![
        Input("Tick at the deadline", Relay::tick),
        Input("Connected", connect),
        Input("Disconnected", |relay| {
            (relay.is_there, relay.is_online) = (false, false);
            relay.put(hub::Input::Disconnected(CONN))
        }),
        Input("Sent(all)", sent),
        Input("Shutdown", |relay| relay.put(hub::Input::Shutdown)),
    ]
}

/// Words of the client.
fn client_inputs() -> Vec<Input<Relay>> {
    vec![
        Input("Handshake message", handshake),
        Input("Login", login),
        Input("Open(1, to the other)", open),
        Input("Open(1, to nobody)", |relay| {
            let nobody = Instance { number: 77, ..instance(OTHER) };
            open_to(relay, CONN, nobody)
        }),
        Input("Accept(H1)", accept),
        Input("Refuse(H1)", |relay| relay.message(CONN, &ToHub::Refuse { circuit: RINGS })),
        Input("Close(1)", |relay| relay.message(CONN, &ToHub::Close { circuit: OURS })),
        Input("Close(H1)", |relay| relay.message(CONN, &ToHub::Close { circuit: RINGS })),
        Input("Credit(1)", |relay| {
            relay.message(CONN, &ToHub::Credit { circuit: OURS, bytes: 1_000 })
        }),
        Input("Returned(1), unasked", |relay| {
            relay.message(CONN, &ToHub::Returned { circuit: OURS, bytes: 1_000 })
        }),
        Input("data of circuit 1", |relay| relay.data(CONN, OURS)),
        Input("Ping", |relay| relay.message(CONN, &ToHub::Ping { nonce: 5 })),
        Input("Pong", |relay| relay.message(CONN, &ToHub::Pong { nonce: 1 })),
        Input("a control frame that nobody sealed", |relay| {
            let bytes = BytesMut::from(&[1; 40][..]);
            relay.put(hub::Input::Message { conn: CONN, bytes })
        }),
        Input("a frame of kind 9", |relay| {
            let bytes = BytesMut::from(&[9; 40][..]);
            relay.put(hub::Input::Message { conn: CONN, bytes })
        }),
    ]
}

/// What the other client does that concerns this one.
fn other_inputs() -> Vec<Input<Relay>> {
    vec![
        Input("the other: Accept(H1)", |relay| {
            relay.state() == "circuit" && !relay.is_called && other_accepts(relay)
        }),
        Input("the other: Refuse(H1)", |relay| {
            relay.state() == "circuit"
                && !relay.is_called
                && relay.message(OTHER, &ToHub::Refuse { circuit: RINGS })
        }),
        Input("the other: Close(H1)", |relay| {
            relay.state() == "circuit" && !relay.is_called && other_closes(relay)
        }),
        Input("the other: data of H1", |relay| {
            relay.state() == "circuit" && !relay.is_called && relay.data(OTHER, RINGS)
        }),
        Input("the other: Disconnected", |relay| relay.put(hub::Input::Disconnected(OTHER))),
    ]
}
