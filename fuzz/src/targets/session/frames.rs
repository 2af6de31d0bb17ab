//! A session, and a peer that has keys and says what it likes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::BytesMut;
use towpath_core::close::{CloseReason, LocalClose};
use towpath_core::crypto::noise::{Finished, Handshake, Pattern};
use towpath_core::crypto::public_key;
use towpath_core::crypto::record::RecordCipher;
use towpath_core::id::{ChunkRef, ContentKey, Locator, Space};
use towpath_core::limits::{CHUNK_BYTES, MAX_PROOF_HASHES};
use towpath_core::session::preamble::Preamble;
use towpath_core::session::{ChunkFrame, Command, Event, Input, Role, Suite};
use towpath_core::wire::{Handle, Message, RequestId, Unavailable};

use super::{ONE, TWO, Watched, config};
use crate::targets::feed::Feed;
use crate::targets::formats::messages;

/// The hand-made other side of a session: it has keys, and manners are up to the feed.
struct Stranger {
    send: RecordCipher,
    receive: RecordCipher,
    /// What the session sent, records that are not whole, and plaintext that is no whole frame.
    sealed: Vec<u8>,
    plain: Vec<u8>,
    /// What it has said that is no whole frame yet.
    saying: Vec<u8>,
    /// Its requests, and how often each may still be answered.
    asked: BTreeMap<RequestId, u32>,
}

impl Stranger {
    /// Shakes hands properly.
    fn meet(session_calls: bool, suite: Suite) -> (Watched, Self) {
        let (pattern, version) = (Pattern::Ik, 1);
        let prologue = Preamble { version, pattern, suite }.encode();
        if session_calls {
            let role = Role::Initiator { remote: Some(public_key(&TWO)), suite };
            let mut session = Watched::new(config(role, 11, ONE, b""));
            let opening: Vec<u8> = session.sent.drain(..).collect();
            let mut noise = Handshake::new(pattern, suite, false, &prologue, TWO, [12; 32], None);
            noise.read_message(&opening[prologue.len() + 2..]).expect("it is honest");
            let answer = noise.write_message().expect("it is our turn");
            session.receive(&prefixed(&answer));
            return Self::begin(session, noise.finish());
        }
        let role = Role::Responder { accept_strangers: true, accept_aes: true };
        let mut session = Watched::new(config(role, 11, ONE, b""));
        let known = Some(public_key(&ONE));
        let mut noise = Handshake::new(pattern, suite, true, &prologue, TWO, [12; 32], known);
        let opening = noise.write_message().expect("it is our turn");
        session.receive(&[&prologue[..], &prefixed(&opening)].concat());
        let answer: Vec<u8> = session.sent.drain(..50).collect();
        noise.read_message(&answer[2..]).expect("it is honest");
        Self::begin(session, noise.finish())
    }

    fn begin(session: Watched, finished: Finished) -> (Watched, Self) {
        let Finished { send, receive, .. } = finished;
        let (sealed, plain, saying) = (Vec::new(), Vec::new(), Vec::new());
        let asked = BTreeMap::new();
        (session, Self { send, receive, sealed, plain, saying, asked })
    }

    /// Remembers the requests in what is said.
    fn remember(&mut self, plain: &[u8]) {
        self.saying.extend_from_slice(plain);
        while let Some([kind, length @ ..]) = self.saying.first_chunk::<5>() {
            let (kind, end) = (*kind, 5 + u32::from_be_bytes(*length) as usize);
            let Some(body) = self.saying.get(5..end) else { break };
            if let Ok(Message::Request { request, .. }) = Message::decode(kind, body) {
                *self.asked.entry(request).or_default() += 1;
            }
            self.saying.drain(..end);
        }
    }

    /// A record of these bytes.
    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut record = plain.to_vec();
        let tag = self.send.seal(&mut record);
        record.extend_from_slice(&tag);
        prefixed(&record)
    }

    /// Reads what the session says, all of which must make sense.
    fn listen(&mut self, session: &mut Watched) {
        self.sealed.extend(session.sent.drain(..));
        while let Some((length, rest)) = self.sealed.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            let Some(record) = rest.get(..length) else { break };
            let mut record = record.to_vec();
            let opened = self.receive.open_in_place(&mut record).expect("it seals in order");
            self.plain.extend_from_slice(&record[..opened]);
            self.sealed.drain(..2 + length);
        }
        while let Some(header) = self.plain.first_chunk::<5>() {
            let [kind, length @ ..] = *header;
            let length = u32::from_be_bytes(length) as usize;
            let Some(body) = self.plain.get(5..5 + length) else { break };
            if kind == 15 {
                let request = RequestId(u32::from_be_bytes([body[0], body[1], body[2], body[3]]));
                self.answered(request);
            } else {
                let message = Message::decode(kind, body).expect("it says what can be read");
                if let Message::Unavailable { request, .. } = message {
                    self.answered(request);
                }
            }
            self.plain.drain(..5 + length);
        }
    }

    fn answered(&mut self, request: RequestId) {
        let left = self.asked.get_mut(&request).filter(|left| **left > 0);
        *left.expect("each request has one answer") -= 1;
    }
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a record is short");
    [&length.to_be_bytes(), bytes].concat()
}

/// Of what the node has asked and told the session, the part that its answers must fit.
#[derive(Default)]
struct Node {
    expected: BTreeSet<RequestId>,
    serving: BTreeSet<RequestId>,
    next_request: u32,
}

/// A session with a peer that has keys: after the handshake come frames, whole, cut, hostile.
pub fn session_frames(data: &[u8]) {
    let mut feed = Feed::new(data);
    let kinds = feed.u8();
    let suite = if kinds & 1 == 0 { Suite::ChaChaPoly } else { Suite::AesGcm };
    let (mut session, mut stranger) = Stranger::meet(kinds & 2 == 0, suite);
    let mut node = Node::default();
    if kinds & 4 == 0 {
        let hello = Message::Hello { version_min: 1, version_max: 1, instance: 22 };
        say(&mut session, &mut stranger, &frame(&hello), 0);
        assert!(session.established.is_some());
    }
    while !feed.is_empty() && session.closed.is_none() {
        let op = feed.u8();
        match op % 16 {
            0..=7 => speak(&mut feed, op, &mut session, &mut stranger),
            8 => session.tick(Duration::from_millis(u64::from(feed.u16()))),
            9 => {
                let most = feed.u32() as usize;
                session.confirm(most);
            }
            10 | 11 => read(&mut feed, &mut session),
            _ => command(&mut feed, op, &mut session, &mut node),
        }
        if session.closed.is_none() {
            stranger.listen(&mut session);
        }
        heed(&mut session, &mut node);
    }
    if session.closed.is_none() {
        // Whoever asked and reads gets all its answers, as soon as the reads are done.
        session.confirm(usize::MAX);
        while let Some((request, _)) = session.reads.pop_front() {
            let result = Err(Unavailable::ReadFailed);
            session.input(Input::ChunkRead { request, result });
            session.confirm(usize::MAX);
        }
        stranger.listen(&mut session);
        heed(&mut session, &mut node);
    }
}

/// What the session tells its node makes sense.
fn heed(session: &mut Watched, node: &mut Node) {
    for event in session.events.drain(..) {
        match event {
            Event::Chunk { request, proof, data } => {
                assert!(node.expected.remove(&request), "nobody asked for it");
                assert!(!data.is_empty() && data.len() <= CHUNK_BYTES);
                assert!(proof.len() <= MAX_PROOF_HASHES);
            }
            Event::Progress { request, bytes } => {
                assert!(node.expected.contains(&request) && bytes <= CHUNK_BYTES);
            }
            Event::Message(Message::Unavailable { request, .. }) => {
                assert!(node.expected.remove(&request), "nobody asked for it");
            }
            Event::Message(
                Message::Hello { .. } | Message::Ping { .. } | Message::Pong { .. } | Message::Bye,
            ) => panic!("the session handles those itself"),
            Event::Message(_) => {}
            Event::Served { request, result } => {
                assert!(node.serving.remove(&request), "served twice, or never asked to");
                assert!(result.is_ok_and(|bytes| bytes <= CHUNK_BYTES) || result.is_err());
            }
            Event::Established { .. } | Event::Closed(_) => unreachable!("kept apart"),
        }
    }
}

/// The stranger says something.
fn speak(feed: &mut Feed<'_>, op: u8, session: &mut Watched, stranger: &mut Stranger) {
    let cut = usize::from(op >> 4);
    let plain = match op % 8 {
        0 | 1 => {
            let all = messages();
            let message = match &all[usize::from(feed.u8()) % all.len()] {
                Message::Request { handle, .. } => {
                    let request = RequestId(u32::from(feed.u8() % 8));
                    let chunk = ChunkRef { space: Space::Root, index: u64::from(feed.u8()) };
                    Message::Request { request, handle: *handle, chunk }
                }
                Message::Cancel { .. } => {
                    Message::Cancel { request: RequestId(u32::from(feed.u8() % 8)) }
                }
                Message::Unavailable { why, .. } => {
                    let request = RequestId(u32::from(feed.u8() % 8));
                    Message::Unavailable { request, why: *why }
                }
                other => other.clone(),
            };
            frame(&message)
        }
        2 | 3 => {
            let request = u32::from(feed.u8() % 8);
            let hashes = feed.u8() % 33;
            let length = u32::from(feed.u16()) * u32::from(1 + feed.u8() % 5);
            chunk(request, hashes, length.min(CHUNK_BYTES as u32 + 9))
        }
        4 => {
            let (kind, length) = (feed.u8(), feed.u32() % 20_000);
            let body = feed.bytes8();
            [&[kind], &length.to_be_bytes()[..], body].concat()
        }
        5 => feed.bytes8().to_vec(),
        6 => {
            // Not sealed at all.
            let bytes = feed.bytes8();
            return session.receive(bytes);
        }
        _ => {
            let (kind, body) = (feed.u8(), feed.bytes8());
            [&[kind], &(body.len() as u32).to_be_bytes()[..], body].concat()
        }
    };
    say(session, stranger, &plain, cut);
}

/// Says it in one record, or cut in two at a place.
fn say(session: &mut Watched, stranger: &mut Stranger, plain: &[u8], cut: usize) {
    stranger.remember(plain);
    let (head, tail) = plain.split_at(cut.min(plain.len()));
    for part in [head, tail] {
        for piece in part.chunks(65_519) {
            let record = stranger.seal(piece);
            session.receive(&record);
        }
    }
}

fn frame(message: &Message) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

fn chunk(request: u32, hashes: u8, length: u32) -> Vec<u8> {
    let before = 5 + u32::from(hashes) * 32;
    let mut out = vec![15];
    out.extend((before + length).to_be_bytes());
    out.extend(request.to_be_bytes());
    out.push(hashes);
    out.resize(5 + (before + length) as usize, 0xCC);
    out
}

/// The store answers a read.
fn read(feed: &mut Feed<'_>, session: &mut Watched) {
    let Some((request, _)) = session.reads.pop_front() else { return };
    let result = if feed.u8().is_multiple_of(4) {
        Err(Unavailable::SourceChanged)
    } else {
        let length = 1 + feed.u16() as usize * 4 % CHUNK_BYTES;
        Ok(ChunkFrame::new(request, length, usize::from(feed.u8() % 31), BytesMut::new()))
    };
    session.input(Input::ChunkRead { request, result });
}

/// The node says something.
fn command(feed: &mut Feed<'_>, op: u8, session: &mut Watched, node: &mut Node) {
    let request = RequestId(u32::from(feed.u8() % 8));
    let established = session.established.is_some();
    let chunk = ChunkRef { space: Space::Root, index: 3 };
    let said = match op % 16 {
        12 if established => {
            let request = RequestId(node.next_request);
            node.next_request += 1;
            node.expected.insert(request);
            Command::Request { request, handle: Handle(1), chunk }
        }
        13 if established => {
            if !node.serving.insert(request) {
                return;
            }
            Command::Serve { request, content: ContentKey(1), chunk }
        }
        14 => match op >> 4 {
            0..=3 => Command::Recycle(BytesMut::zeroed(usize::from(feed.u16()) * 4)),
            4..=9 => Command::Forget { request },
            _ if established => Command::Send(Message::Cancel { request }),
            _ => return,
        },
        15 => match op >> 4 {
            0 => Command::Close(CloseReason::Local(LocalClose::Done)),
            1..=5 if established => {
                let why = Unavailable::NotHad;
                Command::Send(Message::Unavailable { request, why })
            }
            6..=10 if established => Command::Send(Message::HaveChunk { handle: Handle(1), chunk }),
            _ if established => {
                let (locator, proof) = (Locator([1; 32]), [2; 32]);
                Command::Send(Message::Open { handle: Handle(1), locator, proof })
            }
            _ => return,
        },
        _ => return,
    };
    session.input(Input::Command(said));
}

pub(in crate::targets) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![
        // It asks, is served, and gets its chunk; then it takes a request back.
        vec![0, 0, 7, 1, 5, 13, 1, 10, 1, 9, 9, 2, 9, 255, 255, 255, 255, 0, 7, 2, 5, 0, 8, 2],
        // We ask, and get a chunk in pieces, and an answer that there is none.
        vec![1, 12, 0, 12, 0, 0x42, 0, 2, 255, 255, 0, 0, 9, 1, 8, 4, 0],
        vec![2, 12, 0, 0x22, 0, 30, 1, 0, 4],
        vec![4, 0, 11],
        vec![3, 4, 99, 0, 0, 0, 3, 1, 2, 3],
        vec![0, 8, 0x3A, 0x98, 8, 0xFF, 0xFF],
        vec![0, 6, 3, 0, 1, 9],
        vec![0, 13, 1, 14, 1, 0x4E, 1, 0x1F, 1, 15, 0],
    ];
    for number in 0..14 {
        seeds.push(vec![0, 0x30, number, 1, 2]);
    }
    seeds
}
