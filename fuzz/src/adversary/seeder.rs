//! What those do who are asked for chunks.

use std::time::Duration;

use towpath_core::crypto::proof;
use towpath_core::id::{ChunkRef, Descriptor, Hash, LinkId, Secret, Space};
use towpath_core::merkle::proof_length;
use towpath_core::time::Instant;
use towpath_core::wire::{Handle, Message, RequestId, Unavailable};

use super::line::{chunk_frame, frame, raw_frame};
use super::{Adversary, Todo, Vice};

/// A late answerer is good for so many chunks.
const GOOD_CHUNKS: u64 = 10;
/// After so long others have brought what it kept back.
const LATE: Duration = Duration::from_secs(3);

impl Adversary {
    /// The first word.
    pub(super) fn greet(&mut self, now: Instant, id: LinkId) {
        let restarts = self.links.get(&id).is_some_and(|link| link.vice == Vice::Restarts);
        let instance = if restarts { self.rng.next_u64() } else { self.config.number };
        let hello = Message::Hello { version_min: 1, version_max: 1, instance };
        self.say(now, id, &frame(&hello));
    }

    /// Somebody says something to us who are to have the share.
    pub(super) fn asked(&mut self, now: Instant, id: LinkId, frame_type: u8, body: &[u8]) {
        let Ok(message) = Message::decode(frame_type, body) else { return };
        match message {
            Message::Open { handle, .. } => self.open(now, id, handle),
            Message::Request { request, chunk, .. } => self.answer(now, id, request.0, chunk),
            Message::Cancel { request } => self.cancelled(now, id, request.0),
            Message::Ping { token } => self.say(now, id, &frame(&Message::Pong { token })),
            Message::Bye => self.hang_up(now, id),
            _ => {}
        }
    }

    fn open(&mut self, now: Instant, id: LinkId, handle: Handle) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(hash) = link.line.hash() else { return };
        link.handle = handle.0;
        let vice = link.vice;
        let secret = self.content.secret.clone();
        let locator = self.content.descriptor.locator(secret.as_ref());
        let secret = secret.unwrap_or(Secret::PUBLIC);
        let mut given = proof::make(&secret, proof::SEEDER, locator, &hash);
        let mut descriptor = self.content.descriptor;
        if vice == Vice::WrongShare {
            if self.rng.below(2) == 0 {
                given[0] ^= 1;
            } else {
                descriptor = Descriptor { root: Hash([7; 32]), ..descriptor };
            }
            self.did(vice);
        }
        let name = "\u{202e}../../etc/passwd\0".to_owned();
        let opened = frame(&Message::Opened { handle, proof: given, descriptor, name });
        let refused = frame(&Message::Refused { handle });
        let mut words = opened.clone();
        if vice == Vice::ChangesMind {
            self.did(vice);
            words = match self.rng.below(3) {
                0 => [opened, refused].concat(),
                1 => [refused, opened].concat(),
                _ => [opened.clone(), opened].concat(),
            };
        }
        words.extend_from_slice(&self.haves(handle));
        self.say(now, id, &words);
    }

    /// It has everything, of course.
    fn haves(&self, handle: Handle) -> Vec<u8> {
        let mut out = frame(&Message::HaveAll { handle, space: Space::Root });
        if self.content.contents().is_some() {
            out.extend(frame(&Message::HaveAll { handle, space: Space::Contents }));
        }
        out
    }

    fn answer(&mut self, now: Instant, id: LinkId, request: u32, chunk: ChunkRef) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.answered += 1;
        let (vice, answered, handle) = (link.vice, link.answered, Handle(link.handle));
        let number = RequestId(request);
        let Some((proof, data)) = self.truth(chunk) else { return };
        let honest = |request| whole(request, &proof, &data);
        let unavailable = |why| frame(&Message::Unavailable { request: number, why });
        let words = match vice {
            Vice::WrongData | Vice::Sybils | Vice::Restarts => {
                let mut data = data.clone();
                let at = self.rng.below(data.len() as u64) as usize;
                data[at] ^= 1;
                whole(request, &proof, &data)
            }
            Vice::WrongProof | Vice::ProofLength => self.wrong_proof(vice, request, &proof, &data),
            Vice::OtherChunk => self.other_chunk(request, chunk, &data),
            Vice::ShortChunk if data.len() > 1 => whole(request, &proof, &data[1..]),
            Vice::ClaimsAll => {
                let all = [Unavailable::NotHad, Unavailable::ReadFailed, Unavailable::Withdrawn];
                unavailable(all[self.rng.below(3) as usize])
            }
            Vice::Shrinks => {
                let bits = vec![0x80 >> (answered % 8)];
                let space = chunk.space;
                let less = Message::HaveBits { handle, space, first: 0, bits };
                let gone = unavailable(Unavailable::Withdrawn);
                [frame(&less), gone, self.haves(handle)].concat()
            }
            Vice::Duplicates => [honest(request), honest(request)].concat(),
            Vice::Unasked => [honest(request), honest(request ^ 0x8000_0000)].concat(),
            Vice::Endless => raw_frame(15, 1 << 30, &data),
            Vice::Silent => Vec::new(),
            Vice::Trickle => return self.begin_trickle(now, id, honest(request)),
            Vice::AllButLast if self.is_last(chunk) => Vec::new(),
            Vice::LateAnswers if answered > GOOD_CHUNKS => {
                self.did(vice);
                if let Some(link) = self.links.get_mut(&id) {
                    link.asked.push((request, chunk));
                }
                return;
            }
            _ => return self.say(now, id, &honest(request)),
        };
        if vice == Vice::Shrinks && answered > 200 {
            // Enough of this game.
            return self.say(now, id, &honest(request));
        }
        self.did(vice);
        self.say(now, id, &words);
    }

    /// The bytes of a chunk and its proof.
    fn truth(&self, chunk: ChunkRef) -> Option<(Vec<u8>, Vec<u8>)> {
        let data = self.content.chunk(chunk)?.to_vec();
        let mut frame = self.content.frame(RequestId(0), chunk, &data)?;
        Some((frame.proof_mut().to_vec(), data))
    }

    fn wrong_proof(&mut self, vice: Vice, request: u32, proof: &[u8], data: &[u8]) -> Vec<u8> {
        let mut proof = proof.to_vec();
        if vice == Vice::WrongProof && !proof.is_empty() {
            let at = self.rng.below(proof.len() as u64) as usize;
            proof[at] ^= 1;
        } else if self.rng.below(2) == 0 || proof.is_empty() {
            proof.extend_from_slice(&[0; 32]);
        } else {
            proof.truncate(proof.len() - 32);
        }
        whole(request, &proof, data)
    }

    /// Right data with its right proof, for another chunk.
    fn other_chunk(&self, request: u32, chunk: ChunkRef, data: &[u8]) -> Vec<u8> {
        let chunks = self.content.shape(chunk.space).chunks;
        for step in 1..chunks {
            let other = ChunkRef { index: (chunk.index + step) % chunks, ..chunk };
            if let Some((proof, other)) = self.truth(other)
                && other != data
            {
                return whole(request, &proof, &other);
            }
        }
        whole(request, &[1; 32], data)
    }

    fn is_last(&self, chunk: ChunkRef) -> bool {
        chunk.index + 1 == self.content.shape(chunk.space).chunks
    }

    fn begin_trickle(&mut self, now: Instant, id: LinkId, words: Vec<u8>) {
        self.did(Vice::Trickle);
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.slow.is_empty() {
            link.slow = words;
            self.later(now + Duration::from_secs(1), Todo::Trickle(id));
        }
    }

    /// What was taken back comes all the same, if that is its vice: at once, when it may still be
    /// of use, or when somebody else has brought it.
    fn cancelled(&mut self, now: Instant, id: LinkId, request: u32) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(at) = link.asked.iter().position(|(asked, _)| *asked == request) else { return };
        let (_, chunk) = link.asked.swap_remove(at);
        if request.is_multiple_of(2) {
            self.send_late(now, id, request, chunk);
        } else {
            self.later(now + LATE, Todo::Late(id, request, chunk));
        }
    }

    pub(super) fn send_late(&mut self, now: Instant, id: LinkId, request: u32, chunk: ChunkRef) {
        if self.links.contains_key(&id)
            && let Some((proof, data)) = self.truth(chunk)
        {
            self.late_bytes += data.len() as u64;
            self.say(now, id, &whole(request, &proof, &data));
        }
    }
}

fn whole(request: u32, proof: &[u8], data: &[u8]) -> Vec<u8> {
    let hashes = u8::try_from(proof.len() / 32).expect("few hashes");
    debug_assert!(usize::from(hashes) <= proof_length(1 << 48) + 1, "proofs are short");
    chunk_frame(request, hashes, proof, data)
}
