//! A chunk on its way out, laid out so that nothing is copied: one buffer with gaps.
//!
//! ```text
//! [2] header, proof, first part of the body [16]  [2] body [16]  [2] body [16] …
//!  ^ record length                           ^ tag
//! ```
//!
//! If all of it fits into one record it is one record. Else the header's record takes what whole
//! records leave over, as long as that is little (256 KiB are four whole records and 68 bytes).

use bytes::{Bytes, BytesMut};

use crate::crypto::record::RecordCipher;
use crate::limits::{CHUNK_BYTES, MAX_BODY_BESIDE_HEADER_BYTES, MAX_PROOF_HASHES};
use crate::limits::{MAX_RECORD_PLAINTEXT_BYTES, READ_BYTES, TAG_BYTES};
use crate::wire::RequestId;
use crate::wire::codec::{CHUNK, HEADER_BYTES};

/// Bytes of a chunk frame's body before its proof: request u32, number of hashes u8.
pub(super) const CHUNK_HEAD_BYTES: usize = 5;
/// The length of a record, before it.
const PREFIX_BYTES: usize = 2;
/// A whole record with its length and tag.
const WHOLE_BYTES: usize = PREFIX_BYTES + MAX_RECORD_PLAINTEXT_BYTES + TAG_BYTES;
const HASH_BYTES: usize = 32;

/// A chunk on its way out: one buffer with room for record lengths and tags, laid out so that the
/// store reads the body into its final place and the session seals it there.
#[derive(Debug)]
pub struct ChunkFrame {
    buffer: BytesMut,
    request: RequestId,
    length_bytes: usize,
    proof_hashes: usize,
}

impl ChunkFrame {
    /// A frame for a chunk of `length_bytes` with `proof_hashes` hashes; `buffer` is used again if
    /// it is large enough. Keep its length (do not clear it): only bytes beyond it are filled with
    /// zeros.
    ///
    /// # Panics
    /// If `length_bytes` is not in `1..=CHUNK_BYTES`, or `proof_hashes` above `MAX_PROOF_HASHES`.
    #[must_use]
    pub fn new(
        request: RequestId,
        length_bytes: usize,
        proof_hashes: usize,
        buffer: BytesMut,
    ) -> Self {
        assert!((1..=CHUNK_BYTES).contains(&length_bytes), "a chunk has 1 to 256 Ki bytes");
        assert!(proof_hashes <= MAX_PROOF_HASHES, "a proof is within its limit");
        let mut frame = Self { buffer, request, length_bytes, proof_hashes };
        let records = 1 + (length_bytes - frame.beside()).div_ceil(MAX_RECORD_PLAINTEXT_BYTES);
        let total = frame.head() + length_bytes + records * (PREFIX_BYTES + TAG_BYTES);
        resize(&mut frame.buffer, total);
        let body_bytes = CHUNK_HEAD_BYTES + proof_hashes * HASH_BYTES + length_bytes;
        let mut header = [0; HEADER_BYTES + CHUNK_HEAD_BYTES];
        header[0] = CHUNK;
        let body_bytes = u32::try_from(body_bytes).expect("a chunk frame is short");
        header[1..5].copy_from_slice(&body_bytes.to_be_bytes());
        header[5..9].copy_from_slice(&request.0.to_be_bytes());
        header[9] = u8::try_from(proof_hashes).expect("a proof is short");
        frame.buffer[PREFIX_BYTES..PREFIX_BYTES + header.len()].copy_from_slice(&header);
        frame
    }

    /// Where the proof goes: `proof_hashes` × 32 bytes, siblings from the chunk upwards.
    pub fn proof_mut(&mut self) -> &mut [u8] {
        let end = PREFIX_BYTES + self.head();
        &mut self.buffer[PREFIX_BYTES + HEADER_BYTES + CHUNK_HEAD_BYTES..end]
    }

    /// Where the body goes: the slices, in order, whose lengths add up to `length_bytes`.
    pub fn body_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let (head, beside) = (self.head(), self.beside());
        let (first, rest) = self.buffer[PREFIX_BYTES + head..].split_at_mut(beside + TAG_BYTES);
        let whole = rest.chunks_mut(WHOLE_BYTES).map(|record| {
            let end = record.len() - TAG_BYTES;
            &mut record[PREFIX_BYTES..end]
        });
        core::iter::once(&mut first[..beside]).filter(|part| !part.is_empty()).chain(whole)
    }

    /// The chunk's length.
    #[must_use]
    pub const fn length_bytes(&self) -> usize {
        self.length_bytes
    }

    /// The request that it answers.
    #[must_use]
    pub const fn request(&self) -> RequestId {
        self.request
    }

    /// Seals every record in place: the bytes that go to the stream.
    #[must_use]
    pub fn seal(mut self, cipher: &mut RecordCipher) -> Bytes {
        let first = PREFIX_BYTES + self.head() + self.beside() + TAG_BYTES;
        let (first, rest) = self.buffer.split_at_mut(first);
        seal_record(cipher, first);
        for record in rest.chunks_mut(WHOLE_BYTES) {
            seal_record(cipher, record);
        }
        self.buffer.freeze()
    }

    /// Plaintext before the chunk's own bytes: header and proof.
    const fn head(&self) -> usize {
        HEADER_BYTES + CHUNK_HEAD_BYTES + self.proof_hashes * HASH_BYTES
    }

    /// How many of the chunk's bytes share the header's record.
    const fn beside(&self) -> usize {
        if self.head() + self.length_bytes <= MAX_RECORD_PLAINTEXT_BYTES {
            return self.length_bytes;
        }
        let over = self.length_bytes % MAX_RECORD_PLAINTEXT_BYTES;
        if over <= MAX_BODY_BESIDE_HEADER_BYTES { over } else { 0 }
    }
}

/// Fills in the length and the tag around a record's plaintext, which lies between them.
pub(super) fn seal_record(cipher: &mut RecordCipher, record: &mut [u8]) {
    let length = u16::try_from(record.len() - PREFIX_BYTES).expect("a record is short");
    record[..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    let tag_at = record.len() - TAG_BYTES;
    let tag = cipher.seal(&mut record[PREFIX_BYTES..tag_at]);
    record[tag_at..].copy_from_slice(&tag);
}

/// Gives `buffer` this length; bytes that it has already keep whatever they hold.
pub(super) fn resize(buffer: &mut BytesMut, length: usize) {
    if buffer.capacity() < length {
        *buffer = BytesMut::zeroed(capacity_for(length));
    }
    buffer.resize(length, 0);
}

/// Buffers come in few sizes. Small files are of any length, and an allocator that sorts by size
/// would keep pages for each of them.
pub(super) const fn capacity_for(length: usize) -> usize {
    if length > READ_BYTES {
        length
    } else if length > READ_BYTES / 4 {
        READ_BYTES
    } else {
        length.next_power_of_two()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Suite;

    fn cipher() -> RecordCipher {
        RecordCipher::new(Suite::ChaChaPoly, &[5; 32])
    }

    /// Fills a frame, seals it, opens it again and answers the records' plaintext lengths.
    fn check(length: usize, hashes: usize, buffer: BytesMut) -> alloc::vec::Vec<usize> {
        let mut frame = ChunkFrame::new(RequestId(7), length, hashes, buffer);
        frame.proof_mut().fill(0xBB);
        assert_eq!(frame.proof_mut().len(), hashes * 32);
        let mut at = 0_usize;
        for part in frame.body_mut() {
            for byte in part {
                *byte = at as u8;
                at += 1;
            }
        }
        assert_eq!(at, length);
        let sealed = frame.seal(&mut cipher());
        let mut lengths = alloc::vec::Vec::new();
        let mut plain = alloc::vec::Vec::new();
        let mut opener = cipher();
        let mut rest = &sealed[..];
        while !rest.is_empty() {
            let size = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
            let mut record = rest[2..2 + size].to_vec();
            let opened = opener.open_in_place(&mut record).unwrap();
            lengths.push(opened);
            plain.extend_from_slice(&record[..opened]);
            rest = &rest[2 + size..];
        }
        assert_eq!(plain[0], CHUNK);
        assert_eq!(plain[1..5], ((5 + hashes * 32 + length) as u32).to_be_bytes());
        assert_eq!(plain[5..10], [0, 0, 0, 7, hashes as u8]);
        assert!(plain[10..10 + hashes * 32].iter().all(|byte| *byte == 0xBB));
        let body = &plain[10 + hashes * 32..];
        assert_eq!(body.len(), length);
        assert!(body.iter().enumerate().all(|(at, byte)| *byte == at as u8));
        lengths
    }

    #[test]
    fn the_layout_fits_every_length() {
        assert_eq!(check(1, 0, BytesMut::new()), [11]);
        assert_eq!(check(65_509, 0, BytesMut::new()), [65_519]);
        assert_eq!(check(65_510, 0, BytesMut::new()), [10, 65_510]);
        assert_eq!(check(65_519, 0, BytesMut::new()), [10, 65_519]);
        assert_eq!(check(65_519, 30, BytesMut::new()), [970, 65_519]);
        assert_eq!(check(65_519 + 4_096, 0, BytesMut::new()), [4_106, 65_519]);
        assert_eq!(check(65_519 + 4_097, 0, BytesMut::new()), [10, 65_519, 4_097]);
        let whole = [78 + 20 * 32, 65_519, 65_519, 65_519, 65_519];
        assert_eq!(check(CHUNK_BYTES, 20, BytesMut::new()), whole);
    }

    #[test]
    fn a_used_buffer_does_not_show_through() {
        let mut dirty = BytesMut::zeroed(400_000);
        dirty.fill(0xEE);
        let lengths = check(CHUNK_BYTES, 3, dirty.clone());
        assert_eq!(lengths.len(), 5);
        dirty.truncate(10);
        assert_eq!(check(5_000, 1, dirty), [5_042]);
    }

    #[test]
    fn buffers_come_in_few_sizes() {
        const LARGE: usize = READ_BYTES / 4;
        for (length, capacity) in [
            (1, 1),
            (3, 4),
            (65_536, 65_536),
            (65_537, 131_072),
            (LARGE, 131_072),
            (LARGE + 1, READ_BYTES),
            (READ_BYTES, READ_BYTES),
            (READ_BYTES + 1, READ_BYTES + 1),
        ] {
            assert_eq!(capacity_for(length), capacity, "{length}");
        }
    }

    #[test]
    fn a_buffer_is_used_again_if_it_is_large_enough() {
        for (room, length, kept) in [(5_000, 5_000, true), (5_000, 5_001, false), (9, 3, true)] {
            let mut buffer = BytesMut::zeroed(room);
            let place = buffer.as_ptr();
            resize(&mut buffer, length);
            assert_eq!((buffer.len(), buffer.as_ptr() == place), (length, kept));
        }
    }
}
