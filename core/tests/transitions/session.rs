//! A session, from its first byte to its last word, with a peer that is played by hand.

use bytes::BytesMut;
use towpath_core::close::{CloseReason, LocalClose};
use towpath_core::crypto::noise::{Finished, Handshake, Pattern};
use towpath_core::crypto::public_key;
use towpath_core::crypto::record::RecordCipher;
use towpath_core::id::{ChunkRef, ContentKey, Locator, Space};
use towpath_core::output::Output;
use towpath_core::rng::Rng;
use towpath_core::session::preamble::{MAGIC, PREAMBLE_BYTES, Preamble};
use towpath_core::session::{
    self, ChunkFrame, Command, Config, Event, Role, Session, Setup, Suite, Transmit,
};
use towpath_core::time::Instant;
use towpath_core::wire::{Handle, Message, RequestId, Unavailable};

use super::{Input, START, State, Table, bare, tick_time};

const OURS: [u8; 32] = [1; 32];
const THEIRS: [u8; 32] = [2; 32];
const SUITE: Suite = Suite::ChaChaPoly;
const CHUNK: ChunkRef = ChunkRef { space: Space::Root, index: 0 };

/// The session, and the other end by hand.
struct Link {
    session: Session,
    now: Instant,
    deadline: Instant,
    peer: Peer,
    established: bool,
    /// Whether request 1 is open.
    asks: bool,
    /// Bytes that the stream has not taken.
    unsent: usize,
}

/// The other end: its handshake, then its ciphers.
struct Peer {
    handshake: Option<Handshake>,
    send: Option<RecordCipher>,
    receive: Option<RecordCipher>,
    /// What the session has sent and the peer has not read.
    heard: Vec<u8>,
    /// What is still clear of it.
    clear: usize,
}

fn handshake(pattern: Pattern, initiator: bool) -> Handshake {
    let prologue = Preamble { version: 1, pattern, suite: SUITE }.encode();
    let remote = (initiator && pattern == Pattern::Ik).then(|| public_key(&OURS));
    Handshake::new(pattern, SUITE, initiator, &prologue, THEIRS, [12; 32], remote)
}

fn record(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

impl Link {
    fn new(role: Role, handshake: Handshake) -> Self {
        let clear = if matches!(role, Role::Initiator { .. }) { PREAMBLE_BYTES } else { 0 };
        let setup = Setup { role, instance: 7 };
        let config =
            Config { setup, secret_key: OURS, ephemeral: [11; 32], channel_binding: Vec::new() };
        let session = Session::new(START, Rng::new([1; 32]), config);
        let handshake = Some(handshake);
        let peer = Peer { handshake, send: None, receive: None, heard: Vec::new(), clear };
        let (now, deadline) = (START, START);
        let mut this =
            Self { session, now, deadline, peer, established: false, asks: false, unsent: 0 };
        this.drain();
        this
    }

    fn put(&mut self, input: session::Input) -> bool {
        self.session.handle_input(self.now, input);
        true
    }

    fn come(&mut self, bytes: &[u8]) -> bool {
        self.put(session::Input::Received(BytesMut::from(bytes)))
    }

    /// A command that needs an established session.
    fn tell(&mut self, command: Command) -> bool {
        self.established && self.put(session::Input::Command(command))
    }

    fn tick(&mut self) -> bool {
        self.now = tick_time(self.now, self.deadline);
        self.put(session::Input::Tick)
    }

    /// The peer's next handshake message, after it has read ours.
    fn next_message(&mut self) -> bool {
        let peer = &mut self.peer;
        let Some(handshake) = &mut peer.handshake else { return false };
        if peer.heard.len() >= 2 {
            let length = usize::from(u16::from_be_bytes([peer.heard[0], peer.heard[1]]));
            let message: Vec<u8> = peer.heard.drain(..2 + length).skip(2).collect();
            handshake.read_message(&message).expect("sessions speak well");
        }
        let bytes = match handshake.write_message() {
            Ok(message) => record(&message),
            // Ours was the last one.
            Err(_) => Vec::new(),
        };
        if peer.handshake.as_ref().is_some_and(Handshake::is_finished) {
            let finished = peer.handshake.take().map(Handshake::finish);
            let Some(Finished { send, receive, .. }) = finished else { return false };
            (peer.send, peer.receive) = (Some(send), Some(receive));
        }
        !bytes.is_empty() && self.come(&bytes)
    }

    /// A frame of the peer, once it has keys.
    fn frame(&mut self, frame: &[u8]) -> bool {
        let Some(send) = &mut self.peer.send else { return false };
        let mut sealed = frame.to_vec();
        let tag = send.seal(&mut sealed);
        sealed.extend_from_slice(&tag);
        self.come(&record(&sealed))
    }

    fn message(&mut self, message: &Message) -> bool {
        let mut frame = Vec::new();
        message.encode(&mut frame);
        self.frame(&frame)
    }

    fn chunk(&mut self, request: u32) -> bool {
        let Some(send) = &mut self.peer.send else { return false };
        let frame = ChunkFrame::new(RequestId(request), 100, 0, BytesMut::new());
        let bytes = frame.seal(send);
        self.come(&bytes)
    }

    fn drain(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            match self.session.poll_output() {
                Output::Timeout(at) => {
                    self.deadline = at;
                    return said;
                }
                Output::Transmit(Transmit::Send(bytes)) => {
                    self.unsent += bytes.len();
                    let cleared = self.peer.clear.min(bytes.len());
                    self.peer.clear -= cleared;
                    self.peer.heard.extend_from_slice(&bytes[cleared..]);
                    said.push(self.peer.hear(bytes.len()));
                }
                // After each piece that came the next one is asked for.
                Output::Transmit(Transmit::Read { .. }) => {}
                Output::Transmit(Transmit::ReadChunk { request, .. }) => {
                    said.push(format!("ReadChunk({})", request.0));
                }
                Output::Transmit(Transmit::CloseStream) => said.push("CloseStream".into()),
                Output::Event(event) => {
                    self.established |= matches!(event, Event::Established { .. });
                    said.push(short(&event));
                }
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
        let debug = format!("{:?}", self.session);
        debug.trim_start_matches("Session(").trim_end_matches(')').into()
    }
}

impl Peer {
    /// What the session has just said, in words.
    fn hear(&mut self, bytes: usize) -> String {
        let Some(receive) = &mut self.receive else { return format!("Send({bytes} bytes)") };
        let mut names = Vec::new();
        while let Some(prefix) = self.heard.first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*prefix));
            let mut sealed: Vec<u8> = self.heard.drain(..2 + length).skip(2).collect();
            let plain = receive.open_in_place(&mut sealed).expect("sessions seal well");
            let mut rest = &sealed[..plain];
            while let Some((header, after)) = rest.split_first_chunk::<5>() {
                let [kind, length @ ..] = *header;
                let body = &after[..u32::from_be_bytes(length) as usize];
                let message = Message::decode(kind, body);
                names.push(message.map_or("Chunk".into(), |message| name(&message)));
                rest = &after[body.len()..];
            }
        }
        format!("Send({})", names.join(", "))
    }
}

fn name(message: &Message) -> String {
    let debug = format!("{message:?}");
    debug.chars().take_while(char::is_ascii_alphanumeric).collect()
}

fn short(event: &Event) -> String {
    match event {
        Event::Established { instance, .. } => format!("Established(instance {instance})"),
        Event::Message(message) => format!("Message({})", name(message)),
        Event::Progress { .. } => "Progress".into(),
        Event::Chunk { request, data, .. } => format!("Chunk({}, {} B)", request.0, data.len()),
        Event::Served { request, result } => format!("Served({}, {result:?})", request.0),
        Event::Closed(reason) => bare(&format!("Closed({reason:?})"), "Misbehaviour"),
    }
}

fn calls(pattern: Pattern) -> Link {
    let remote = (pattern == Pattern::Ik).then(|| public_key(&THEIRS));
    Link::new(Role::Initiator { remote, suite: SUITE }, handshake(pattern, false))
}

fn called(pattern: Pattern) -> Link {
    let role = Role::Responder { accept_strangers: true, accept_aes: true };
    Link::new(role, handshake(pattern, true))
}

fn preamble(link: &mut Link, pattern: Pattern) -> bool {
    let bytes = Preamble { version: 1, pattern, suite: SUITE }.encode();
    link.state() == "handshaking" && link.come(&bytes)
}

fn hello(link: &mut Link) -> bool {
    link.message(&Message::Hello { version_min: 1, version_max: 1, instance: 8 })
}

fn greeting() -> Link {
    calls(Pattern::Ik).after(&[Link::next_message])
}

fn established() -> Link {
    greeting().after(&[hello, sent])
}

fn sent(link: &mut Link) -> bool {
    let bytes = std::mem::take(&mut link.unsent);
    link.put(session::Input::Sent { bytes })
}

fn ask(link: &mut Link) -> bool {
    let (request, handle) = (RequestId(1), Handle(0));
    link.asks = link.established;
    link.tell(Command::Request { request, handle, chunk: CHUNK })
}

fn asked(link: &mut Link) -> bool {
    let (request, handle) = (RequestId(5), Handle(0));
    link.message(&Message::Request { request, handle, chunk: CHUNK })
}

fn serve(link: &mut Link) -> bool {
    let (request, content) = (RequestId(5), ContentKey(0));
    link.tell(Command::Serve { request, content, chunk: CHUNK })
}

#[test]
fn session() {
    Table {
        name: "session",
        about: "One session: as initiator (calls) and as responder (called), until its handshake \
                is complete; from there on\nboth are the same. What it sends is shown by the \
                names of its messages, once the peer has keys to read them.",
        states: vec![
            State("handshaking: calls with IK", || calls(Pattern::Ik)),
            State("handshaking: calls with XX", || calls(Pattern::Xx)),
            State("handshaking: called, no preamble yet", || called(Pattern::Ik)),
            State("handshaking: called with IK", || {
                called(Pattern::Ik).after(&[|link| preamble(link, Pattern::Ik)])
            }),
            State("handshaking: called with XX, third awaited", || {
                called(Pattern::Xx).after(&[|link| preamble(link, Pattern::Xx), Link::next_message])
            }),
            State("greeting", greeting),
            State("established", established),
            State("established, 1 is asked for", || established().after(&[ask])),
            State("established, 5 is wanted", || established().after(&[asked])),
            State("established, 5 is being read", || established().after(&[asked, serve])),
            State("established, and silent for a while", || {
                established().after(&[Link::tick, sent])
            }),
            State("closed", || {
                established().after(&[|link| link.put(session::Input::Ended(None))])
            }),
        ],
        inputs: [stream_inputs(), message_inputs(), command_inputs()]
            .into_iter()
            .flatten()
            .collect(),
        drain: Link::drain,
        state: Link::state,
    }
    .check();
}

/// The stream and the clock.
fn stream_inputs() -> Vec<Input<Link>> {
    vec![
        Input("Tick at the deadline", Link::tick),
        Input("Sent(all)", sent),
        Input("Ended(None)", |link| link.put(session::Input::Ended(None))),
        Input("Ended(reset)", |link| link.put(session::Input::Ended(Some("reset".into())))),
        Input("Received(preamble of version 9)", |link| {
            let mut bytes = Preamble { version: 1, pattern: Pattern::Ik, suite: SUITE }.encode();
            bytes[5] = 9;
            link.state() == "handshaking" && link.come(&bytes)
        }),
        Input("Received(preamble)", |link| preamble(link, Pattern::Ik)),
        Input("Received(the peer's next handshake message)", Link::next_message),
        Input("Received(refusal: other key)", |link| {
            let bytes = [&[0, 0], &MAGIC[..], &[4]].concat();
            link.state() == "handshaking" && link.come(&bytes)
        }),
        Input("Received(GET / HTTP)", |link| link.come(b"GET / HTTP/1.1\r\n\r\n")),
        Input("Received(a record that nobody sealed)", |link| {
            link.peer.send.is_some() && link.come(&record(&[7; 40]))
        }),
    ]
}

/// Words of the peer.
fn message_inputs() -> Vec<Input<Link>> {
    vec![
        Input("Hello", hello),
        Input("Hello (version 9)", |link| {
            link.message(&Message::Hello { version_min: 9, version_max: 9, instance: 8 })
        }),
        Input("Open", |link| {
            let (handle, locator) = (Handle(3), Locator([4; 32]));
            link.message(&Message::Open { handle, locator, proof: [5; 32] })
        }),
        Input("Request(5)", asked),
        Input("Cancel(5)", |link| link.message(&Message::Cancel { request: RequestId(5) })),
        Input("Chunk(1)", |link| link.chunk(1)),
        Input("Unavailable(1)", |link| {
            let (request, why) = (RequestId(1), Unavailable::NotHad);
            link.message(&Message::Unavailable { request, why })
        }),
        Input("Ping", |link| link.message(&Message::Ping { token: 1 })),
        Input("Pong", |link| link.message(&Message::Pong { token: 1 })),
        Input("Bye", |link| link.message(&Message::Bye)),
        Input("a frame of type 99", |link| link.frame(&[99, 0, 0, 0, 0])),
    ]
}

/// Words of the node and the store.
fn command_inputs() -> Vec<Input<Link>> {
    vec![
        Input("Command Request(1)", |link| {
            // Numbers of open requests differ.
            !link.asks && ask(link)
        }),
        Input("Command Send(Cancel(1))", |link| {
            link.tell(Command::Send(Message::Cancel { request: RequestId(1) }))
        }),
        Input("Command Serve(5)", serve),
        Input("Command Forget(5)", |link| link.tell(Command::Forget { request: RequestId(5) })),
        Input("Command Send(Unavailable(5))", |link| {
            let (request, why) = (RequestId(5), Unavailable::NotHad);
            link.tell(Command::Send(Message::Unavailable { request, why }))
        }),
        Input("ChunkRead(5, whole)", |link| {
            let frame = ChunkFrame::new(RequestId(5), 100, 0, BytesMut::new());
            link.put(session::Input::ChunkRead { request: RequestId(5), result: Ok(frame) })
        }),
        Input("ChunkRead(5, cannot be read)", |link| {
            let result = Err(Unavailable::ReadFailed);
            link.put(session::Input::ChunkRead { request: RequestId(5), result })
        }),
        Input("Command Close(done)", |link| {
            link.put(session::Input::Command(Command::Close(CloseReason::Local(LocalClose::Done))))
        }),
    ]
}
