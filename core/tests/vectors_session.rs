//! Vectors of `spec/vectors` that the session must reproduce byte for byte.

use bytes::BytesMut;
use serde_json::Value;
use towpath_core::close::{CloseReason, Incompatibility, LocalClose};
use towpath_core::crypto::noise::{Handshake, Pattern};
use towpath_core::crypto::record::RecordCipher;
use towpath_core::crypto::{proof, public_key};
use towpath_core::id::{
    ChunkRef, ContentKey, Descriptor, Hash, Kind, Locator, PeerId, Secret, Space,
};
use towpath_core::output::Output;
use towpath_core::rng::Rng;
use towpath_core::session::{
    ChunkFrame, Command, Config, Event, Input, Role, Session, Setup, Suite, Transmit,
};
use towpath_core::time::Instant;
use towpath_core::wire::{Handle, Message, RequestId, Unavailable};

fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("hex text");
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex digits"))
        .collect()
}

fn key(value: &Value) -> [u8; 32] {
    unhex(value).try_into().expect("32 bytes")
}

fn load(text: &str) -> Vec<Value> {
    let value: Value = serde_json::from_str(text).expect("a JSON file");
    value["vectors"].as_array().expect("an array of vectors").clone()
}

#[test]
fn official_noise_vectors() {
    let vectors = load(include_str!("../../spec/vectors/noise.json"));
    assert_eq!(vectors.len(), 4);
    for vector in vectors {
        let name = vector["protocol_name"].as_str().unwrap();
        let pattern = if name.contains("_IK_") { Pattern::Ik } else { Pattern::Xx };
        let suite = if name.contains("AESGCM") { Suite::AesGcm } else { Suite::ChaChaPoly };
        let new = |initiator: bool, who: &str| {
            let part = |name: &str| &vector[format!("{who}_{name}")];
            let remote = part("remote_static").as_str().map(|_| PeerId(key(part("remote_static"))));
            let (secret, ephemeral) = (key(part("static")), key(part("ephemeral")));
            let prologue = unhex(part("prologue"));
            Handshake::new(pattern, suite, initiator, &prologue, secret, ephemeral, remote)
        };
        let (mut a, mut b) = (new(true, "init"), new(false, "resp"));
        let messages = vector["messages"].as_array().unwrap();
        let count = pattern.message_bytes().len();
        for (number, message) in messages[..count].iter().enumerate() {
            let (from, to) = if number % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
            let (payload, wire) = (unhex(&message["payload"]), unhex(&message["ciphertext"]));
            assert_eq!(from.write_payload(&payload).unwrap(), wire, "{name} message {number}");
            assert_eq!(to.read_payload(&wire).unwrap(), payload);
        }
        let (mut a, mut b) = (a.finish(), b.finish());
        assert_eq!(a.handshake_hash, key(&vector["handshake_hash"]));
        assert_eq!(b.handshake_hash, a.handshake_hash);
        assert_eq!(a.remote, public_key(&key(&vector["resp_static"])));
        for (number, message) in messages.iter().enumerate().skip(count) {
            let (from, to) = if number % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
            let (payload, wire) = (unhex(&message["payload"]), unhex(&message["ciphertext"]));
            let mut sealed = payload.clone();
            let tag = from.send.seal(&mut sealed);
            sealed.extend_from_slice(&tag);
            assert_eq!(sealed, wire, "{name} transport message {number}");
            let mut opened = vec![0; payload.len()];
            to.receive.open_into(&wire, &mut opened).unwrap();
            assert_eq!(opened, payload);
        }
    }
}

/// A session with its stream in memory.
struct Peer {
    session: Session,
    sent: Vec<u8>,
    established: Option<[u8; 32]>,
    chunk: Option<(Vec<Hash>, BytesMut)>,
}

impl Peer {
    fn new(role: Role, instance: u64, vector: &Value, who: &str) -> Self {
        let config = Config {
            setup: Setup { role, instance },
            secret_key: key(&vector[format!("{who}_secret_key")]),
            ephemeral: key(&vector[format!("{who}_ephemeral")]),
            channel_binding: unhex(&vector["channel_binding"]),
        };
        let session = Session::new(Instant::ZERO, Rng::new([0; 32]), config);
        let mut this = Self { session, sent: Vec::new(), established: None, chunk: None };
        this.drain();
        this
    }

    fn input(&mut self, input: Input) {
        self.session.handle_input(Instant::ZERO, input);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.session.poll_output() {
                Output::Transmit(Transmit::Send(bytes)) => self.sent.extend_from_slice(&bytes),
                Output::Event(Event::Established { handshake_hash, .. }) => {
                    self.established = Some(handshake_hash);
                }
                Output::Event(Event::Chunk { proof, data, .. }) => self.chunk = Some((proof, data)),
                Output::Timeout(_) => return,
                _ => {}
            }
        }
    }
}

/// Hands over what `from` has sent beyond the first `at` bytes; answers how much that is in all.
fn deliver(from: &Peer, to: &mut Peer, at: usize) -> usize {
    if from.sent.len() > at {
        to.input(Input::Received(BytesMut::from(&from.sent[at..])));
    }
    from.sent.len()
}

// Spec S4, S11–S13, S17, S21, M3, M14, M17
#[test]
fn whole_sessions() {
    for vector in load(include_str!("../../spec/vectors/records.json")) {
        let name = vector["name"].as_str().unwrap();
        let suite = if name.contains("AESGCM") { Suite::AesGcm } else { Suite::ChaChaPoly };
        let remote = public_key(&key(&vector["responder_secret_key"]));
        let remote = name.contains("_IK_").then_some(remote);
        let initiator = Role::Initiator { remote, suite };
        let mut a = Peer::new(initiator, 0x0102_0304_0506_0708, &vector, "initiator");
        let responder = Role::Responder { accept_strangers: true, accept_aes: true };
        let mut b = Peer::new(responder, 0x1112_1314_1516_1718, &vector, "responder");
        let (mut there, mut back) = (0, 0);
        let mut turn = |a: &mut Peer, b: &mut Peer| {
            for _ in 0..3 {
                there = deliver(a, b, there);
                back = deliver(b, a, back);
            }
        };
        turn(&mut a, &mut b);
        assert_eq!(a.established, Some(key(&vector["handshake_hash"])), "{name}");
        assert_eq!(b.established, a.established);
        let (request, content) = (RequestId(9), ContentKey(0));
        let chunk = ChunkRef { space: Space::Root, index: 5 };
        a.input(Input::Command(Command::Request { request, handle: Handle(3), chunk }));
        turn(&mut a, &mut b);
        b.input(Input::Command(Command::Serve { request, content, chunk }));
        let mut frame = ChunkFrame::new(request, 300, 2, BytesMut::new());
        frame.proof_mut()[..32].fill(0xAA);
        frame.proof_mut()[32..].fill(0xBB);
        let bytes: Vec<u8> = (0..300).map(|at: u32| (at * 7 + at / 256) as u8).collect();
        frame.body_mut().next().unwrap().copy_from_slice(&bytes);
        b.input(Input::ChunkRead { request, result: Ok(frame) });
        turn(&mut a, &mut b);
        let (proof, data) = a.chunk.as_ref().unwrap();
        assert_eq!(proof[..], [Hash([0xAA; 32]), Hash([0xBB; 32])]);
        assert_eq!(data[..], bytes[..]);
        a.input(Input::Command(Command::Close(CloseReason::Local(LocalClose::Done))));
        for (peer, who) in [(&a, "initiator"), (&b, "responder")] {
            let mut all = unhex(&vector[format!("{who}_handshake")]);
            for step in vector["steps"].as_array().unwrap() {
                if step["from"] == who {
                    all.extend(unhex(&step["record"]));
                }
            }
            assert_eq!(peer.sent, all, "{name}, {who}");
        }
    }
}

/// A responder with the keys of a vector, and what became of it.
fn respond(secret_key: [u8; 32], ephemeral: [u8; 32], takes: [bool; 2]) -> Session {
    let [accept_strangers, accept_aes] = takes;
    let role = Role::Responder { accept_strangers, accept_aes };
    let setup = Setup { role, instance: 1 };
    let config = Config { setup, secret_key, ephemeral, channel_binding: Vec::new() };
    Session::new(Instant::ZERO, Rng::new([0; 32]), config)
}

/// Hands in bytes; what it sent since, and how it ended.
fn feed(session: &mut Session, bytes: &[u8]) -> (Vec<u8>, Option<CloseReason>) {
    if !bytes.is_empty() {
        session.handle_input(Instant::ZERO, Input::Received(BytesMut::from(bytes)));
    }
    let (mut sent, mut closed) = (Vec::new(), None);
    loop {
        match session.poll_output() {
            Output::Transmit(Transmit::Send(bytes)) => sent.extend_from_slice(&bytes),
            Output::Event(Event::Closed(reason)) => closed = Some(reason),
            Output::Timeout(_) => return (sent, closed),
            _ => {}
        }
    }
}

fn incompatible(why: &Value) -> CloseReason {
    CloseReason::Incompatible(match why.as_str() {
        Some("version") => Incompatibility::Version,
        Some("pattern") => Incompatibility::Pattern,
        Some("suite") => Incompatibility::Suite,
        Some("key") => Incompatibility::Key,
        Some("not_ours") | None => Incompatibility::Magic,
        Some(other) => panic!("{other}?"),
    })
}

// Spec S6, S7, S8, S9, S10, S13
#[test]
fn preambles_and_refusals() {
    let text = include_str!("../../spec/vectors/preamble.json");
    let file: Value = serde_json::from_str(text).expect("a JSON file");
    let good = load(text);
    assert_eq!(good.len(), 4);
    for vector in &good {
        // Split anywhere it is one: the responder waits for the message behind it.
        let mut session = respond([0x22; 32], [0x44; 32], [true, true]);
        for byte in unhex(&vector["bytes"]) {
            assert_eq!(feed(&mut session, &[byte]), (Vec::new(), None));
        }
        let pattern = vector["pattern"].as_str().expect("a pattern");
        let suite = if vector["suite"] == "AESGCM" { Suite::AesGcm } else { Suite::ChaChaPoly };
        let remote = (pattern == "IK").then(|| public_key(&[0x22; 32]));
        let setup = Setup { role: Role::Initiator { remote, suite }, instance: 1 };
        let (secret_key, ephemeral) = ([0x11; 32], [0x33; 32]);
        let config = Config { setup, secret_key, ephemeral, channel_binding: Vec::new() };
        let mut session = Session::new(Instant::ZERO, Rng::new([0; 32]), config);
        assert_eq!(feed(&mut session, &[]).0[..8], unhex(&vector["bytes"]));
    }
    for vector in file["refused"].as_array().expect("a list") {
        let takes = ["takes_xx", "takes_aesgcm"].map(|name| vector[name] == true);
        let mut session = respond([0x22; 32], [0x44; 32], takes);
        let (answer, closed) = feed(&mut session, &unhex(&vector["from_initiator"]));
        assert_eq!(answer, unhex(&vector["answer"]), "{vector}");
        assert_eq!(closed, Some(incompatible(&vector["why"])), "{vector}");
    }
    for vector in file["answers"].as_array().expect("a list") {
        let remote = Some(public_key(&[0x22; 32]));
        let role = Role::Initiator { remote, suite: Suite::ChaChaPoly };
        let setup = Setup { role, instance: 1 };
        let (secret_key, ephemeral) = ([0x11; 32], [0x33; 32]);
        let config = Config { setup, secret_key, ephemeral, channel_binding: Vec::new() };
        let mut session = Session::new(Instant::ZERO, Rng::new([0; 32]), config);
        feed(&mut session, &[]);
        let (said, closed) = feed(&mut session, &unhex(&vector["bytes"]));
        assert_eq!((said, closed), (Vec::new(), Some(incompatible(&vector["means"]))), "{vector}");
    }
}

// Spec S18, S19, S25, M1, M1b, M3, M13, M14b, M17
#[test]
fn streams_that_end_a_session() {
    let file: Value =
        serde_json::from_str(include_str!("../../spec/vectors/records.json")).unwrap();
    let refused = &file["refused"];
    let streams = refused["streams"].as_array().expect("a list");
    assert!(streams.len() > 15);
    for vector in streams {
        let keys = ["responder_secret_key", "responder_ephemeral"].map(|name| key(&refused[name]));
        let mut session = respond(keys[0], keys[1], [true, true]);
        let stream = unhex(&vector["stream"]);
        // Handshake, `Hello`, and then what the responder itself asks for, so that chunks may come.
        let (handshake, rest) = stream.split_at(8 + 98);
        let ended = feed(&mut session, handshake).1;
        let hello = rest.first_chunk::<2>().map_or(0, |length| 2 + u16::from_be_bytes(*length));
        let (hello, rest) = rest.split_at(usize::from(hello).min(rest.len()));
        let mut closed = feed(&mut session, hello).1.or(ended);
        if closed.is_none() && !rest.is_empty() {
            let request = RequestId(refused["asked"].as_u64().expect("a number") as u32);
            let chunk = ChunkRef { space: Space::Root, index: 0 };
            let ask = Command::Request { request, handle: Handle(3), chunk };
            session.handle_input(Instant::ZERO, Input::Command(ask));
            feed(&mut session, &[]);
            let said;
            (said, closed) = feed(&mut session, rest);
            assert!(said.is_empty(), "without a word: {vector}");
        }
        let misbehaved = matches!(closed, Some(CloseReason::Misbehaved(_)));
        assert!(misbehaved, "{}: {closed:?}", vector["why"]);
    }
}

// Spec S17, S20
#[test]
fn directions_that_rekey() {
    let file: Value =
        serde_json::from_str(include_str!("../../spec/vectors/records.json")).unwrap();
    let vectors = file["rekey"].as_array().unwrap();
    assert_eq!(vectors.len(), 2);
    for vector in vectors {
        let suite = if vector["suite"] == "AESGCM" { Suite::AesGcm } else { Suite::ChaChaPoly };
        let every = vector["rekey_every"].as_u64().unwrap();
        let new = || RecordCipher::new(suite, &key(&vector["key"])).with_rekey_every(every);
        let (mut sender, mut receiver) = (new(), new());
        for record in vector["records"].as_array().unwrap() {
            let (plain, message) = (unhex(&record["plaintext"]), unhex(&record["message"]));
            let mut sealed = plain.clone();
            let tag = sender.seal(&mut sealed);
            sealed.extend_from_slice(&tag);
            assert_eq!(sealed, message);
            let mut opened = vec![0; plain.len()];
            receiver.open_into(&message, &mut opened).unwrap();
            assert_eq!(opened, plain);
        }
    }
}

#[test]
fn chunks_are_cut_as_the_spec_says() {
    let file: Value =
        serde_json::from_str(include_str!("../../spec/vectors/records.json")).unwrap();
    for vector in file["cut"].as_array().unwrap() {
        let number = |name: &str| vector[name].as_u64().unwrap() as usize;
        let (length, hashes) = (number("chunk_bytes"), number("proof_hashes"));
        let frame = ChunkFrame::new(RequestId(0), length, hashes, BytesMut::new());
        let sealed = frame.seal(&mut RecordCipher::new(Suite::AesGcm, &[0; 32]));
        let mut lengths = Vec::new();
        let mut rest = &sealed[..];
        while let Some((prefix, after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*prefix));
            lengths.push(Value::from(length - 16));
            rest = &after[length..];
        }
        assert_eq!(Value::from(lengths), vector["record_plaintext_bytes"]);
    }
}

fn message(value: &Value) -> Message {
    let number = |name: &str| value[name].as_u64().expect("a number");
    let small = |name: &str| number(name) as u32;
    let handle = || Handle(small("handle"));
    let request = || RequestId(small("request"));
    let space = || Space::try_from(number("space") as u8).expect("a space");
    let chunk = || ChunkRef { space: space(), index: number("index") };
    match value["type"].as_str().expect("a type") {
        "Hello" => Message::Hello {
            version_min: number("version_min") as u16,
            version_max: number("version_max") as u16,
            instance: number("instance"),
        },
        "Open" => Message::Open {
            handle: handle(),
            locator: Locator(key(&value["locator"])),
            proof: key(&value["proof"]),
        },
        "Opened" => Message::Opened {
            handle: handle(),
            proof: key(&value["proof"]),
            descriptor: Descriptor {
                kind: Kind::try_from(number("kind") as u8).expect("a kind"),
                length_bytes: number("length"),
                root: Hash(key(&value["root"])),
            },
            name: value["name"].as_str().expect("a name").into(),
        },
        "Refused" => Message::Refused { handle: handle() },
        "HaveAll" => Message::HaveAll { handle: handle(), space: space() },
        "HaveBits" => Message::HaveBits {
            handle: handle(),
            space: space(),
            first: number("first"),
            bits: unhex(&value["bits"]),
        },
        "HaveChunk" => Message::HaveChunk { handle: handle(), chunk: chunk() },
        "Request" => Message::Request { request: request(), handle: handle(), chunk: chunk() },
        "Cancel" => Message::Cancel { request: request() },
        "Unavailable" => {
            let whys = [
                Unavailable::NotHad,
                Unavailable::SourceChanged,
                Unavailable::ReadFailed,
                Unavailable::Withdrawn,
            ];
            Message::Unavailable { request: request(), why: whys[number("reason") as usize] }
        }
        "Complete" => Message::Complete { handle: handle() },
        "Ping" => Message::Ping { token: number("token") },
        "Pong" => Message::Pong { token: number("token") },
        "Bye" => Message::Bye,
        other => panic!("{other}"),
    }
}

// Spec M1, M2, M12
#[test]
fn frames() {
    let text = include_str!("../../spec/vectors/frames.json");
    let vectors = load(text);
    assert!(vectors.len() >= 14);
    for vector in vectors {
        let (frame, message) = (unhex(&vector["frame"]), message(&vector["message"]));
        assert_eq!(frame.len() - 5, u32::from_be_bytes(frame[1..5].try_into().unwrap()) as usize);
        assert_eq!(Message::decode(frame[0], &frame[5..]), Ok(message.clone()));
        // The one of a later version says more than we can.
        if vector["message"]["note"].is_null() {
            let mut encoded = Vec::new();
            message.encode(&mut encoded);
            assert_eq!(encoded, frame);
        }
    }
    let file: Value = serde_json::from_str(text).unwrap();
    for vector in file["refused"].as_array().unwrap() {
        let frame = unhex(&vector["frame"]);
        assert!(Message::decode(frame[0], &frame[5..]).is_err(), "{}", vector["why"]);
    }
}

// Spec M6, M7
#[test]
fn proofs_of_secrets() {
    let vectors = load(include_str!("../../spec/vectors/proof.json"));
    assert_eq!(vectors.len(), 6);
    for vector in vectors {
        let secret = Secret::new(key(&vector["secret"]));
        let role = vector["role"].as_u64().unwrap() as u8;
        let locator = Locator(key(&vector["locator"]));
        let (hash, expected) = (key(&vector["handshake_hash"]), key(&vector["proof"]));
        assert_eq!(proof::make(&secret, role, locator, &hash), expected);
        assert!(proof::check(&secret, role, locator, &hash, &expected));
        assert!(!proof::check(&secret, 3 - role, locator, &hash, &expected));
    }
}
