//! The bytes of control messages: `type u8 ‖ length u32 ‖ body`, all numbers big-endian.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Handle, Message, RequestId, Unavailable};
use crate::codec::{DecodeError, Reader, Write};
use crate::id::{ChunkRef, Descriptor, Hash, Kind, Locator, Space};
use crate::limits::{MAX_FILE_BYTES, MAX_FRAME_BYTES, MAX_HAVE_BITS, MAX_NAME_BYTES};
use crate::limits::{MAX_SHARE_CHUNKS, TAG_BYTES};

/// Bytes before the body of a frame.
pub(crate) const HEADER_BYTES: usize = 5;
/// The frame type of a chunk, which is not a [`Message`].
pub(crate) const CHUNK: u8 = 15;

const HELLO: u8 = 1;
const OPEN: u8 = 2;
const OPENED: u8 = 3;
const REFUSED: u8 = 4;
const HAVE_ALL: u8 = 5;
const HAVE_BITS: u8 = 6;
const HAVE_CHUNK: u8 = 7;
const REQUEST: u8 = 8;
const CANCEL: u8 = 9;
const UNAVAILABLE: u8 = 10;
const COMPLETE: u8 = 11;
const PING: u8 = 12;
const PONG: u8 = 13;
const BYE: u8 = 14;

const _: () = assert!(MAX_FRAME_BYTES > MAX_HAVE_BITS / 8 + TAG_BYTES, "the longest message fits");

/// Whether a frame of this type is a [`Message`].
pub(crate) const fn is_message(frame_type: u8) -> bool {
    matches!(frame_type, HELLO..=BYE)
}

impl Message {
    /// Appends the whole frame.
    ///
    /// # Panics
    /// If a name or a bit field is longer than its limit: the caller's own mistake.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u8(self.frame_type());
        out.put_u32(0);
        self.encode_body(out);
        let length = out.len() - start - HEADER_BYTES;
        assert!(length <= MAX_FRAME_BYTES, "a message is within its limits");
        let length = u32::try_from(length).expect("a frame is short");
        out[start + 1..start + HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
    }

    const fn frame_type(&self) -> u8 {
        match self {
            Self::Hello { .. } => HELLO,
            Self::Open { .. } => OPEN,
            Self::Opened { .. } => OPENED,
            Self::Refused { .. } => REFUSED,
            Self::HaveAll { .. } => HAVE_ALL,
            Self::HaveBits { .. } => HAVE_BITS,
            Self::HaveChunk { .. } => HAVE_CHUNK,
            Self::Request { .. } => REQUEST,
            Self::Cancel { .. } => CANCEL,
            Self::Unavailable { .. } => UNAVAILABLE,
            Self::Complete { .. } => COMPLETE,
            Self::Ping { .. } => PING,
            Self::Pong { .. } => PONG,
            Self::Bye => BYE,
        }
    }

    fn encode_body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello { version_min, version_max, instance } => {
                out.put_u16(*version_min);
                out.put_u16(*version_max);
                out.put_u64(*instance);
            }
            Self::Open { handle, locator, proof } => {
                out.put_u32(handle.0);
                out.put(&locator.0);
                out.put(proof);
            }
            Self::Opened { handle, proof, descriptor, name } => {
                assert!(name.len() <= MAX_NAME_BYTES, "a name is within its limit");
                out.put_u32(handle.0);
                out.put(proof);
                out.put_u8(descriptor.kind as u8);
                out.put_u64(descriptor.length_bytes);
                out.put(&descriptor.root.0);
                out.put_bytes16(name.as_bytes());
            }
            Self::Refused { handle } | Self::Complete { handle } => out.put_u32(handle.0),
            Self::HaveAll { handle, space } => {
                out.put_u32(handle.0);
                out.put_u8(*space as u8);
            }
            Self::HaveBits { handle, space, first, bits } => {
                assert!(bits.len() <= MAX_HAVE_BITS / 8, "a bit field is within its limit");
                out.put_u32(handle.0);
                out.put_u8(*space as u8);
                out.put_u64(*first);
                out.put(bits);
            }
            Self::HaveChunk { handle, chunk } => {
                out.put_u32(handle.0);
                put_chunk(out, *chunk);
            }
            Self::Request { request, handle, chunk } => {
                out.put_u32(request.0);
                out.put_u32(handle.0);
                put_chunk(out, *chunk);
            }
            Self::Cancel { request } => out.put_u32(request.0),
            Self::Unavailable { request, why } => {
                out.put_u32(request.0);
                out.put_u8(*why as u8);
            }
            Self::Ping { token } | Self::Pong { token } => out.put_u64(*token),
            Self::Bye => {}
        }
    }

    /// Reads the body of a frame of this type.
    ///
    /// # Errors
    /// `unknown_frame_type`; `truncated` or `trailing_bytes` if the body has another length than
    /// its type asks for (a `Hello` may be longer: later versions may add to it); `too_long`,
    /// `not_utf8`, `unknown_kind`, `unknown_space`, `unknown_reason`, `version_range`,
    /// `out_of_range`, `have_bits` for the values that the specification rules out.
    // spec M1: type, length and values
    pub fn decode(frame_type: u8, body: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let message = match frame_type {
            HELLO => return hello(&mut reader),
            OPEN => Self::Open {
                handle: handle(&mut reader)?,
                locator: Locator(reader.array()?),
                proof: reader.array()?,
            },
            OPENED => opened(&mut reader)?,
            REFUSED => Self::Refused { handle: handle(&mut reader)? },
            HAVE_ALL => Self::HaveAll { handle: handle(&mut reader)?, space: space(&mut reader)? },
            HAVE_BITS => have_bits(&mut reader)?,
            HAVE_CHUNK => {
                Self::HaveChunk { handle: handle(&mut reader)?, chunk: chunk(&mut reader)? }
            }
            REQUEST => Self::Request {
                request: request(&mut reader)?,
                handle: handle(&mut reader)?,
                chunk: chunk(&mut reader)?,
            },
            CANCEL => Self::Cancel { request: request(&mut reader)? },
            UNAVAILABLE => {
                Self::Unavailable { request: request(&mut reader)?, why: why(&mut reader)? }
            }
            COMPLETE => Self::Complete { handle: handle(&mut reader)? },
            PING => Self::Ping { token: reader.u64()? },
            PONG => Self::Pong { token: reader.u64()? },
            BYE => Self::Bye,
            _ => return Err(DecodeError("unknown_frame_type")),
        };
        reader.finish()?;
        Ok(message)
    }
}

fn put_chunk(out: &mut Vec<u8>, chunk: ChunkRef) {
    out.put_u8(chunk.space as u8);
    out.put_u64(chunk.index);
}

fn handle(reader: &mut Reader<'_>) -> Result<Handle, DecodeError> {
    Ok(Handle(reader.u32()?))
}

fn request(reader: &mut Reader<'_>) -> Result<RequestId, DecodeError> {
    Ok(RequestId(reader.u32()?))
}

fn space(reader: &mut Reader<'_>) -> Result<Space, DecodeError> {
    Space::try_from(reader.u8()?)
}

fn chunk(reader: &mut Reader<'_>) -> Result<ChunkRef, DecodeError> {
    let chunk = ChunkRef { space: space(reader)?, index: reader.u64()? };
    if chunk.index < MAX_SHARE_CHUNKS { Ok(chunk) } else { Err(DecodeError("out_of_range")) }
}

fn why(reader: &mut Reader<'_>) -> Result<Unavailable, DecodeError> {
    match reader.u8()? {
        0 => Ok(Unavailable::NotHad),
        1 => Ok(Unavailable::SourceChanged),
        2 => Ok(Unavailable::ReadFailed),
        3 => Ok(Unavailable::Withdrawn),
        _ => Err(DecodeError("unknown_reason")),
    }
}

// spec M2: what a later version appends is left unread
fn hello(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
    let (version_min, version_max) = (reader.u16()?, reader.u16()?);
    // spec M3b
    if version_min > version_max {
        return Err(DecodeError("version_range"));
    }
    Ok(Message::Hello { version_min, version_max, instance: reader.u64()? })
}

fn opened(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
    let handle = handle(reader)?;
    let proof = reader.array()?;
    let kind = Kind::try_from(reader.u8()?)?;
    let length_bytes = reader.u64()?;
    if length_bytes > MAX_FILE_BYTES {
        return Err(DecodeError("out_of_range"));
    }
    let root = Hash(reader.array()?);
    let name = String::from(reader.str16(MAX_NAME_BYTES)?);
    let descriptor = Descriptor { kind, length_bytes, root };
    Ok(Message::Opened { handle, proof, descriptor, name })
}

// spec M12
fn have_bits(reader: &mut Reader<'_>) -> Result<Message, DecodeError> {
    let handle = handle(reader)?;
    let space = space(reader)?;
    let first = reader.u64()?;
    let length = reader.remaining();
    if length == 0 || length > MAX_HAVE_BITS / 8 || !first.is_multiple_of(8) {
        return Err(DecodeError("have_bits"));
    }
    if first.checked_add(length as u64 * 8).is_none_or(|end| end > MAX_SHARE_CHUNKS) {
        return Err(DecodeError("out_of_range"));
    }
    Ok(Message::HaveBits { handle, space, first, bits: reader.take(length)?.to_vec() })
}

#[cfg(test)]
mod tests;
