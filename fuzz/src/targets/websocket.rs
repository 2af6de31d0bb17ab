//! The tracker's WebSocket decoder: it does not matter where the bytes are cut, and by which of its
//! three doors they come.
//!
//! The decoder is pure and stands alone, so it is compiled in here: with the tracker as a
//! dependency, the simulated world would wait for a database to be built.

#[path = "../../../tracker/src/relay/web/decoder.rs"]
mod decoder;

use bytes::{BufMut as _, BytesMut};

use decoder::{Decoder, Incoming};

use super::feed::{Feed, pieces};

/// As the tracker names them.
mod code {
    pub(super) const PROTOCOL: u16 = 1002;
    pub(super) const UNSUPPORTED: u16 = 1003;
    pub(super) const TOO_LONG: u16 = 1009;
}

/// As the tracker has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Goodbye {
    code: u16,
    reason: String,
}

impl Goodbye {
    const fn new(code: u16, reason: String) -> Self {
        Self { code, reason }
    }
}

/// The longest message in this target.
const MAX_BYTES: usize = 3_000;
/// The payload of a ping.
const MAX_PING_BYTES: usize = 125;

/// Two bytes that say where it is cut, and a stream of frames.
pub fn websocket(data: &[u8]) {
    let mut feed = Feed::new(data);
    let cuts: [u8; 2] = feed.array();
    let stream = feed.rest();
    let whole = decode(stream, &[], Door::Copied);
    for door in [Door::Copied, Door::Room, Door::Buffer] {
        assert_eq!(decode(stream, &cuts, door), whole, "cuts and doors do not matter: {door:?}");
    }
}

/// How bytes come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// From memory that stays the driver's.
    Copied,
    /// Straight into the message.
    Room,
    /// In a buffer that becomes the message.
    Buffer,
}

fn take(
    decoder: &mut Decoder,
    unread: &mut BytesMut,
    door: Door,
) -> Result<Option<Incoming>, Goodbye> {
    if door == Door::Buffer {
        return decoder.feed_whole(unread);
    }
    if door == Door::Room
        && !unread.is_empty()
        && let Some(mut room) = decoder.room(unread.len() > 8)
    {
        let length = room.remaining_mut().min(unread.len());
        room.put_slice(&unread.split_to(length));
        return Ok(decoder.filled(length));
    }
    let mut slice = &unread[..];
    let incoming = decoder.feed(&mut slice);
    let left = slice.len();
    let _ = unread.split_to(unread.len() - left);
    incoming
}

fn decode(stream: &[u8], cuts: &[u8], door: Door) -> Vec<Result<Incoming, Goodbye>> {
    let mut decoder = Decoder::new(MAX_BYTES);
    let mut all = Vec::new();
    for piece in pieces(stream, cuts) {
        let mut unread = BytesMut::from(piece);
        loop {
            let incoming = match take(&mut decoder, &mut unread, door) {
                Ok(incoming) => incoming,
                Err(goodbye) => {
                    let codes = [code::PROTOCOL, code::UNSUPPORTED, code::TOO_LONG];
                    assert!(codes.contains(&goodbye.code) && goodbye.reason.len() < 123);
                    all.push(Err(goodbye));
                    return all;
                }
            };
            if let Some(incoming) = incoming {
                match &incoming {
                    Incoming::Message(message) => {
                        assert!(message.len() <= MAX_BYTES && message.capacity() <= 4 * MAX_BYTES);
                    }
                    Incoming::Ping(payload) => assert!(payload.len() <= MAX_PING_BYTES),
                    Incoming::Close => {
                        all.push(Ok(incoming));
                        return all;
                    }
                }
                assert!(decoder.likely_bytes().is_none_or(|bytes| bytes <= MAX_BYTES + 14));
                all.push(Ok(incoming));
            } else if unread.is_empty() {
                break;
            }
        }
    }
    all
}

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    let mut frame = vec![first];
    match u16::try_from(payload.len()).expect("seeds are short") {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let pieces = [frame(0x02, b"one, "), frame(0x89, b"ping"), frame(0x80, b"two")].concat();
    let seed = |stream: &[u8]| [&[6, 0], stream].concat();
    vec![
        seed(&frame(0x82, b"Hello")),
        seed(&frame(0x82, &[7; 300])),
        seed(&[pieces, frame(0x8A, b""), frame(0x88, &[3, 232])].concat()),
        seed(&frame(0x81, b"text")),
        seed(&[&[0x82, 0xFF][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat()),
        seed(&[0x82, 0x01, 0x00]),
        seed(&frame(0xC2, b"")),
        seed(&frame(0x83, b"")),
    ]
}
