//! What goes to the stream: control messages at once, in as few records as there can be, before
//! chunks.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use crate::crypto::record::RecordCipher;
use crate::limits::{MAX_RECORD_PLAINTEXT_BYTES, TAG_BYTES};
use crate::session::chunk_frame::{ChunkFrame, seal_record};
use crate::wire::Message;

const PREFIX_BYTES: usize = 2;

/// The sending half of a session.
pub(super) struct Sender {
    cipher: RecordCipher,
    /// Frames that are not sealed yet.
    control: Vec<u8>,
    /// How many of those bytes answer something that the peer asked.
    answers: usize,
    /// What the stream has not taken yet, in order.
    unsent: VecDeque<Unsent>,
    unsent_bytes: usize,
    unsent_control_bytes: usize,
    unsent_answer_bytes: usize,
}

/// One piece that was handed to the stream.
struct Unsent {
    bytes: usize,
    control: usize,
    answers: usize,
}

impl Sender {
    pub(super) fn new(cipher: RecordCipher) -> Self {
        Self {
            cipher,
            control: Vec::new(),
            answers: 0,
            unsent: VecDeque::new(),
            unsent_bytes: 0,
            unsent_control_bytes: 0,
            unsent_answer_bytes: 0,
        }
    }

    /// Queues a message for the next [`Sender::flush`].
    pub(super) fn message(&mut self, message: &Message) {
        let before = self.control.len();
        message.encode(&mut self.control);
        if is_answer(message) {
            self.answers += self.control.len() - before;
        }
    }

    /// The queued messages as records.
    pub(super) fn flush(&mut self) -> Option<Bytes> {
        if self.control.is_empty() {
            return None;
        }
        let records = self.control.len().div_ceil(MAX_RECORD_PLAINTEXT_BYTES);
        let total = self.control.len() + records * (PREFIX_BYTES + TAG_BYTES);
        let mut out = BytesMut::with_capacity(total);
        for plain in self.control.chunks(MAX_RECORD_PLAINTEXT_BYTES) {
            let start = out.len();
            out.extend_from_slice(&[0; PREFIX_BYTES]);
            out.extend_from_slice(plain);
            out.extend_from_slice(&[0; TAG_BYTES]);
            seal_record(&mut self.cipher, &mut out[start..]);
        }
        let answers = core::mem::take(&mut self.answers);
        self.handed_over(Unsent { bytes: out.len(), control: out.len(), answers });
        if self.control.capacity() > MAX_RECORD_PLAINTEXT_BYTES {
            self.control = Vec::new();
        }
        self.control.clear();
        Some(out.freeze())
    }

    /// A chunk as records. Call [`Sender::flush`] first: messages go before chunks.
    // spec M20
    pub(super) fn chunk(&mut self, frame: ChunkFrame) -> Bytes {
        let bytes = frame.seal(&mut self.cipher);
        self.handed_over(Unsent { bytes: bytes.len(), control: 0, answers: 0 });
        bytes
    }

    /// The stream has taken so many bytes.
    pub(super) fn sent(&mut self, bytes: usize) {
        let mut left = bytes.min(self.unsent_bytes);
        self.unsent_bytes -= left;
        while let Some(first) = self.unsent.front_mut() {
            let taken = left.min(first.bytes);
            first.bytes -= taken;
            left -= taken;
            if first.bytes > 0 {
                break;
            }
            self.unsent_control_bytes -= first.control;
            self.unsent_answer_bytes -= first.answers;
            self.unsent.pop_front();
        }
    }

    /// Bytes that the stream has not taken yet.
    pub(super) const fn unsent_bytes(&self) -> usize {
        self.unsent_bytes
    }

    /// Of those, bytes other than chunks, with what is not sealed yet.
    pub(super) const fn control_bytes(&self) -> usize {
        self.unsent_control_bytes + self.control.len()
    }

    /// Of those, answers.
    pub(super) const fn answer_bytes(&self) -> usize {
        self.unsent_answer_bytes + self.answers
    }

    /// Gives back what only a busy session needs.
    pub(super) fn shrink(&mut self) {
        self.control.shrink_to_fit();
        self.unsent.shrink_to_fit();
    }

    fn handed_over(&mut self, piece: Unsent) {
        self.unsent_bytes += piece.bytes;
        self.unsent_control_bytes += piece.control;
        self.unsent_answer_bytes += piece.answers;
        self.unsent.push_back(piece);
    }
}

/// Whether the peer made us say this.
const fn is_answer(message: &Message) -> bool {
    match message {
        Message::Opened { .. }
        | Message::Refused { .. }
        | Message::Unavailable { .. }
        | Message::Pong { .. } => true,
        Message::Hello { .. }
        | Message::Open { .. }
        | Message::HaveAll { .. }
        | Message::HaveBits { .. }
        | Message::HaveChunk { .. }
        | Message::Request { .. }
        | Message::Cancel { .. }
        | Message::Complete { .. }
        | Message::Ping { .. }
        | Message::Bye => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Suite;
    use crate::wire::{Handle, RequestId};

    const RECORD_BYTES: usize = PREFIX_BYTES + TAG_BYTES;

    fn sender() -> Sender {
        Sender::new(RecordCipher::new(Suite::ChaChaPoly, &[5; 32]))
    }

    /// What waits: all bytes, those of messages, those of answers.
    fn waiting(sender: &Sender) -> (usize, usize, usize) {
        (sender.unsent_bytes(), sender.control_bytes(), sender.answer_bytes())
    }

    // Spec S23b
    #[test]
    fn what_waits_is_counted_until_the_stream_has_taken_all_of_a_piece() {
        let mut sender = sender();
        assert_eq!(sender.flush(), None);
        sender.message(&Message::Ping { token: 1 });
        assert_eq!(waiting(&sender), (0, 13, 0));
        sender.message(&Message::Pong { token: 1 });
        sender.message(&Message::Pong { token: 2 });
        assert_eq!(waiting(&sender), (0, 39, 26));
        let first = sender.flush().unwrap().len();
        assert_eq!(first, 39 + RECORD_BYTES);
        assert_eq!(waiting(&sender), (first, first, 26));
        let frame = ChunkFrame::new(RequestId(1), 100, 0, BytesMut::new());
        let chunk = sender.chunk(frame).len();
        assert_eq!(chunk, 110 + RECORD_BYTES);
        assert_eq!(waiting(&sender), (first + chunk, first, 26));
        sender.message(&Message::Refused { handle: Handle(1) });
        let last = sender.flush().unwrap().len();
        assert_eq!(waiting(&sender), (first + chunk + last, first + last, 26 + 9));

        sender.sent(first - 1);
        assert_eq!(waiting(&sender), (1 + chunk + last, first + last, 26 + 9));
        sender.sent(2);
        assert_eq!(waiting(&sender), (chunk - 1 + last, last, 9));
        sender.sent(chunk - 1 + last - 1);
        assert_eq!(waiting(&sender), (1, last, 9));
        sender.sent(1_000);
        assert_eq!(waiting(&sender), (0, 0, 0));
        assert!(sender.unsent.is_empty());
    }

    #[test]
    fn many_messages_go_in_as_few_records_as_there_can_be() {
        for (pings, records) in [(1, 1), (5_039, 1), (5_040, 2), (10_079, 2), (10_080, 3)] {
            let mut sender = sender();
            (0..pings).for_each(|token| sender.message(&Message::Ping { token }));
            let plain = 13 * usize::try_from(pings).unwrap();
            assert_eq!(plain.div_ceil(MAX_RECORD_PLAINTEXT_BYTES), records);
            assert_eq!(sender.flush().unwrap().len(), plain + records * RECORD_BYTES);
            assert_eq!(sender.flush(), None);
            let room = sender.control.capacity();
            assert!(room <= MAX_RECORD_PLAINTEXT_BYTES, "{room} bytes held while idle");
            assert_eq!(room > 0, plain < MAX_RECORD_PLAINTEXT_BYTES / 2, "{room}");
        }
    }
}
