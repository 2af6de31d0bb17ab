//! What those do who ask: each link is one attack.

use towpath_core::crypto::proof;
use towpath_core::id::{ChunkRef, LinkId, Locator, Secret, Space};
use towpath_core::limits::{
    MAX_FRAME_BYTES, MAX_INCOMING_REQUESTS, MAX_OPEN_SHARES_PER_SESSION, MAX_SHARE_CHUNKS,
};
use towpath_core::relay::client;
use towpath_core::time::Instant;
use towpath_core::tracker_api::PeerEntry;
use towpath_core::wire::{Handle, Message, RequestId};

use super::carry::Carrier;
use super::line::{Line, frame, raw_frame};
use super::{Adversary, DOOR_TIME, Todo, Vice};
use crate::peer::Effect;

/// Streams that are left half open at once.
const HALF_OPEN: usize = 60;
/// Locators that are tried at once: more than a session may.
const LOCATORS: u32 = 2_000;
/// The number under which it opens the share.
const HANDLE: Handle = Handle(1);
/// Frame types of answers.
const OPENED: u8 = 3;
const CHUNK: u8 = 15;

impl Adversary {
    /// The tracker says who is there: one of them is attacked.
    pub(super) fn attack(&mut self, now: Instant, peers: &[PeerEntry]) {
        let friends = &self.config.friends;
        let others = peers.iter().filter(|entry| !friends.contains(&entry.instance.peer));
        let others: Vec<PeerEntry> = others.cloned().collect();
        if others.is_empty() {
            return;
        }
        for _ in 0..2 {
            let Some(vice) = self.next_vice(false) else { return };
            self.attacks += 1;
            let at = self.rng.below(others.len() as u64) as usize;
            let entry = &others[at];
            match vice {
                Vice::HubGarbage => {
                    self.did(vice);
                    let garbage = self.noise(1 + self.attacks % 700);
                    self.effects.push(Effect::Message(garbage.into()));
                }
                Vice::HalfOpenCircuits => {
                    (0..HALF_OPEN).for_each(|_| self.call_by_relay(now, vice, entry));
                }
                Vice::HalfOpen => (0..HALF_OPEN).for_each(|_| self.dial(now, vice, entry)),
                _ if entry.relay && self.rng.below(3) == 0 => {
                    self.call_by_relay(now, vice, entry);
                }
                _ => self.dial(now, vice, entry),
            }
        }
    }

    fn dial(&mut self, now: Instant, vice: Vice, entry: &PeerEntry) {
        // The last one is its own; those before may be of others.
        let Some(address) = entry.addresses.last().copied() else { return };
        let link = self.call_line(vice, entry, Carrier::Tcp);
        self.effects.push(Effect::Dial(link, address));
        self.later(now + DOOR_TIME, Todo::Door(link));
    }

    fn call_by_relay(&mut self, now: Instant, vice: Vice, entry: &PeerEntry) {
        let link = self.call_line(vice, entry, Carrier::circuit());
        self.later(now + DOOR_TIME, Todo::Door(link));
        self.tell_client(now, client::Input::Open { link, to: entry.instance });
    }

    fn call_line(&mut self, vice: Vice, entry: &PeerEntry, carrier: Carrier) -> LinkId {
        let remote = entry.instance.peer;
        let (line, first) = Line::call(self.config.secret_keys[0], self.random(), remote);
        let id = self.add(vice, line, carrier, Some(remote));
        if let Some(link) = self.links.get_mut(&id) {
            link.slow = first;
        }
        id
    }

    /// The stream is open: the handshake begins, or what stands for it.
    pub(super) fn opened(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.called.is_none() {
            return;
        }
        let first = std::mem::take(&mut link.slow);
        let vice = link.vice;
        let is_tcp = matches!(link.carrier, Carrier::Tcp);
        let words = match vice {
            Vice::HalfOpen | Vice::HalfOpenCircuits => first[..4].to_vec(),
            Vice::GarbageBefore => self.noise(100),
            Vice::WrongPreamble => self.wrong_preamble(first),
            Vice::ReplayedHandshake => self.recorded.clone().unwrap_or_default(),
            _ => {
                self.recorded.get_or_insert_with(|| first.clone());
                first
            }
        };
        if matches!(
            vice,
            Vice::HalfOpen
                | Vice::HalfOpenCircuits
                | Vice::GarbageBefore
                | Vice::WrongPreamble
                | Vice::ReplayedHandshake
        ) {
            self.did(vice);
            self.acted(id);
        }
        if vice == Vice::SplitBytes {
            words.iter().for_each(|byte| self.write(now, id, vec![*byte]));
        } else {
            self.write(now, id, words);
        }
        if is_tcp {
            self.effects.push(Effect::Read(id, super::READ_BYTES));
        }
    }

    fn acted(&mut self, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            link.acted = true;
        }
    }

    fn noise(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.rng.below(256) as u8).collect()
    }

    fn wrong_preamble(&mut self, mut first: Vec<u8>) -> Vec<u8> {
        let (at, wrong) =
            [(4, 9), (5, 0), (5, 2), (6, 1), (6, 7), (7, 2), (7, 255)][self.rng.below(7) as usize];
        first[at] = wrong;
        first
    }

    /// The handshake is complete: the attack.
    pub(super) fn act(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (vice, Some(hash)) = (link.vice, link.line.hash()) else { return };
        if matches!(vice, Vice::HalfOpen | Vice::HalfOpenCircuits | Vice::ReplayedHandshake) {
            return;
        }
        link.acted = true;
        link.reads = !matches!(vice, Vice::NeverReads | Vice::PingFlood);
        let words = self.words(vice, &hash);
        self.did(vice);
        let Some(link) = self.links.get_mut(&id) else { return };
        match vice {
            Vice::SplitBytes => {
                let sealed = link.line.seal(&words, 1);
                sealed.iter().for_each(|byte| self.write(now, id, vec![*byte]));
            }
            Vice::ReplayedRecord => {
                let sealed = link.line.seal(&words, usize::MAX);
                self.write(now, id, [sealed.clone(), sealed].concat());
            }
            Vice::GarbageAfter => {
                self.say(now, id, &words);
                let garbage = [&[0, 64][..], &self.noise(64)].concat();
                self.write(now, id, garbage);
            }
            Vice::EmptyRecord => {
                self.say(now, id, &words);
                self.write(now, id, vec![0, 0]);
            }
            Vice::CutsOff => {
                self.say(now, id, &words);
                self.write(now, id, vec![1, 0, 7, 7]);
                self.hang_up(now, id);
            }
            _ => self.say(now, id, &words),
        }
    }

    /// What it says first, bound to the handshake's hash.
    fn words(&mut self, vice: Vice, hash: &[u8; 32]) -> Vec<u8> {
        let instance = self.rng.next_u64();
        let hello = Message::Hello { version_min: 1, version_max: 1, instance };
        let secret = self.content.secret.clone().unwrap_or(Secret::PUBLIC);
        let locator = self.content.descriptor.locator(self.content.secret.as_ref());
        let proof = proof::make(&secret, proof::REQUESTER, locator, hash);
        let open = |handle| frame(&Message::Open { handle, locator, proof });
        let mut words = frame(&hello);
        match vice {
            Vice::WrongVersion => {
                words = frame(&Message::Hello { version_min: 2, version_max: 9, instance });
            }
            Vice::WrongSecret => {
                let mut proof = proof;
                proof[31] ^= 1;
                words.extend(frame(&Message::Open { handle: HANDLE, locator, proof }));
            }
            Vice::ManyLocators => self.many_locators(&mut words),
            Vice::ManyOpens => {
                for handle in 0..MAX_OPEN_SHARES_PER_SESSION as u32 + 20 {
                    words.extend(open(Handle(handle)));
                }
            }
            Vice::LongFrame => self.long_frames(&mut words),
            Vice::EmptyRecord | Vice::ReplayedRecord | Vice::GarbageAfter => {}
            _ => {
                words.extend(open(HANDLE));
                self.ask(vice, &mut words);
            }
        }
        words
    }

    /// What follows once the share is open.
    fn ask(&mut self, vice: Vice, words: &mut Vec<u8>) {
        let space = Space::Root;
        let request = |number, handle, index| {
            let chunk = ChunkRef { space, index };
            frame(&Message::Request { request: RequestId(number), handle, chunk })
        };
        match vice {
            Vice::RequestFlood => {
                for number in 0..MAX_INCOMING_REQUESTS as u32 * 2 {
                    words.extend(request(number, HANDLE, 0));
                }
            }
            Vice::OutOfRange => {
                let chunks = self.content.shape(space).chunks;
                words.extend(request(1, HANDLE, chunks));
                words.extend(request(2, HANDLE, MAX_SHARE_CHUNKS - 1));
                let chunk = ChunkRef { space: Space::Contents, index: 70_000 };
                let number = RequestId(3);
                words.extend(frame(&Message::Request { request: number, handle: HANDLE, chunk }));
            }
            Vice::BeyondWire => words.extend(request(1, HANDLE, u64::MAX)),
            Vice::NotOpened => words.extend(request(1, Handle(77), 0)),
            Vice::NeverReads => {
                for number in 0..MAX_INCOMING_REQUESTS as u32 {
                    words.extend(request(number, HANDLE, u64::from(number) % 4));
                }
            }
            Vice::PingFlood => {
                for token in 0..100_000 {
                    words.extend(frame(&Message::Ping { token }));
                }
            }
            Vice::EmptyFrame => words.extend(raw_frame(8, 0, &[])),
            Vice::UnknownType => {
                let unknown = [0, 16, 17, 255][self.rng.below(4) as usize];
                words.extend(raw_frame(unknown, 1, &[0]));
            }
            Vice::CancelStorm => {
                for number in 0..500 {
                    words.extend(request(number, HANDLE, 0));
                    words.extend(frame(&Message::Cancel { request: RequestId(number) }));
                }
            }
            Vice::SameRequest => {
                words.extend(request(1, HANDLE, 0));
                words.extend(request(1, HANDLE, 0));
            }
            Vice::FalseComplete => words.extend(frame(&Message::Complete { handle: Handle(5) })),
            _ => words.extend(request(1, HANDLE, 0)),
        }
    }

    fn many_locators(&mut self, words: &mut Vec<u8>) {
        for handle in 0..LOCATORS {
            let (locator, proof) = (Locator(self.random()), self.random());
            words.extend(frame(&Message::Open { handle: Handle(handle), locator, proof }));
        }
    }

    /// A `Hello` may be as long as any frame; nothing may be longer.
    fn long_frames(&mut self, words: &mut Vec<u8>) {
        let hello = words.split_off(5);
        let mut body = hello;
        body.resize(MAX_FRAME_BYTES, 0xAA);
        *words = raw_frame(1, MAX_FRAME_BYTES as u32, &body);
        let longer = [MAX_FRAME_BYTES as u32 + 1, u32::MAX][self.rng.below(2) as usize];
        words.extend(raw_frame(6, longer, &[0; 64]));
    }

    /// Somebody answers.
    pub(super) fn answered(&mut self, now: Instant, id: LinkId, frame_type: u8, body: &[u8]) {
        let Some(link) = self.links.get_mut(&id) else { return };
        match (frame_type, link.vice) {
            (OPENED, Vice::WrongSecret | Vice::ManyLocators) => {
                self.complaint = Some(format!("{:?} opened a share", link.vice));
            }
            (OPENED, _) => link.served = true,
            (CHUNK, vice) => {
                let served = link.served;
                self.got(vice, served, body);
            }
            _ => {}
        }
        if let Ok(Message::Ping { token }) = Message::decode(frame_type, body) {
            self.say(now, id, &frame(&Message::Pong { token }));
        }
    }

    /// A chunk, which an adversary gets as well as anybody who holds the link: the right one.
    fn got(&mut self, vice: Vice, served: bool, body: &[u8]) {
        if !served || body.len() < 5 {
            self.complaint = Some(format!("{vice:?} got a chunk of a share that it did not open"));
            return;
        }
        let proof_bytes = 5 + usize::from(body[4]) * 32;
        let data = body.get(proof_bytes..).unwrap_or_default();
        // Each attack asks for one of the first four.
        let right = (0..4)
            .any(|index| self.content.chunk(ChunkRef { space: Space::Root, index }) == Some(data));
        if !right {
            self.complaint = Some(format!("{vice:?} was served a wrong chunk"));
        } else if vice == Vice::SplitBytes {
            self.counts.push("split at every byte, and served");
        }
    }
}
