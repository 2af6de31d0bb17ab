//! The node among the machines that obey the laws: an application, a driver, a tracker and peers
//! that do anything at any time, with numbers small enough to meet, and proofs that are often
//! right.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use towpath_core::close::{CloseReason, Incompatibility, LocalClose, RemoteClose};
use towpath_core::crypto::proof;
use towpath_core::download::ChunkSet;
use towpath_core::id::{
    ChunkRef, ContentKey, Descriptor, Hash, Instance, Kind, LinkId, Locator, PeerId, Secret, Space,
};
use towpath_core::merkle;
use towpath_core::node::{
    self, CallId, Config, ContentsShape, IncomingFrom, Input, Node, Sink, StoreResult, Transmit,
};
use towpath_core::output::Output;
use towpath_core::path::{DialError, Policy};
use towpath_core::session::{Command, Event, Role, Suite};
use towpath_core::time::Instant;
use towpath_core::tracker_api::{CallError, PeerEntry, Request, Response};
use towpath_core::wire::{Handle, Message, RequestId, Unavailable};

use super::{Answer, Gen, Machine, answer};

/// A node, and what its driver and its application remember of what it said, so that most of what
/// comes next makes sense.
pub(super) struct Driven {
    node: Node,
    calls: Vec<(CallId, bool)>,
    links: Vec<(LinkId, Option<Instance>)>,
    up: Vec<LinkId>,
    opens: Vec<(LinkId, Handle, Locator)>,
    opened: Vec<(LinkId, Handle)>,
    requests: Vec<(LinkId, RequestId)>,
    serves: Vec<(LinkId, RequestId)>,
    stores: Vec<(ContentKey, ChunkRef, LinkId)>,
    deliveries: Vec<(ContentKey, ChunkRef)>,
    described: Vec<(ContentKey, Descriptor)>,
}

/// An answer to something that the node said, chosen by a number; anything; or the end.
pub(super) enum Act {
    Any(Input),
    Reply(usize, Result<Response, CallError>),
    Establish(usize, Option<u64>),
    Close(usize, CloseReason),
    Opened(usize, bool),
    Have(usize, bool),
    Chunk(usize),
    Served(usize, Result<usize, Unavailable>),
    Say(usize, Message),
    Stored(usize, StoreResult),
    Delivered(usize),
    Begin(usize),
    End,
}

const HASH: [u8; 32] = [9; 32];

pub(super) fn node() -> Machine<Driven, Act> {
    Machine {
        new: |now, random| {
            let limit = random.pick(&[None, Some(0), Some(1_000_000)]);
            let config = Config {
                me: instance(0),
                prefer_aes: random.flip(),
                accept_strangers: random.flip(),
                limit_up_bytes_per_second: limit,
                limit_down_bytes_per_second: random.pick(&[None, None, limit]),
            };
            Driven::new(Node::new(now, random.rng(), config))
        },
        put: Driven::put,
        poll: Driven::poll,
        input: act,
        tick: || Act::Any(Input::Tick),
        finish: || vec![Act::End],
    }
}

impl Driven {
    fn new(node: Node) -> Self {
        Self {
            node,
            calls: Vec::new(),
            links: Vec::new(),
            up: Vec::new(),
            opens: Vec::new(),
            opened: Vec::new(),
            requests: Vec::new(),
            serves: Vec::new(),
            stores: Vec::new(),
            deliveries: Vec::new(),
            described: Vec::new(),
        }
    }

    fn put(&mut self, now: Instant, act: Act) {
        if matches!(act, Act::End) {
            self.node.handle_input(now, Input::Shutdown);
            return self.node.handle_input(now + Duration::from_secs(3), Input::Tick);
        }
        let input = self.input(act).unwrap_or(Input::Tick);
        self.node.handle_input(now, input);
    }

    /// What the act is, if there is anything to act on.
    fn input(&mut self, act: Act) -> Option<Input> {
        let session = |link, event| Some(Input::Session { link, event });
        match act {
            Act::Any(input) => Some(input),
            Act::Reply(pick, result) => {
                let (call, lookup) = take(&mut self.calls, pick)?;
                let fits = matches!(result, Ok(Response::Peers(_))) == lookup || result.is_err();
                let done = Ok(Response::Done { next_heartbeat_seconds: Some(5) });
                Some(Input::Reply { call, result: if fits { result } else { done } })
            }
            Act::Establish(pick, number) => {
                let (link, expected) = take(&mut self.links, pick)?;
                self.up.push(link);
                let Instance { peer, number: expected } = expected.unwrap_or(instance(2));
                let instance = number.unwrap_or(expected);
                let (suite, handshake_hash) = (Suite::ChaChaPoly, HASH);
                session(link, Event::Established { peer, instance, suite, handshake_hash })
            }
            Act::Close(pick, reason) => session(take(&mut self.up, pick)?, Event::Closed(reason)),
            Act::Opened(pick, honest) => {
                let (link, handle, locator) = take(&mut self.opens, pick)?;
                let secrets = [None, Some(Secret::new([7; 32]))];
                let meant = secrets.iter().flat_map(|secret| {
                    (0..3).map(move |number| (secret.clone(), descriptor(number)))
                });
                let mut meant = meant.filter(|(s, what)| what.locator(s.as_ref()) == locator);
                let (secret, what) = meant.next()?;
                self.opened.push((link, handle));
                let secret = secret.unwrap_or(Secret::PUBLIC);
                let proof = proof::make(&secret, proof::SEEDER, locator, &HASH);
                let descriptor = if honest { what } else { descriptor(0) };
                let name = "other".into();
                let opened = Message::Opened { handle, proof, descriptor, name };
                session(link, Event::Message(opened))
            }
            Act::Have(pick, all) => {
                let (link, handle) = look(&self.opened, pick)?;
                let space = Space::Root;
                let bits = vec![0xF0];
                session(
                    link,
                    Event::Message(match all {
                        true => Message::HaveAll { handle, space },
                        false => Message::HaveBits { handle, space, first: 0, bits },
                    }),
                )
            }
            Act::Chunk(pick) => {
                let (link, request) = take(&mut self.requests, pick)?;
                let data = BytesMut::zeroed(100);
                session(link, Event::Chunk { request, proof: Vec::new(), data })
            }
            Act::Served(pick, result) => {
                let (link, request) = take(&mut self.serves, pick)?;
                session(link, Event::Served { request, result })
            }
            Act::Say(pick, message) => {
                let link = look(&self.up, pick)?;
                session(link, Event::Message(message))
            }
            Act::Stored(pick, result) => {
                let (content, chunk, link) = take(&mut self.stores, pick)?;
                let buffer = BytesMut::zeroed(100);
                Some(Input::ChunkStored { content, chunk, link, result, buffer })
            }
            Act::Delivered(pick) => {
                let (content, chunk) = take(&mut self.deliveries, pick)?;
                Some(Input::Delivered { content, chunk, buffer: BytesMut::new() })
            }
            Act::Begin(pick) => {
                let (content, what) = look(&self.described, pick)?;
                let bytes = what.length_bytes;
                let (space, shape) = match what.kind {
                    Kind::Manifest if pick % 2 == 0 => {
                        (Space::Contents, ContentsShape { chunks: 12, bytes: 3_000_000 })
                    }
                    Kind::File | Kind::Manifest => {
                        let chunks = merkle::chunk_count(bytes);
                        (Space::Root, ContentsShape { chunks, bytes })
                    }
                };
                let have = ChunkSet { bits: vec![0x40], len: 8 };
                Some(Input::Begin { content, space, shape, have })
            }
            Act::End => None,
        }
    }

    fn poll(&mut self) -> Answer {
        let output = self.node.poll_output();
        match &output {
            Output::Transmit(transmit) => self.note(transmit),
            Output::Event(node::Event::Described { content, descriptor, .. }) => {
                self.described.push((*content, *descriptor));
            }
            Output::Event(_) | Output::Timeout(_) => {}
        }
        answer(&output)
    }

    fn note(&mut self, transmit: &Transmit) {
        match transmit {
            Transmit::Dial { link, setup, .. } => {
                let Role::Initiator { remote: Some(peer), .. } = setup.role else { return };
                let number = u64::from(peer.0[0]);
                self.links.push((*link, Some(Instance { peer, number })));
            }
            Transmit::OpenCircuit { link, to, .. } => self.links.push((*link, Some(*to))),
            Transmit::Accept { link, .. } => self.links.push((*link, None)),
            Transmit::Abandon { link } => self.links.retain(|(other, _)| other != link),
            Transmit::Call { call, request, .. } => {
                self.calls.push((*call, matches!(request, Request::Lookup { .. })));
            }
            Transmit::StoreChunk { content, chunk, link, .. } => {
                self.stores.push((*content, *chunk, *link));
            }
            Transmit::Deliver { content, chunk, .. } => self.deliveries.push((*content, *chunk)),
            Transmit::Session { link, command } => match command {
                Command::Send(Message::Open { handle, locator, .. }) => {
                    self.opens.push((*link, *handle, *locator));
                }
                Command::Request { request, .. } => self.requests.push((*link, *request)),
                Command::Serve { request, .. } => self.serves.push((*link, *request)),
                _ => {}
            },
            Transmit::Refuse { .. } | Transmit::WantRelay(_) => {}
        }
    }
}

/// One of the newest of them, if there is any.
fn take<T>(from: &mut Vec<T>, pick: usize) -> Option<T> {
    let last = from.len().checked_sub(1)?;
    Some(from.remove(last - pick % from.len()))
}

/// The same, left where it is.
fn look<T: Copy>(from: &[T], pick: usize) -> Option<T> {
    let last = from.len().checked_sub(1)?;
    from.get(last - pick % from.len()).copied()
}

fn act(random: &mut Gen) -> Act {
    let pick = random.pick(&[0, 0, 0, 1, 1, 2, 3, 5]);
    match random.below(60) {
        0..=7 => Act::Reply(pick, reply(random)),
        8..=16 => Act::Establish(pick, (random.below(12) == 0).then_some(77)),
        17 if random.flip() => Act::Close(pick, closed(random)),
        17..=26 => Act::Opened(pick, random.below(12) > 0),
        27..=31 => Act::Have(pick, random.flip()),
        32..=37 => Act::Chunk(pick),
        38 | 39 => Act::Served(pick, served(random)),
        40..=42 => Act::Say(pick, message(random)),
        43..=47 => Act::Stored(pick, stored(random)),
        48 | 49 => Act::Delivered(pick),
        50..=54 => Act::Begin(pick),
        _ => Act::Any(input(random)),
    }
}

fn instance(number: u64) -> Instance {
    Instance { peer: PeerId([number as u8; 32]), number }
}

fn descriptor(number: u64) -> Descriptor {
    let kind = if number == 2 { Kind::Manifest } else { Kind::File };
    Descriptor { kind, length_bytes: [0, 1_300_000, 600_000][number as usize], root: Hash([5; 32]) }
}

fn secret(random: &mut Gen) -> Option<Secret> {
    (random.below(3) > 0).then(|| Secret::new([7; 32]))
}

fn input(random: &mut Gen) -> Input {
    let content = ContentKey(random.below(5) as u32);
    match random.below(32) {
        0 => Input::Share {
            content,
            descriptor: descriptor(random.below(3)),
            secret: secret(random),
            name: "name".into(),
            contents: random.flip().then_some(ContentsShape { chunks: 12, bytes: 3_000_000 }),
        },
        1..=3 => {
            let secret = secret(random);
            Input::Get {
                content,
                locator: descriptor(random.below(3)).locator(secret.as_ref()),
                secret,
                policy: random.pick(&[Policy::Auto, Policy::Direct, Policy::Relay]),
                sink: random.pick(&[Sink::Store, Sink::Store, Sink::Ordered]),
                serve: random.flip(),
                timeout: random.flip().then_some(Duration::from_secs(random.below(60))),
            }
        }
        4..=6 => Input::Begin {
            content,
            space: random.pick(&[Space::Root, Space::Root, Space::Contents]),
            shape: random.pick(&[
                ContentsShape { chunks: 5, bytes: 1_300_000 },
                ContentsShape { chunks: 0, bytes: 0 },
                ContentsShape { chunks: 40, bytes: 7 },
            ]),
            have: ChunkSet { bits: vec![random.below(256) as u8], len: random.below(20) },
        },
        7 => Input::Finished(content),
        8 if random.below(3) == 0 => Input::Stop(content),
        8 | 9 => {
            Input::Listening { addresses: (0..random.below(20) as u16).map(address).collect() }
        }
        10 | 11 => Input::Incoming {
            incoming: random.below(100),
            from: if random.flip() {
                IncomingFrom::Tcp(address(random.below(3) as u16))
            } else {
                IncomingFrom::Circuit(instance(random.below(4)).peer)
            },
        },
        12 => Input::DialFailed { link: link(random), error: DialError::Refused },
        13 | 14 => Input::Relay { token: random.flip().then(|| "token".into()) },
        15..=19 => Input::Reply { call: CallId(random.below(30)), result: reply(random) },
        20 | 21 => Input::ChunkStored {
            content,
            chunk: chunk(random),
            link: link(random),
            result: stored(random),
            buffer: BytesMut::new(),
        },
        22 => Input::Delivered { content, chunk: chunk(random), buffer: BytesMut::zeroed(3) },
        _ => Input::Session { link: link(random), event: event(random) },
    }
}

fn address(number: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, number as u8], 1_000 + number))
}

fn link(random: &mut Gen) -> LinkId {
    LinkId(random.below(12))
}

fn chunk(random: &mut Gen) -> ChunkRef {
    let space = random.pick(&[Space::Root, Space::Root, Space::Contents]);
    ChunkRef { space, index: random.pick(&[0, 1, 2, 3, 4, 5, 39, u64::MAX]) }
}

fn reply(random: &mut Gen) -> Result<Response, CallError> {
    let entry = |random: &mut Gen| PeerEntry {
        instance: instance(random.below(5)),
        addresses: (0..random.below(3) as u16).map(address).collect(),
        suites: vec![Suite::AesGcm, Suite::ChaChaPoly],
        relay: random.flip(),
        seeder: random.flip(),
    };
    match random.below(30) {
        0 => Err(CallError::Unauthorized),
        1 => Err(CallError::NotFound),
        2 => Err(CallError::Busy { retry_after_seconds: u32::MAX }),
        3 => Err(CallError::Unreachable("down".into())),
        4 => Ok(Response::Done { next_heartbeat_seconds: Some(random.below(100) as u32) }),
        5 => Ok(Response::Done { next_heartbeat_seconds: None }),
        _ => Ok(Response::Peers((0..random.below(5)).map(|_| entry(random)).collect())),
    }
}

fn event(random: &mut Gen) -> Event {
    let request = RequestId(random.below(6) as u32);
    match random.below(30) {
        0..=5 => {
            let Instance { peer, number } = instance(random.below(5));
            Event::Established {
                peer,
                instance: if random.below(8) == 0 { 77 } else { number },
                suite: Suite::ChaChaPoly,
                handshake_hash: HASH,
            }
        }
        6 => Event::Progress { request, bytes: 10 },
        7..=9 => {
            let data = BytesMut::zeroed(random.pick(&[1, 262_144]));
            Event::Chunk { request, proof: Vec::new(), data }
        }
        10 | 11 => Event::Served { request, result: served(random) },
        12 => Event::Closed(closed(random)),
        _ => Event::Message(message(random)),
    }
}

fn message(random: &mut Gen) -> Message {
    let handle = Handle(random.below(3) as u32);
    let request = RequestId(random.below(6) as u32);
    let secret = secret(random);
    let what = descriptor(random.below(3));
    let locator = what.locator(secret.as_ref());
    let key = secret.unwrap_or(Secret::PUBLIC);
    let role = random.pick(&[proof::REQUESTER, proof::SEEDER]);
    let proof = proof::make(&key, role, locator, &HASH);
    match random.below(16) {
        0..=2 => Message::Open { handle, locator, proof },
        3..=6 => Message::Opened { handle, proof, descriptor: what, name: "other".into() },
        7 => Message::Refused { handle },
        8 => Message::HaveAll { handle, space: chunk(random).space },
        9 => Message::HaveBits {
            handle,
            space: chunk(random).space,
            first: random.pick(&[0, 8, 16, 1 << 25, u64::MAX - 7]),
            bits: vec![0xFF; random.below(9) as usize],
        },
        10 => Message::HaveChunk { handle, chunk: chunk(random) },
        11 | 12 => Message::Request { request, handle, chunk: chunk(random) },
        13 => Message::Cancel { request },
        14 => Message::Unavailable {
            request,
            why: random.pick(&[Unavailable::NotHad, Unavailable::SourceChanged]),
        },
        _ => Message::Complete { handle },
    }
}

fn stored(random: &mut Gen) -> StoreResult {
    match random.below(16) {
        0 => StoreResult::False,
        1 => StoreResult::Failed("full".into()),
        _ => StoreResult::Written,
    }
}

fn served(random: &mut Gen) -> Result<usize, Unavailable> {
    let failures = [Unavailable::SourceChanged, Unavailable::Withdrawn, Unavailable::ReadFailed];
    if random.below(4) == 0 { Err(random.pick(&failures)) } else { Ok(262_144) }
}

fn closed(random: &mut Gen) -> CloseReason {
    random.pick(&[
        CloseReason::Remote(RemoteClose::Bye),
        CloseReason::Local(LocalClose::Done),
        CloseReason::Incompatible(Incompatibility::Suite),
    ])
}
