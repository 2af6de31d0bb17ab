//! From the bytes of the stream to frames: records are opened, frames are cut out of their
//! plaintext.
//!
//! A record whose plaintext belongs wholly to the chunk under way is decrypted straight into that
//! chunk's buffer. Every other one is decrypted where it lies. Only a record that has not come
//! wholly is copied, to wait for the rest of it. Memory for a chunk is taken when its header has
//! come and names a request that we made, and not before.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use bytes::BytesMut;

use crate::close::Misbehaviour;
use crate::crypto::record::RecordCipher;
use crate::id::Hash;
use crate::limits::READ_BYTES;
use crate::limits::{CHUNK_BYTES, MAX_FRAME_BYTES, MAX_PROOF_HASHES, MAX_SPARE_CHUNK_BUFFERS};
use crate::limits::{MAX_RECORD_BYTES, PROGRESS_INTERVAL, TAG_BYTES};
use crate::session::chunk_frame::{CHUNK_HEAD_BYTES, capacity_for, resize};
use crate::time::Instant;
use crate::wire::codec::{CHUNK, HEADER_BYTES, is_message};
use crate::wire::{Message, RequestId};

const PREFIX_BYTES: usize = 2;
const HASH_BYTES: usize = 32;

/// What came.
#[derive(Debug)]
pub(super) enum Item {
    Message(Message),
    Chunk { request: RequestId, proof: Vec<Hash>, data: BytesMut },
}

/// The receiving half of a session.
pub(super) struct Receiver {
    cipher: RecordCipher,
    /// The beginning of a record, length included, whose rest has not come.
    partial: Vec<u8>,
    frame: Frame,
    /// Requests that we made and that are not answered, cancelled ones included.
    expected: BTreeSet<RequestId>,
    /// Free buffers of whole chunks.
    spare: Vec<BytesMut>,
    items: VecDeque<Item>,
    /// When the owner last heard of a chunk, whole or under way.
    told: Instant,
    /// Whether a chunk has become whole since.
    became_whole: bool,
}

/// Where in the stream of frames we are.
enum Frame {
    /// In a header; the bytes of it so far, and how many they are.
    Header([u8; HEADER_BYTES], usize),
    /// In a message's body.
    Body { frame_type: u8, length: usize, body: Vec<u8> },
    /// In the head of a chunk: request, number of hashes, hashes.
    ChunkHead { length: usize, head: Vec<u8> },
    /// In a chunk's bytes.
    Chunk(Chunk),
}

impl Frame {
    /// Before the first byte of a frame.
    const START: Self = Self::Header([0; HEADER_BYTES], 0);
}

struct Chunk {
    request: RequestId,
    proof: Vec<Hash>,
    /// As long as the chunk if it is large, to be decrypted into; else as long as what has come:
    /// nobody need write zeros before.
    data: BytesMut,
    length: usize,
    filled: usize,
}

impl Receiver {
    pub(super) fn new(cipher: RecordCipher) -> Self {
        Self {
            cipher,
            partial: Vec::new(),
            frame: Frame::START,
            expected: BTreeSet::new(),
            spare: Vec::new(),
            items: VecDeque::new(),
            told: Instant::ZERO,
            became_whole: false,
        }
    }

    /// Takes bytes of the stream. What came is in [`Receiver::pop`] also when this fails.
    pub(super) fn receive(&mut self, bytes: &mut [u8]) -> Result<(), Misbehaviour> {
        let mut rest = self.complete_partial(bytes)?;
        while let Some(prefix) = rest.first_chunk::<PREFIX_BYTES>() {
            let end = PREFIX_BYTES + record_length(*prefix)?;
            if rest.len() < end {
                break;
            }
            let (record, after) = rest.split_at_mut(end);
            self.record(&mut record[PREFIX_BYTES..])?;
            rest = after;
        }
        if let Some(prefix) = rest.first_chunk::<PREFIX_BYTES>() {
            self.partial.reserve(PREFIX_BYTES + record_length(*prefix)?);
        }
        self.partial.extend_from_slice(rest);
        Ok(())
    }

    /// The next thing that came.
    pub(super) fn pop(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    /// How far the chunk under way has come, if its owner has heard of no chunk for a second. On a
    /// slow wire its first bytes are news: the rest may take longer than a silence lasts. So are
    /// those of a record that has not come wholly: 64 KiB take as long at 2 kB/s.
    pub(super) fn progress(&mut self, now: Instant) -> Option<(RequestId, usize)> {
        if core::mem::take(&mut self.became_whole) {
            self.told = now;
        }
        let Frame::Chunk(chunk) = &self.frame else { return None };
        let bytes = chunk.filled + self.partial.len().saturating_sub(PREFIX_BYTES + TAG_BYTES);
        if bytes == 0 || now.since(self.told) < PROGRESS_INTERVAL {
            return None;
        }
        self.told = now;
        Some((chunk.request, bytes))
    }

    /// Expects an answer to this request from now on.
    pub(super) fn expect(&mut self, request: RequestId) {
        // spec M13
        let new = self.expected.insert(request);
        assert!(new, "the numbers of our open requests differ");
    }

    /// Whether this request of ours has no answer yet.
    pub(super) fn awaits(&self, request: RequestId) -> bool {
        self.expected.contains(&request)
    }

    /// Requests without an answer, cancelled ones included.
    pub(super) fn awaited(&self) -> usize {
        self.expected.len()
    }

    /// Keeps a buffer for a coming chunk, if it is one of a whole chunk and few are there.
    pub(super) fn recycle(&mut self, buffer: BytesMut) {
        let fits = (CHUNK_BYTES..=2 * CHUNK_BYTES).contains(&buffer.capacity());
        if fits && self.spare.len() < MAX_SPARE_CHUNK_BUFFERS {
            self.spare.push(buffer);
        }
    }

    /// Gives back what only a busy session needs.
    pub(super) fn shrink(&mut self) {
        self.spare = Vec::new();
        self.items.shrink_to_fit();
        self.partial.shrink_to_fit();
    }

    /// Finishes the record whose beginning waits here; answers what is left of `bytes`.
    fn complete_partial<'a>(
        &mut self,
        mut bytes: &'a mut [u8],
    ) -> Result<&'a mut [u8], Misbehaviour> {
        if self.partial.is_empty() {
            return Ok(bytes);
        }
        let missing = PREFIX_BYTES.saturating_sub(self.partial.len()).min(bytes.len());
        let (head, tail) = core::mem::take(&mut bytes).split_at_mut(missing);
        self.partial.extend_from_slice(head);
        let Some(prefix) = self.partial.first_chunk::<PREFIX_BYTES>() else { return Ok(tail) };
        let end = PREFIX_BYTES + record_length(*prefix)?;
        let missing = (end - self.partial.len()).min(tail.len());
        let (head, tail) = tail.split_at_mut(missing);
        self.partial.reserve(end - self.partial.len());
        self.partial.extend_from_slice(head);
        if self.partial.len() == end {
            let mut record = core::mem::take(&mut self.partial);
            self.record(&mut record[PREFIX_BYTES..])?;
            record.clear();
            self.partial = record;
        }
        Ok(tail)
    }

    fn record(&mut self, sealed: &mut [u8]) -> Result<(), Misbehaviour> {
        // spec S19
        let forged = |_| Misbehaviour("record_forged");
        if let Frame::Chunk(chunk) = &mut self.frame {
            let length = sealed.len() - TAG_BYTES;
            if let Some(room) = chunk.data.get_mut(chunk.filled..chunk.filled + length) {
                self.cipher.open_into(sealed, room).map_err(forged)?;
                chunk.filled += length;
                self.end_of_chunk();
                return Ok(());
            }
        }
        let length = self.cipher.open_in_place(sealed).map_err(forged)?;
        let mut plain = &sealed[..length];
        while !plain.is_empty() {
            plain = self.plaintext(plain)?;
        }
        Ok(())
    }

    /// Takes what the current part of the current frame needs; answers the rest.
    // spec S21: frames may be cut anywhere
    fn plaintext<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Misbehaviour> {
        match &mut self.frame {
            Frame::Header(header, filled) => {
                let take = bytes.len().min(HEADER_BYTES - *filled);
                let (head, rest) = bytes.split_at(take);
                header[*filled..*filled + take].copy_from_slice(head);
                *filled += take;
                if *filled == HEADER_BYTES {
                    let header = *header;
                    self.begin(header)?;
                }
                Ok(rest)
            }
            Frame::Body { frame_type, length, body } => {
                if body.is_empty()
                    && let Some((body, rest)) = bytes.split_at_checked(*length)
                {
                    let message = Message::decode(*frame_type, body);
                    self.message(message.map_err(|error| Misbehaviour(error.0))?)?;
                    return Ok(rest);
                }
                let rest = fill(body, *length, bytes);
                if body.len() == *length {
                    let message = Message::decode(*frame_type, body);
                    self.message(message.map_err(|error| Misbehaviour(error.0))?)?;
                }
                Ok(rest)
            }
            Frame::ChunkHead { length, head } => {
                let mut rest = fill(head, CHUNK_HEAD_BYTES, bytes);
                if head.len() >= CHUNK_HEAD_BYTES {
                    let proof_bytes = check_chunk_head(head, *length, &self.expected)?;
                    rest = fill(head, CHUNK_HEAD_BYTES + proof_bytes, rest);
                    if head.len() == CHUNK_HEAD_BYTES + proof_bytes {
                        self.begin_chunk();
                    }
                }
                Ok(rest)
            }
            Frame::Chunk(chunk) => {
                let take = bytes.len().min(chunk.length - chunk.filled);
                let (head, rest) = bytes.split_at(take);
                match chunk.data.get_mut(chunk.filled..chunk.filled + take) {
                    Some(room) => room.copy_from_slice(head),
                    None => chunk.data.extend_from_slice(head),
                }
                chunk.filled += take;
                self.end_of_chunk();
                Ok(rest)
            }
        }
    }

    /// A header has come: is such a frame possible at all?
    // spec M1b: type and length, before memory is taken
    fn begin(&mut self, header: [u8; HEADER_BYTES]) -> Result<(), Misbehaviour> {
        let [frame_type, length @ ..] = header;
        let length = usize::try_from(u32::from_be_bytes(length))
            .map_err(|_| Misbehaviour("frame_too_long"))?;
        if frame_type == CHUNK {
            if length > CHUNK_HEAD_BYTES + MAX_PROOF_HASHES * HASH_BYTES + CHUNK_BYTES {
                return Err(Misbehaviour("frame_too_long"));
            }
            self.frame = Frame::ChunkHead { length, head: Vec::new() };
            return Ok(());
        }
        if !is_message(frame_type) {
            return Err(Misbehaviour("unknown_frame_type"));
        }
        if length > MAX_FRAME_BYTES && !planted!(BelieveLength) {
            return Err(Misbehaviour("frame_too_long"));
        }
        if length == 0 {
            let message = Message::decode(frame_type, &[]);
            return self.message(message.map_err(|error| Misbehaviour(error.0))?);
        }
        self.frame = Frame::Body { frame_type, length, body: Vec::new() };
        Ok(())
    }

    fn message(&mut self, message: Message) -> Result<(), Misbehaviour> {
        self.frame = Frame::START;
        if let Message::Unavailable { request, .. } = message
            && !self.expected.remove(&request)
        {
            // spec M14b
            return Err(Misbehaviour("unexpected_unavailable"));
        }
        self.items.push_back(Item::Message(message));
        Ok(())
    }

    /// The head of a chunk has come and is checked: takes memory for its bytes.
    fn begin_chunk(&mut self) {
        let frame = core::mem::replace(&mut self.frame, Frame::START);
        let Frame::ChunkHead { length, head } = frame else { return };
        let length = length - head.len();
        let (numbers, hashes) = head.split_at(CHUNK_HEAD_BYTES);
        let request =
            RequestId(u32::from_be_bytes([numbers[0], numbers[1], numbers[2], numbers[3]]));
        let (hashes, _) = hashes.as_chunks::<HASH_BYTES>();
        let proof = hashes.iter().map(|hash| Hash(*hash)).collect();
        // A small chunk in a large buffer would hold memory that nobody counts.
        let data = if length > READ_BYTES / 4 {
            let mut spare = self.spare.pop().unwrap_or_default();
            resize(&mut spare, length);
            spare
        } else {
            BytesMut::with_capacity(capacity_for(length))
        };
        self.frame = Frame::Chunk(Chunk { request, proof, data, length, filled: 0 });
    }

    /// Hands the chunk out if all of it is there.
    fn end_of_chunk(&mut self) {
        match &self.frame {
            Frame::Chunk(chunk) if chunk.filled == chunk.length => {}
            Frame::Header(..) | Frame::Body { .. } | Frame::ChunkHead { .. } | Frame::Chunk(_) => {
                return;
            }
        }
        let frame = core::mem::replace(&mut self.frame, Frame::START);
        if let Frame::Chunk(Chunk { request, proof, data, .. }) = frame {
            self.expected.remove(&request);
            self.became_whole = true;
            self.items.push_back(Item::Chunk { request, proof, data });
        }
    }
}

/// The length of a record; an empty plaintext carries nothing and is refused.
// spec S18: a record carries at least one byte
fn record_length(prefix: [u8; PREFIX_BYTES]) -> Result<usize, Misbehaviour> {
    let length = usize::from(u16::from_be_bytes(prefix));
    debug_assert!(length <= MAX_RECORD_BYTES, "two bytes cannot say more");
    if length > TAG_BYTES { Ok(length) } else { Err(Misbehaviour("record_too_short")) }
}

/// Appends to `to` until it has `length` bytes; answers the rest.
fn fill<'a>(to: &mut Vec<u8>, length: usize, bytes: &'a [u8]) -> &'a [u8] {
    let take = bytes.len().min(length.saturating_sub(to.len()));
    let (head, rest) = bytes.split_at(take);
    to.extend_from_slice(head);
    rest
}

/// Checks a chunk's request, number of hashes and length; answers the proof's length.
// spec M17: request, number of hashes, length
fn check_chunk_head(
    head: &[u8],
    length: usize,
    expected: &BTreeSet<RequestId>,
) -> Result<usize, Misbehaviour> {
    let request = RequestId(u32::from_be_bytes([head[0], head[1], head[2], head[3]]));
    if !expected.contains(&request) && !planted!(TakeUnasked) {
        return Err(Misbehaviour("unexpected_chunk"));
    }
    let hashes = usize::from(head[4]);
    if hashes > MAX_PROOF_HASHES {
        return Err(Misbehaviour("proof_too_long"));
    }
    let before = CHUNK_HEAD_BYTES + hashes * HASH_BYTES;
    match length.checked_sub(before) {
        None | Some(0) => Err(Misbehaviour("chunk_too_short")),
        Some(bytes) if bytes > CHUNK_BYTES => Err(Misbehaviour("chunk_too_long")),
        Some(_) => Ok(hashes * HASH_BYTES),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Suite;

    #[test]
    fn few_buffers_of_whole_chunks_are_kept() {
        let new = || Receiver::new(RecordCipher::new(Suite::ChaChaPoly, &[5; 32]));
        for (room, kept) in
            [(CHUNK_BYTES - 1, 0), (CHUNK_BYTES, 1), (2 * CHUNK_BYTES, 1), (2 * CHUNK_BYTES + 1, 0)]
        {
            let mut receiver = new();
            let buffer = BytesMut::zeroed(room);
            assert_eq!(buffer.capacity(), room);
            receiver.recycle(buffer);
            assert_eq!(receiver.spare.len(), kept, "{room}");
        }
        let mut receiver = new();
        for _ in 0..MAX_SPARE_CHUNK_BUFFERS + 1 {
            receiver.recycle(BytesMut::zeroed(CHUNK_BYTES));
        }
        assert_eq!(receiver.spare.len(), MAX_SPARE_CHUNK_BUFFERS);
        receiver.shrink();
        assert!(receiver.spare.is_empty());
    }

    #[test]
    fn progress_is_told_a_second_after_the_last_news_of_a_chunk() {
        let mut receiver = Receiver::new(RecordCipher::new(Suite::ChaChaPoly, &[5; 32]));
        let at = |nanos: u64| Instant::from_nanos(1_000_000_000 + nanos);
        let (request, proof, data) = (RequestId(7), Vec::new(), BytesMut::new());
        assert_eq!(receiver.progress(at(0)), None, "no chunk is under way");
        receiver.frame = Frame::Chunk(Chunk { request, proof, data, length: 9, filled: 0 });
        assert_eq!(receiver.progress(at(0)), None, "nothing of it has come");
        if let Frame::Chunk(chunk) = &mut receiver.frame {
            chunk.filled = 4;
        }
        assert_eq!(receiver.progress(at(0)), Some((request, 4)));
        assert_eq!(receiver.progress(at(999_999_999)), None);
        assert_eq!(receiver.progress(at(1_000_000_000)), Some((request, 4)));
        receiver.became_whole = true;
        assert_eq!(receiver.progress(at(2_500_000_000)), None, "a whole one is news");
        assert_eq!(receiver.progress(at(3_499_999_999)), None);
        assert_eq!(receiver.progress(at(3_500_000_000)), Some((request, 4)));
    }

    #[test]
    fn a_small_chunk_takes_no_large_buffer() {
        for (length, large) in [(READ_BYTES / 4, false), (READ_BYTES / 4 + 1, true)] {
            let mut receiver = Receiver::new(RecordCipher::new(Suite::ChaChaPoly, &[5; 32]));
            receiver.recycle(BytesMut::zeroed(CHUNK_BYTES));
            let head = alloc::vec![0; CHUNK_HEAD_BYTES];
            receiver.frame = Frame::ChunkHead { length: head.len() + length, head };
            receiver.begin_chunk();
            assert_eq!(receiver.spare.is_empty(), large);
            let Frame::Chunk(chunk) = &receiver.frame else { panic!("its head is whole") };
            assert_eq!(chunk.data.len(), if large { length } else { 0 });
        }
    }

    #[test]
    fn what_has_come_of_a_record_is_progress_without_its_length_and_tag() {
        let overhead = PREFIX_BYTES + TAG_BYTES;
        for (came, bytes) in [(0, None), (overhead, None), (overhead + 1, Some(1))] {
            let mut receiver = Receiver::new(RecordCipher::new(Suite::ChaChaPoly, &[5; 32]));
            let (request, proof, data) = (RequestId(7), Vec::new(), BytesMut::new());
            receiver.frame = Frame::Chunk(Chunk { request, proof, data, length: 9, filled: 0 });
            receiver.partial.resize(came, 0);
            let at = Instant::ZERO + PROGRESS_INTERVAL;
            assert_eq!(receiver.progress(at), bytes.map(|bytes| (request, bytes)), "{came}");
        }
    }
}
