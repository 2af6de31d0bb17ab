//! The links of a node, with sessions, tracker and peers that are played by hand.

use std::net::SocketAddr;

use bytes::BytesMut;
use towpath_core::close::{CloseReason, Incompatibility, RemoteClose};
use towpath_core::crypto::{proof, public_key};
use towpath_core::download::ChunkSet;
use towpath_core::id::{
    ChunkRef, ContentKey, Descriptor, Hash, Instance, Kind, LinkId, Locator, Secret, Space,
};
use towpath_core::node::{
    self, Config, ContentsShape, IncomingFrom, Node, Sink, StoreResult, Transmit,
};
use towpath_core::output::Output;
use towpath_core::path::{DialError, Policy};
use towpath_core::rng::Rng;
use towpath_core::session::{Command, Event, Suite};
use towpath_core::time::Instant;
use towpath_core::tracker_api::{PeerEntry, Response};
use towpath_core::wire::{Handle, Message, RequestId, Unavailable};

use super::{Input, START, State, Table, bare, tick_time};

const KEY: ContentKey = ContentKey(0);
const LINK: LinkId = LinkId(0);
const HASH: [u8; 32] = [5; 32];
const CHUNK: ChunkRef = ChunkRef { space: Space::Root, index: 0 };

struct Driven {
    node: Node,
    now: Instant,
    deadline: Instant,
    /// Calls that the tracker has not answered.
    calls: Vec<node::CallId>,
    /// The last request on the link.
    request: Option<RequestId>,
}

fn instance(key: u8) -> Instance {
    Instance { peer: public_key(&[key; 32]), number: u64::from(key) }
}

fn secret() -> Secret {
    Secret::new([4; 32])
}

const fn descriptor() -> Descriptor {
    Descriptor { kind: Kind::File, length_bytes: 100, root: Hash([3; 32]) }
}

fn locator() -> Locator {
    descriptor().locator(Some(&secret()))
}

impl Driven {
    fn new() -> Self {
        let config = Config {
            me: instance(1),
            prefer_aes: false,
            accept_strangers: false,
            limit_up_bytes_per_second: None,
            limit_down_bytes_per_second: None,
        };
        let node = Node::new(START, Rng::new([1; 32]), config);
        let (now, deadline) = (START, START);
        Self { node, now, deadline, calls: Vec::new(), request: None }
    }

    fn put(&mut self, input: node::Input) -> bool {
        self.node.handle_input(self.now, input);
        true
    }

    fn event(&mut self, event: Event) -> bool {
        self.put(node::Input::Session { link: LINK, event })
    }

    fn message(&mut self, message: Message) -> bool {
        // A session tells of messages only while it is established.
        matches!(self.state().as_str(), "up" | "closing") && self.event(Event::Message(message))
    }

    fn tick(&mut self) -> bool {
        self.now = tick_time(self.now, self.deadline);
        self.put(node::Input::Tick)
    }

    fn drain(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            match self.node.poll_output() {
                Output::Timeout(at) => {
                    self.deadline = at;
                    return said;
                }
                Output::Transmit(transmit) => said.push(self.note(transmit)),
                Output::Event(event) => said.push(name(&event)),
            }
        }
    }

    /// Remembers what is to be answered; what was said in short.
    fn note(&mut self, transmit: Transmit) -> String {
        match transmit {
            Transmit::Call { call, request, .. } => {
                self.calls.push(call);
                format!("Call({})", name(&request))
            }
            Transmit::Session { command: Command::Send(message), .. } => {
                format!("Send({})", name(&message))
            }
            Transmit::Session { command: Command::Close(reason), .. } => {
                bare(&format!("Close({reason:?})"), "Misbehaviour")
            }
            Transmit::Session { command, .. } => {
                if let Command::Request { request, .. } = command {
                    self.request = Some(request);
                }
                name(&command)
            }
            transmit => name(&transmit),
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
        let debug = format!("{:?}", self.node);
        let Some((_, link)) = debug.split_once("LinkId(0): Link {") else { return "none".into() };
        let (_, rest) = link.split_once("state: ").expect("a link has a state");
        let state: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
        state.to_lowercase()
    }
}

fn name(what: &impl std::fmt::Debug) -> String {
    let debug = format!("{what:?}");
    debug.chars().take_while(char::is_ascii_alphanumeric).collect()
}

/// The peer's share, or ours.
fn share(driven: &mut Driven) -> bool {
    driven.put(node::Input::Share {
        content: KEY,
        descriptor: descriptor(),
        secret: Some(secret()),
        name: "name".into(),
        contents: None,
    })
}

fn incoming(driven: &mut Driven) -> bool {
    let from = IncomingFrom::Tcp(SocketAddr::from(([192, 0, 2, 2], 9)));
    driven.put(node::Input::Incoming { incoming: 3, from })
}

fn get(driven: &mut Driven) -> bool {
    driven.put(node::Input::Get {
        content: KEY,
        locator: locator(),
        secret: Some(secret()),
        policy: Policy::Direct,
        sink: Sink::Store,
        serve: false,
        timeout: None,
    })
}

fn found(driven: &mut Driven) -> bool {
    let entry = PeerEntry {
        instance: instance(2),
        addresses: vec![SocketAddr::from(([192, 0, 2, 2], 1))],
        suites: vec![Suite::ChaChaPoly],
        relay: false,
        seeder: true,
    };
    let result = Ok(Response::Peers(vec![entry]));
    driven.calls.pop().is_some_and(|call| driven.put(node::Input::Reply { call, result }))
}

fn established(driven: &mut Driven) -> bool {
    let Instance { peer, number: instance } = instance(2);
    let (suite, handshake_hash) = (Suite::ChaChaPoly, HASH);
    driven.state() == "connecting"
        && driven.event(Event::Established { peer, instance, suite, handshake_hash })
}

fn open(driven: &mut Driven) -> bool {
    let (handle, locator) = (Handle(0), locator());
    let proof = proof::make(&secret(), proof::REQUESTER, locator, &HASH);
    driven.message(Message::Open { handle, locator, proof })
}

fn opened(driven: &mut Driven) -> bool {
    let proof = proof::make(&secret(), proof::SEEDER, locator(), &HASH);
    let (handle, descriptor, name) = (Handle(0), descriptor(), "name".into());
    driven.message(Message::Opened { handle, proof, descriptor, name })
}

fn has_all(driven: &mut Driven) -> bool {
    driven.message(Message::HaveAll { handle: Handle(0), space: Space::Root })
}

fn begin(driven: &mut Driven) -> bool {
    let shape = ContentsShape { chunks: 1, bytes: 100 };
    let (space, have) = (Space::Root, ChunkSet::empty(1));
    driven.put(node::Input::Begin { content: KEY, space, shape, have })
}

fn request(driven: &mut Driven) -> bool {
    let (request, handle) = (RequestId(7), Handle(0));
    driven.message(Message::Request { request, handle, chunk: CHUNK })
}

fn sharing() -> Driven {
    Driven::new().after(&[share, incoming])
}

fn getting() -> Driven {
    Driven::new().after(&[get, found])
}

fn fetching() -> Driven {
    getting().after(&[established, opened, has_all, begin])
}

#[test]
fn node_links() {
    Table {
        name: "node-links",
        about: "One link of a node: theirs, to a share of ours, and ours, to a share that is \
                fetched. Of what is said the names\nare shown.",
        states: vec![
            State("none", || Driven::new().after(&[share])),
            State("connecting, theirs", sharing),
            State("connecting, ours", getting),
            State("up, theirs", || sharing().after(&[established])),
            State("up, theirs, share opened", || sharing().after(&[established, open])),
            State("up, theirs, serving", || sharing().after(&[established, open, request])),
            State("up, ours, Open said", || getting().after(&[established])),
            State("up, ours, share opened", || getting().after(&[established, opened])),
            State("up, ours, chunk asked for", fetching),
            State("closing, theirs", || {
                sharing().after(&[established, |driven| {
                    driven.message(Message::Complete { handle: Handle(9) })
                }])
            }),
        ],
        inputs: [session_inputs(), requester_inputs(), seeder_inputs(), other_inputs()]
            .into_iter()
            .flatten()
            .collect(),
        drain: Driven::drain,
        state: Driven::state,
    }
    .check();
}

/// The life of the session.
fn session_inputs() -> Vec<Input<Driven>> {
    vec![
        Input("Established (the right one)", established),
        Input("Established (another one)", |driven| {
            let Instance { peer, number: instance } = instance(8);
            let (suite, handshake_hash) = (Suite::ChaChaPoly, HASH);
            driven.state() == "connecting"
                && driven.event(Event::Established { peer, instance, suite, handshake_hash })
        }),
        Input("Established (ourselves)", |driven| {
            let Instance { peer, number: instance } = instance(1);
            let (suite, handshake_hash) = (Suite::ChaChaPoly, HASH);
            driven.state() == "connecting"
                && driven.event(Event::Established { peer, instance, suite, handshake_hash })
        }),
        Input("DialFailed (refused)", |driven| {
            let error = DialError::Refused;
            driven.put(node::Input::DialFailed { link: LINK, error })
        }),
        Input("Closed (Bye)", |driven| {
            driven.event(Event::Closed(CloseReason::Remote(RemoteClose::Bye)))
        }),
        Input("Closed (another key)", |driven| {
            driven.event(Event::Closed(CloseReason::Incompatible(Incompatibility::Key)))
        }),
    ]
}

/// What a peer says that fetches from us.
fn requester_inputs() -> Vec<Input<Driven>> {
    vec![
        Input("Open (right proof)", open),
        Input("Open (wrong proof)", |driven| {
            let (handle, locator) = (Handle(1), locator());
            driven.message(Message::Open { handle, locator, proof: [0; 32] })
        }),
        Input("Open (unknown share)", |driven| {
            let (handle, locator) = (Handle(1), Locator([0; 32]));
            driven.message(Message::Open { handle, locator, proof: [0; 32] })
        }),
        Input("Request", request),
        Input("Request (share not opened)", |driven| {
            let (request, handle) = (RequestId(8), Handle(9));
            driven.message(Message::Request { request, handle, chunk: CHUNK })
        }),
        Input("Request (chunk 5, not there)", |driven| {
            let chunk = ChunkRef { index: 5, ..CHUNK };
            let (request, handle) = (RequestId(8), Handle(0));
            driven.message(Message::Request { request, handle, chunk })
        }),
        Input("Cancel", |driven| driven.message(Message::Cancel { request: RequestId(7) })),
        Input("Served", |driven| {
            driven.event(Event::Served { request: RequestId(7), result: Ok(100) })
        }),
        Input("Complete", |driven| driven.message(Message::Complete { handle: Handle(0) })),
    ]
}

/// What a peer says from whom we fetch.
fn seeder_inputs() -> Vec<Input<Driven>> {
    vec![
        Input("Opened (right proof)", opened),
        Input("Opened (wrong proof)", |driven| {
            let (handle, descriptor, name) = (Handle(0), descriptor(), "name".into());
            driven.message(Message::Opened { handle, proof: [0; 32], descriptor, name })
        }),
        Input("Refused", |driven| driven.message(Message::Refused { handle: Handle(0) })),
        Input("HaveAll", has_all),
        Input("Chunk", |driven| {
            let (Some(request), proof) = (driven.request, Vec::new()) else { return false };
            driven.event(Event::Chunk { request, proof, data: BytesMut::zeroed(100) })
        }),
        Input("Unavailable (withdrawn)", |driven| {
            let (Some(request), why) = (driven.request, Unavailable::Withdrawn) else {
                return false;
            };
            driven.message(Message::Unavailable { request, why })
        }),
    ]
}

/// The clock, the application and the store.
fn other_inputs() -> Vec<Input<Driven>> {
    vec![
        Input("Tick at the deadline", Driven::tick),
        Input("Incoming (another stream)", incoming),
        Input("ChunkStored (that nobody sent)", |driven| {
            let (result, buffer) = (StoreResult::Written, BytesMut::zeroed(100));
            let (content, chunk, link) = (KEY, CHUNK, LINK);
            driven.put(node::Input::ChunkStored { content, chunk, link, result, buffer })
        }),
        Input("Stop", |driven| driven.put(node::Input::Stop(KEY))),
        Input("Shutdown", |driven| driven.put(node::Input::Shutdown)),
    ]
}
