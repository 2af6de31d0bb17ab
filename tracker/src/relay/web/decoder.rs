//! Frames from a client, made into messages.

use bytes::{Buf as _, Bytes, BytesMut};

use super::{Goodbye, code};

/// Control frames carry at most so much (RFC 6455, section 5.5).
const MAX_CONTROL_BYTES: usize = 125;
/// The longest head: two bytes, eight of length, four of mask.
const MAX_HEAD_BYTES: usize = 14;

/// Whoever has sent so much of a frame will send the rest: room for all of it is made at once.
const EAGER_BYTES: usize = 2048;
/// After a message of this length the next one is likely to be as long.
const LONG_BYTES: usize = 16 * 1024;

/// What came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A whole binary message.
    Message(BytesMut),
    /// To be answered with a pong of the same payload.
    Ping(Bytes),
    /// The other side closes.
    Close,
}

/// Turns bytes into messages. A message is never longer than the limit, and memory for it is taken
/// as its bytes come.
#[derive(Debug)]
pub(crate) struct Decoder {
    max_message_bytes: usize,
    head: [u8; MAX_HEAD_BYTES],
    head_bytes: usize,
    frame: Option<Frame>,
    /// What came of the message so far, in one frame or several.
    message: BytesMut,
    /// Between the first and the last frame of a message.
    in_message: bool,
    control: BytesMut,
    /// Length of the last message.
    last_bytes: usize,
}

/// The frame whose payload is coming.
#[derive(Debug, Clone, Copy)]
struct Frame {
    kind: Kind,
    last: bool,
    mask: [u8; 4],
    left: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Ping,
    Pong,
    Close,
}

impl Decoder {
    pub(crate) fn new(max_message_bytes: usize) -> Self {
        Self {
            max_message_bytes,
            head: [0; MAX_HEAD_BYTES],
            head_bytes: 0,
            frame: None,
            message: BytesMut::new(),
            in_message: false,
            control: BytesMut::new(),
            last_bytes: 0,
        }
    }

    /// Takes bytes off the front of `input` until something is complete, or all are taken.
    ///
    /// # Errors
    /// The rule that they break; nothing can be read after that.
    pub(crate) fn feed(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, Goodbye> {
        loop {
            if self.frame.is_none() && !self.take_head(input)? {
                return Ok(None);
            }
            self.absorb(input);
            if let Some(incoming) = self.finished() {
                return Ok(Some(incoming));
            }
            if input.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Takes the bytes of the frame that is coming off the front of `input`.
    fn absorb(&mut self, input: &mut &[u8]) {
        let Some(frame) = &self.frame else { return };
        let (bytes, rest) = input.split_at(frame.left.min(input.len()));
        *input = rest;
        let target = if frame.kind == Kind::Data { &mut self.message } else { &mut self.control };
        if bytes.len() >= EAGER_BYTES {
            target.reserve(frame.left);
        }
        target.extend_from_slice(bytes);
        self.unmask_last(bytes.len());
    }

    /// Where the bytes of the message that is coming can be read to, with room for all of its
    /// frame. If there is none yet, it is made if `more` is surely there.
    pub(crate) fn room(&mut self, more: bool) -> Option<bytes::buf::Limit<&mut BytesMut>> {
        let frame = self.frame.as_ref().filter(|frame| frame.kind == Kind::Data)?;
        let is_there = self.message.capacity() - self.message.len() >= frame.left;
        if frame.left == 0 || !(more || is_there) {
            return None;
        }
        self.message.reserve(frame.left);
        Some(bytes::BufMut::limit(&mut self.message, frame.left))
    }

    /// How many bytes the next message has with its head, if it is as long as the last one and
    /// that was long; `None` while one is coming.
    pub(crate) const fn likely_bytes(&self) -> Option<usize> {
        if self.head_bytes > 0 || self.frame.is_some() || self.last_bytes < LONG_BYTES {
            return None;
        }
        Some(MAX_HEAD_BYTES + self.last_bytes)
    }

    /// Like [`Decoder::feed`], but a message that makes up most of `input` stays where it is.
    ///
    /// # Errors
    /// Like [`Decoder::feed`].
    pub(crate) fn feed_whole(&mut self, input: &mut BytesMut) -> Result<Option<Incoming>, Goodbye> {
        let mut unread = &input[..];
        if self.frame.is_none() && !self.take_head(&mut unread)? {
            input.clear();
            return Ok(None);
        }
        let head = input.len() - unread.len();
        let Some(frame) = self.frame.filter(|frame| {
            frame.kind == Kind::Data
                && self.message.is_empty()
                && frame.left >= input.capacity() / 2
        }) else {
            let incoming = self.feed(&mut unread)?;
            let read = input.len() - unread.len();
            input.advance(read);
            return Ok(incoming);
        };
        input.advance(head);
        let bytes = frame.left.min(input.len());
        let rest = if bytes < input.len() { input.split_off(bytes) } else { BytesMut::new() };
        self.message = std::mem::replace(input, rest);
        self.unmask_last(bytes);
        Ok(self.finished())
    }

    /// So many bytes were put there; answers what is complete now.
    pub(crate) fn filled(&mut self, bytes: usize) -> Option<Incoming> {
        self.unmask_last(bytes);
        self.finished()
    }

    fn unmask_last(&mut self, bytes: usize) {
        let Some(frame) = &mut self.frame else { return };
        let target = if frame.kind == Kind::Data { &mut self.message } else { &mut self.control };
        let start = target.len() - bytes;
        unmask(&mut target[start..], frame.mask);
        frame.mask.rotate_left(bytes % 4);
        frame.left -= bytes;
    }

    /// What is complete.
    fn finished(&mut self) -> Option<Incoming> {
        let frame = self.frame.take_if(|frame| frame.left == 0)?;
        match frame.kind {
            Kind::Data => {
                self.in_message = !frame.last;
                self.last_bytes = self.message.len();
                frame.last.then(|| Incoming::Message(std::mem::take(&mut self.message)))
            }
            Kind::Ping => Some(Incoming::Ping(std::mem::take(&mut self.control).freeze())),
            Kind::Pong => {
                self.control = BytesMut::new();
                None
            }
            Kind::Close => Some(Incoming::Close),
        }
    }

    /// Takes bytes of a head; true if it is complete, and then its frame is begun.
    fn take_head(&mut self, input: &mut &[u8]) -> Result<bool, Goodbye> {
        loop {
            let needed = self.head_length();
            let (bytes, rest) = input.split_at((needed - self.head_bytes).min(input.len()));
            *input = rest;
            self.head[self.head_bytes..self.head_bytes + bytes.len()].copy_from_slice(bytes);
            self.head_bytes += bytes.len();
            if self.head_bytes < needed {
                return Ok(false);
            }
            if needed > 2 {
                break;
            }
            self.check_start()?;
        }
        self.frame = Some(self.begin()?);
        self.head_bytes = 0;
        Ok(true)
    }

    /// How long this head is, as far as it can be told.
    fn head_length(&self) -> usize {
        if self.head_bytes < 2 {
            return 2;
        }
        match self.head[1] & 0x7F {
            126 => 8,
            127 => 14,
            _ => 6,
        }
    }

    /// What the first two bytes say already.
    fn check_start(&self) -> Result<(), Goodbye> {
        let [first, second, ..] = self.head;
        let control = first & 0x08 != 0;
        let whole = first & 0x80 != 0;
        let broken = |rule: &str| Err(Goodbye::new(code::PROTOCOL, rule.to_owned()));
        if first & 0x70 != 0 {
            return broken("reserved bits are set");
        }
        if second & 0x80 == 0 {
            return broken("a client's frame is not masked");
        }
        if control && (!whole || usize::from(second & 0x7F) > MAX_CONTROL_BYTES) {
            return broken("a control frame is too long or in pieces");
        }
        match first & 0x0F {
            0x0 if !self.in_message => broken("a continuation of nothing"),
            0x2 if self.in_message => broken("a message inside a message"),
            0x0 | 0x2 | 0x8 | 0x9 | 0xA => Ok(()),
            // spec R2b
            0x1 => Err(Goodbye::new(code::UNSUPPORTED, "binary messages only".to_owned())),
            _ => broken("an unknown opcode"),
        }
    }

    /// The frame of a complete head.
    fn begin(&self) -> Result<Frame, Goodbye> {
        let head = &self.head;
        let (length, mask) = match head[1] & 0x7F {
            126 => (
                u64::from(u16::from_be_bytes([head[2], head[3]])),
                [head[4], head[5], head[6], head[7]],
            ),
            127 => {
                let mut length = [0; 8];
                length.copy_from_slice(&head[2..10]);
                (u64::from_be_bytes(length), [head[10], head[11], head[12], head[13]])
            }
            short => (u64::from(short), [head[2], head[3], head[4], head[5]]),
        };
        let kind = match head[0] & 0x0F {
            0x8 => Kind::Close,
            0x9 => Kind::Ping,
            0xA => Kind::Pong,
            _ => Kind::Data,
        };
        let room = self.max_message_bytes.saturating_sub(self.message.len()) as u64;
        if kind == Kind::Data && length > room {
            return Err(Goodbye::new(code::TOO_LONG, "the message is too long".to_owned()));
        }
        let left = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(Frame { kind, last: head[0] & 0x80 != 0, mask, left })
    }
}

/// Takes the mask off, or puts it on. `mask` begins with the byte that meets the first one.
pub(super) fn unmask(data: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = data.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}
