//! The relay's client, with a hub that is played by hand.

use std::net::{IpAddr, Ipv4Addr};

use bytes::{Bytes, BytesMut};
use towpath_core::crypto::public_key;
use towpath_core::id::{Instance, LinkId};
use towpath_core::output::Output;
use towpath_core::relay::client::{self, Client, Config, Event, Transmit};
use towpath_core::relay::frame::{
    CircuitEnd, FIRST_HUB_CIRCUIT, Goodbye, OpenError, ToClient, begin_data,
};
use towpath_core::rng::Rng;
use towpath_core::time::Instant;

use super::relay::{HOST, Hand};
use super::{Input, START, State, Table, bare, tick_time};

const LINK: LinkId = LinkId(1);
/// The client's first circuit, and the hub's.
const OURS: u32 = 1;
const THEIRS: u32 = FIRST_HUB_CIRCUIT;

struct Relayed {
    client: Client,
    now: Instant,
    deadline: Instant,
    hub: Hand,
    unsent: usize,
    /// Whether link 1 has been used.
    has_link: bool,
}

fn other() -> Instance {
    Instance { peer: public_key(&[9; 32]), number: 9 }
}

impl Relayed {
    fn new() -> Self {
        let me = Instance { peer: public_key(&[1; 32]), number: 1 };
        let config = Config { me, secret_key: [1; 32], host: HOST.into() };
        let client = Client::new(START, Rng::new([1; 32]), config);
        let hub = Hand::new(false, 2);
        let mut this =
            Self { client, now: START, deadline: START, hub, unsent: 0, has_link: false };
        this.drain();
        this
    }

    fn put(&mut self, input: client::Input) -> bool {
        self.client.handle_input(self.now, input);
        true
    }

    fn tick(&mut self) -> bool {
        self.now = tick_time(self.now, self.deadline);
        self.put(client::Input::Tick)
    }

    fn message(&mut self, message: &ToClient) -> bool {
        let sealed = self.hub.seal(&message.encode());
        sealed.is_some_and(|sealed| self.put(client::Input::Message(sealed)))
    }

    fn data(&mut self, circuit: u32) -> bool {
        let mut frame = begin_data(circuit, 100);
        frame.extend_from_slice(&[7; 100]);
        self.hub.has_keys() && self.put(client::Input::Message(frame))
    }

    fn drain(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            match self.client.poll_output() {
                Output::Timeout(at) => {
                    self.deadline = at;
                    return said;
                }
                Output::Transmit(Transmit::Send { message }) => {
                    self.unsent += message.len();
                    said.push(format!("Send({})", self.hub.hear(&message, false)));
                }
                Output::Transmit(Transmit::Deliver { bytes, .. }) => {
                    said.push(format!("Deliver({} bytes)", bytes.len()));
                }
                Output::Transmit(transmit) => {
                    said.push(short(&transmit));
                }
                Output::Event(Event::Incoming { incoming, .. }) => {
                    said.push(format!("Incoming({incoming})"));
                }
                Output::Event(event) => said.push(short(&event)),
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
        let debug = format!("{:?}", self.client);
        let (_, rest) = debug.split_once("phase: ").expect("it shows its phase");
        rest.chars().take_while(char::is_ascii_alphabetic).collect()
    }
}

fn short(output: &impl std::fmt::Debug) -> String {
    bare(&format!("{output:?}"), "LinkId").replace("the relay broke the protocol: ", "broken: ")
}

fn want(relayed: &mut Relayed) -> bool {
    relayed.put(client::Input::Want(true))
}

fn do_not_want(relayed: &mut Relayed) -> bool {
    relayed.put(client::Input::Want(false))
}

fn connected(relayed: &mut Relayed) -> bool {
    relayed.put(client::Input::Connected { ephemeral: [3; 32] })
}

fn handshake(relayed: &mut Relayed) -> bool {
    if relayed.state() != "Handshake" {
        return false;
    }
    let message = relayed.hub.next_message();
    message.is_some_and(|message| relayed.put(client::Input::Message(message)))
}

fn welcome(relayed: &mut Relayed) -> bool {
    let (token, observed) = ("token".into(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    relayed.message(&ToClient::Welcome { token, observed, max_circuits: 8 })
}

fn sent(relayed: &mut Relayed) -> bool {
    let bytes = std::mem::take(&mut relayed.unsent);
    relayed.put(client::Input::Sent { bytes })
}

fn open(relayed: &mut Relayed) -> bool {
    relayed.has_link = true;
    relayed.put(client::Input::Open { link: LINK, to: other() })
}

fn opened(relayed: &mut Relayed) -> bool {
    let (window_bytes, hub_bytes) = (1_000_000, 100_000);
    relayed.message(&ToClient::Opened { circuit: OURS, window_bytes, hub_bytes })
}

fn incoming(relayed: &mut Relayed) -> bool {
    let (from, window_bytes, hub_bytes) = (other(), 1_000_000, 100_000);
    relayed.message(&ToClient::Incoming { circuit: THEIRS, from, window_bytes, hub_bytes })
}

fn data(relayed: &mut Relayed) -> bool {
    relayed.put(client::Input::Data { link: LINK, bytes: Bytes::from_static(&[7; 100]) })
}

fn close(relayed: &mut Relayed) -> bool {
    relayed.put(client::Input::Close { link: LINK })
}

fn online() -> Relayed {
    Relayed::new().after(&[want, connected, handshake, welcome, sent])
}

#[test]
fn relay_client() {
    Table {
        name: "relay-client",
        about: "The client of one relay. Link 1 is the circuit that it opens (number 1 on the \
                wire); H1 is the first circuit that\nthe hub rings with, which is the client's \
                call 0.",
        states: vec![
            State("Off", Relayed::new),
            State("Connecting", || Relayed::new().after(&[want])),
            State("Waiting, after a failure", || Relayed::new().after(&[want, Relayed::tick])),
            State("Handshake", || Relayed::new().after(&[want, connected])),
            State("Login", || Relayed::new().after(&[want, connected, handshake])),
            State("Online", online),
            State("Online, silent for a while", || online().after(&[Relayed::tick, sent])),
            State("Online, calls", || online().after(&[open, sent])),
            State("Online, rung by H1", || online().after(&[incoming])),
            State("Online, link 1 open", || online().after(&[open, opened, sent])),
            State("Online, link 1 open, all in the socket", || {
                online().after(&[open, opened, sent, data])
            }),
            State("Online, link 1 open, leaving", || {
                online().after(&[open, opened, sent, do_not_want])
            }),
        ],
        inputs: [own_inputs(), hub_inputs()].into_iter().flatten().collect(),
        drain: Relayed::drain,
        state: Relayed::state,
    }
    .check();
}

/// The clock, the node, the sessions and the socket.
fn own_inputs() -> Vec<Input<Relayed>> {
    vec![
        Input("Tick at the deadline", Relayed::tick),
        Input("Want(true)", want),
        Input("Want(false)", do_not_want),
        Input("Connected", connected),
        Input("Disconnected", |relayed| relayed.put(client::Input::Disconnected("cut".into()))),
        Input("Sent(all)", sent),
        Input("Open(link 1)", |relayed| !relayed.has_link && open(relayed)),
        Input("Accept(call 0, link 2)", |relayed| {
            relayed.put(client::Input::Accept { incoming: 0, link: LinkId(2) })
        }),
        Input("Refuse(call 0)", |relayed| relayed.put(client::Input::Refuse { incoming: 0 })),
        Input("Data(link 1, 100 bytes)", data),
        Input("Consumed(link 1, 100 bytes)", |relayed| {
            relayed.put(client::Input::Consumed { link: LINK, bytes: 100 })
        }),
        Input("Close(link 1)", close),
    ]
}

/// The hub.
fn hub_inputs() -> Vec<Input<Relayed>> {
    vec![
        Input("Handshake message", handshake),
        Input("Welcome", welcome),
        Input("Incoming(H1)", incoming),
        Input("Opened(1)", opened),
        Input("OpenFailed(1, absent)", |relayed| {
            relayed.message(&ToClient::OpenFailed { circuit: OURS, reason: OpenError::Absent })
        }),
        Input("Close(1)", |relayed| {
            relayed.message(&ToClient::Close { circuit: OURS, reason: CircuitEnd::Closed })
        }),
        Input("Close(H1)", |relayed| {
            relayed.message(&ToClient::Close { circuit: THEIRS, reason: CircuitEnd::Closed })
        }),
        Input("data of circuit 1", |relayed| relayed.data(OURS)),
        Input("Credit(1)", |relayed| {
            relayed.message(&ToClient::Credit { circuit: OURS, bytes: 50_000 })
        }),
        Input("HubCredit(1)", |relayed| {
            relayed.message(&ToClient::HubCredit { circuit: OURS, bytes: 50_000 })
        }),
        Input("Reclaim(1)", |relayed| {
            relayed.message(&ToClient::Reclaim { circuit: OURS, bytes: 50_000 })
        }),
        Input("Ping", |relayed| relayed.message(&ToClient::Ping { nonce: 1 })),
        Input("Goodbye(shutdown)", |relayed| {
            relayed.message(&ToClient::Goodbye { reason: Goodbye::Shutdown })
        }),
        Input("a control frame that nobody sealed", |relayed| {
            relayed.put(client::Input::Message(BytesMut::from(&[1; 40][..])))
        }),
    ]
}
