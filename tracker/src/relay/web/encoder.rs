//! Messages to a client, made into frames that are written without a copy.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::Goodbye;

/// The frames that wait to be written.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that are written.
    written: usize,
    /// Payload bytes of all messages that wait.
    backlog: usize,
    /// The answer to the last ping: at most one waits, whatever the other side sends.
    pong: Option<Bytes>,
}

#[derive(Debug)]
struct Frame {
    head: [u8; 10],
    head_bytes: usize,
    payload: Bytes,
    /// Whether it is a message, whose bytes are counted.
    counts: bool,
}

impl Encoder {
    pub(crate) fn message(&mut self, payload: Bytes) {
        self.backlog += payload.len();
        self.frames.push_back(Frame::new(0x2, payload, true));
    }

    pub(crate) fn pong(&mut self, payload: Bytes) {
        self.pong = Some(payload);
    }

    pub(crate) fn close(&mut self, goodbye: &Goodbye) {
        let mut payload = BytesMut::with_capacity(2 + goodbye.reason.len());
        payload.put_u16(goodbye.code);
        payload.put_slice(goodbye.reason.as_bytes());
        self.frames.push_back(Frame::new(0x8, payload.freeze(), false));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.pong.is_none()
    }

    /// Payload bytes of messages that wait.
    pub(crate) const fn backlog(&self) -> usize {
        self.backlog
    }

    /// Fills `slices` with what is to be written next; answers how many it filled.
    pub(crate) fn slices<'a>(&'a mut self, slices: &mut [IoSlice<'a>]) -> usize {
        if let Some(payload) = self.pong.take() {
            // Behind the frame that is half written, before all others.
            let at = usize::from(self.written > 0);
            self.frames.insert(at, Frame::new(0xA, payload, false));
        }
        let mut filled = 0;
        let mut skip = self.written;
        for frame in &self.frames {
            for piece in [&frame.head[..frame.head_bytes], &frame.payload[..]] {
                let cut = skip.min(piece.len());
                skip -= cut;
                if cut < piece.len() && filled < slices.len() {
                    slices[filled] = IoSlice::new(&piece[cut..]);
                    filled += 1;
                }
            }
            if filled == slices.len() {
                break;
            }
        }
        filled
    }

    /// So many bytes were written; answers how many of them were payload of messages.
    pub(crate) fn advance(&mut self, bytes: usize) -> usize {
        let mut counted = 0;
        let mut left = bytes;
        while left > 0 {
            let Some(frame) = self.frames.front() else { break };
            let total = frame.head_bytes + frame.payload.len();
            let step = left.min(total - self.written);
            if frame.counts {
                let before = self.written.saturating_sub(frame.head_bytes);
                let after = (self.written + step).saturating_sub(frame.head_bytes);
                counted += after - before;
            }
            self.written += step;
            left -= step;
            if self.written == total {
                self.frames.pop_front();
                self.written = 0;
            }
        }
        self.backlog -= counted;
        if self.frames.is_empty() {
            // Most connections are idle; a busy one takes it again for each batch, not each frame.
            self.frames = VecDeque::new();
        }
        counted
    }
}

impl Frame {
    fn new(opcode: u8, payload: Bytes, counts: bool) -> Self {
        let mut head = [0x80 | opcode; 10];
        let length = payload.len();
        let head_bytes = match length {
            0..=125 => {
                head[1] = length as u8;
                2
            }
            126..=0xFFFF => {
                head[1] = 126;
                head[2..4].copy_from_slice(&(length as u16).to_be_bytes());
                4
            }
            _ => {
                head[1] = 127;
                head[2..].copy_from_slice(&(length as u64).to_be_bytes());
                10
            }
        };
        Self { head, head_bytes, payload, counts }
    }
}
