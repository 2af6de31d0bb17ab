//! The frames of the relay protocol (spec chapter "Relay").
//!
//! Every binary WebSocket message is one frame; its first byte says which:
//!
//! | byte | frame | rest |
//! |---|---|---|
//! | 0 | handshake | one Noise XX message, before anything else |
//! | 1 | control | one Noise transport message; its plaintext is a [`ToHub`] or a [`ToClient`] |
//! | 2 | data | circuit u32, then 1 to 65,536 bytes that are already encrypted end to end |
//!
//! A circuit has one number on each of its two WebSockets. The caller's client numbers the circuits
//! that it opens (1 … 2³¹−1), the hub those that come in (2³¹ …); both only count upwards, so that
//! a number which was once in use can be told from one that never was.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use bytes::BytesMut;

use crate::codec::{DecodeError, Reader, Write};
use crate::id::{Instance, PeerId};
use crate::limits::{
    MAX_RELAY_CONTROL_BYTES, MAX_RELAY_PAYLOAD_BYTES, MAX_RELAY_TOKEN_BYTES, RELAY_WINDOW_MAX_BYTES,
};

/// The WebSocket subprotocol that both sides name.
pub const SUBPROTOCOL: &str = "towpath-relay-v1";
/// What the handshake's prologue begins with; the host as dialled follows, in lower case.
pub const PROLOGUE: &[u8] = b"towpath relay v1";
/// First byte of a data frame and its circuit number.
pub const DATA_HEADER_BYTES: usize = 5;
/// Numbers from here on are the hub's.
pub const FIRST_HUB_CIRCUIT: u32 = 1 << 31;

/// Which kind of frame a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A Noise XX message.
    Handshake = 0,
    /// A sealed control message.
    Control = 1,
    /// Bytes of a circuit.
    Data = 2,
}

/// The kind of a whole message, whose length is checked against its kind's limit.
///
/// # Errors
/// `empty_frame`, `unknown_frame`, `frame_too_long` or `empty_data`.
// spec R3 and R4: the first byte, and how long such a message may be
pub fn kind(message: &[u8]) -> Result<Kind, DecodeError> {
    let kind = match message.first() {
        None => return Err(DecodeError("empty_frame")),
        Some(0) => Kind::Handshake,
        Some(1) => Kind::Control,
        Some(2) => Kind::Data,
        Some(_) => return Err(DecodeError("unknown_frame")),
    };
    let most = match kind {
        Kind::Handshake | Kind::Control => 1 + MAX_RELAY_CONTROL_BYTES,
        Kind::Data => DATA_HEADER_BYTES + MAX_RELAY_PAYLOAD_BYTES,
    };
    if message.len() > most {
        return Err(DecodeError("frame_too_long"));
    }
    if kind == Kind::Data && message.len() <= DATA_HEADER_BYTES {
        return Err(DecodeError("empty_data"));
    }
    Ok(kind)
}

/// The circuit number of a data frame that [`kind`] has checked.
///
/// # Errors
/// `truncated` if it was not checked.
pub fn data_circuit(message: &[u8]) -> Result<u32, DecodeError> {
    let mut reader = Reader::new(message);
    reader.u8()?;
    reader.u32()
}

/// Gives a data frame another circuit number, in place.
///
/// # Panics
/// If the message is shorter than a data frame's header.
pub fn set_data_circuit(message: &mut [u8], circuit: u32) {
    message[1..DATA_HEADER_BYTES].copy_from_slice(&circuit.to_be_bytes());
}

/// The beginning of a data frame, with room for `payload_bytes` behind it.
#[must_use]
pub fn begin_data(circuit: u32, payload_bytes: usize) -> BytesMut {
    let mut message = BytesMut::with_capacity(DATA_HEADER_BYTES + payload_bytes);
    message.put_u8(Kind::Data as u8);
    message.put_u32(circuit);
    message
}

/// What a client tells the hub under the seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToHub {
    /// First of all: which instance of the key this is.
    Login {
        /// Its number.
        instance: u64,
    },
    /// A circuit to somebody.
    Open {
        /// The caller's number for it, greater than all before.
        circuit: u32,
        /// To whom.
        to: Instance,
        /// Bytes that the called peer may send before more credit comes.
        window_bytes: u32,
    },
    /// The called peer takes the circuit.
    Accept {
        /// The hub's number for it.
        circuit: u32,
        /// Bytes that the caller may send before more credit comes.
        window_bytes: u32,
    },
    /// The called peer does not.
    Refuse {
        /// The hub's number for it.
        circuit: u32,
    },
    /// The circuit ends; nothing more comes on it.
    Close {
        /// Which.
        circuit: u32,
    },
    /// The receiver can take more.
    Credit {
        /// Which circuit.
        circuit: u32,
        /// So many bytes more, at least 1.
        bytes: u32,
    },
    /// The answer to [`ToClient::Reclaim`].
    Returned {
        /// Which circuit.
        circuit: u32,
        /// So many bytes of the hub's window are given back, perhaps none.
        bytes: u32,
    },
    /// Say `Pong`.
    Ping {
        /// Any number.
        nonce: u64,
    },
    /// The answer to `Ping`.
    Pong {
        /// The same number.
        nonce: u64,
    },
}

/// What the hub tells a client under the seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToClient {
    /// Logged in.
    Welcome {
        /// For REST calls; opaque.
        token: String,
        /// The client's address as the tracker sees it.
        observed: IpAddr,
        /// The most circuits of one connection, waiting ones included.
        max_circuits: u32,
    },
    /// A fresh token, before the old one expires.
    Token {
        /// For REST calls; opaque.
        token: String,
    },
    /// Somebody wants a circuit.
    Incoming {
        /// The hub's number for it, greater than all before.
        circuit: u32,
        /// Who.
        from: Instance,
        /// The caller's window: bytes that we may send, once we accept.
        window_bytes: u32,
        /// The hub's window for what we send.
        hub_bytes: u32,
    },
    /// The circuit is open.
    Opened {
        /// The caller's number.
        circuit: u32,
        /// The called peer's window: bytes that we may send.
        window_bytes: u32,
        /// The hub's window for what we send.
        hub_bytes: u32,
    },
    /// The circuit will not be.
    OpenFailed {
        /// The caller's number.
        circuit: u32,
        /// Why.
        reason: OpenError,
    },
    /// The circuit has ended, after all its bytes.
    Close {
        /// Which.
        circuit: u32,
        /// Why.
        reason: CircuitEnd,
    },
    /// The receiver can take more.
    Credit {
        /// Which circuit.
        circuit: u32,
        /// So many bytes more.
        bytes: u32,
    },
    /// The hub can take more.
    HubCredit {
        /// Which circuit.
        circuit: u32,
        /// So much more of the hub's window.
        bytes: u32,
    },
    /// The hub wants some of its window back; answered with [`ToHub::Returned`].
    Reclaim {
        /// Which circuit.
        circuit: u32,
        /// At most so much.
        bytes: u32,
    },
    /// Say `Pong`.
    Ping {
        /// Any number.
        nonce: u64,
    },
    /// The answer to `Ping`.
    Pong {
        /// The same number.
        nonce: u64,
    },
    /// The hub closes the connection now.
    Goodbye {
        /// Why.
        reason: Goodbye,
    },
}

/// Why a circuit could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenError {
    /// The called instance is not connected.
    Absent = 1,
    /// It does not want to.
    Refused = 2,
    /// It did not answer in time.
    NoAnswer = 3,
    /// A limit of the hub: too many circuits, or too many at once.
    Busy = 4,
}

/// Why an open circuit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitEnd {
    /// The other side closed it.
    Closed = 0,
    /// The other side's connection to the hub ended.
    Lost = 1,
    /// The call was not answered in time.
    NoAnswer = 2,
}

/// Why the hub ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// The same instance logged in again.
    Replaced = 1,
    /// The tracker stops.
    Shutdown = 2,
    /// The client broke a rule.
    Misbehaved = 3,
    /// A limit of the hub was reached.
    Limit = 4,
    /// The client did not read, or did not answer, for too long.
    Timeout = 5,
}

const LOGIN: u8 = 1;
const OPEN: u8 = 2;
const ACCEPT: u8 = 3;
const REFUSE: u8 = 4;
const CLOSE: u8 = 5;
const CREDIT: u8 = 6;
const RETURNED: u8 = 7;
const PING: u8 = 8;
const PONG: u8 = 9;
const WELCOME: u8 = 10;
const TOKEN: u8 = 11;
const INCOMING: u8 = 12;
const OPENED: u8 = 13;
const OPEN_FAILED: u8 = 14;
const HUB_CREDIT: u8 = 15;
const RECLAIM: u8 = 16;
const GOODBYE: u8 = 17;

impl ToHub {
    /// The plaintext of a control frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::Login { instance } => {
                out.put_u8(LOGIN);
                out.put_u64(*instance);
            }
            Self::Open { circuit, to, window_bytes } => {
                put_two(&mut out, OPEN, *circuit, *window_bytes);
                put_instance(&mut out, to);
            }
            Self::Accept { circuit, window_bytes } => {
                put_two(&mut out, ACCEPT, *circuit, *window_bytes);
            }
            Self::Refuse { circuit } => put_one(&mut out, REFUSE, *circuit),
            Self::Close { circuit } => put_one(&mut out, CLOSE, *circuit),
            Self::Credit { circuit, bytes } => put_two(&mut out, CREDIT, *circuit, *bytes),
            Self::Returned { circuit, bytes } => put_two(&mut out, RETURNED, *circuit, *bytes),
            Self::Ping { nonce } => put_nonce(&mut out, PING, *nonce),
            Self::Pong { nonce } => put_nonce(&mut out, PONG, *nonce),
        }
        out
    }

    /// Reads the plaintext of a control frame.
    ///
    /// # Errors
    /// The rule that it breaks.
    // spec R13: types, reasons, ranges, missing and left-over bytes
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = match reader.u8()? {
            LOGIN => Self::Login { instance: reader.u64()? },
            OPEN => {
                let (circuit, window_bytes) = (reader.u32()?, window(&mut reader)?);
                Self::Open { circuit, to: instance(&mut reader)?, window_bytes }
            }
            ACCEPT => Self::Accept { circuit: reader.u32()?, window_bytes: window(&mut reader)? },
            REFUSE => Self::Refuse { circuit: reader.u32()? },
            CLOSE => Self::Close { circuit: reader.u32()? },
            CREDIT => Self::Credit { circuit: reader.u32()?, bytes: credit(&mut reader)? },
            RETURNED => Self::Returned { circuit: reader.u32()?, bytes: window(&mut reader)? },
            PING => Self::Ping { nonce: reader.u64()? },
            PONG => Self::Pong { nonce: reader.u64()? },
            _ => return Err(DecodeError("unknown_control")),
        };
        reader.finish()?;
        Ok(message)
    }
}

impl ToClient {
    /// The plaintext of a control frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::Welcome { token, observed, max_circuits } => {
                out.put_u8(WELCOME);
                out.put_bytes16(token.as_bytes());
                out.put(&address(*observed).octets());
                out.put_u32(*max_circuits);
            }
            Self::Token { token } => {
                out.put_u8(TOKEN);
                out.put_bytes16(token.as_bytes());
            }
            Self::Incoming { circuit, from, window_bytes, hub_bytes } => {
                put_two(&mut out, INCOMING, *circuit, *window_bytes);
                out.put_u32(*hub_bytes);
                put_instance(&mut out, from);
            }
            Self::Opened { circuit, window_bytes, hub_bytes } => {
                put_two(&mut out, OPENED, *circuit, *window_bytes);
                out.put_u32(*hub_bytes);
            }
            Self::OpenFailed { circuit, reason } => {
                put_one(&mut out, OPEN_FAILED, *circuit);
                out.put_u8(*reason as u8);
            }
            Self::Close { circuit, reason } => {
                put_one(&mut out, CLOSE, *circuit);
                out.put_u8(*reason as u8);
            }
            Self::Credit { circuit, bytes } => put_two(&mut out, CREDIT, *circuit, *bytes),
            Self::HubCredit { circuit, bytes } => put_two(&mut out, HUB_CREDIT, *circuit, *bytes),
            Self::Reclaim { circuit, bytes } => put_two(&mut out, RECLAIM, *circuit, *bytes),
            Self::Ping { nonce } => put_nonce(&mut out, PING, *nonce),
            Self::Pong { nonce } => put_nonce(&mut out, PONG, *nonce),
            Self::Goodbye { reason } => {
                out.put_u8(GOODBYE);
                out.put_u8(*reason as u8);
            }
        }
        out
    }

    /// Reads the plaintext of a control frame.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let message = match reader.u8()? {
            WELCOME => Self::Welcome {
                token: String::from(reader.str16(MAX_RELAY_TOKEN_BYTES)?),
                observed: Ipv6Addr::from(reader.array::<16>()?).to_canonical(),
                max_circuits: reader.u32()?,
            },
            TOKEN => Self::Token { token: String::from(reader.str16(MAX_RELAY_TOKEN_BYTES)?) },
            INCOMING => {
                let (circuit, window_bytes) = (reader.u32()?, window(&mut reader)?);
                let hub_bytes = window(&mut reader)?;
                Self::Incoming { circuit, from: instance(&mut reader)?, window_bytes, hub_bytes }
            }
            OPENED => Self::Opened {
                circuit: reader.u32()?,
                window_bytes: window(&mut reader)?,
                hub_bytes: window(&mut reader)?,
            },
            OPEN_FAILED => {
                Self::OpenFailed { circuit: reader.u32()?, reason: reader.u8()?.try_into()? }
            }
            CLOSE => Self::Close { circuit: reader.u32()?, reason: reader.u8()?.try_into()? },
            CREDIT => Self::Credit { circuit: reader.u32()?, bytes: credit(&mut reader)? },
            HUB_CREDIT => Self::HubCredit { circuit: reader.u32()?, bytes: credit(&mut reader)? },
            RECLAIM => Self::Reclaim { circuit: reader.u32()?, bytes: credit(&mut reader)? },
            PING => Self::Ping { nonce: reader.u64()? },
            PONG => Self::Pong { nonce: reader.u64()? },
            GOODBYE => Self::Goodbye { reason: reader.u8()?.try_into()? },
            _ => return Err(DecodeError("unknown_control")),
        };
        reader.finish()?;
        Ok(message)
    }
}

impl TryFrom<u8> for OpenError {
    type Error = DecodeError;

    fn try_from(value: u8) -> Result<Self, DecodeError> {
        match value {
            1 => Ok(Self::Absent),
            2 => Ok(Self::Refused),
            3 => Ok(Self::NoAnswer),
            4 => Ok(Self::Busy),
            _ => Err(DecodeError("unknown_open_error")),
        }
    }
}

impl TryFrom<u8> for CircuitEnd {
    type Error = DecodeError;

    fn try_from(value: u8) -> Result<Self, DecodeError> {
        match value {
            0 => Ok(Self::Closed),
            1 => Ok(Self::Lost),
            2 => Ok(Self::NoAnswer),
            _ => Err(DecodeError("unknown_circuit_end")),
        }
    }
}

impl TryFrom<u8> for Goodbye {
    type Error = DecodeError;

    fn try_from(value: u8) -> Result<Self, DecodeError> {
        match value {
            1 => Ok(Self::Replaced),
            2 => Ok(Self::Shutdown),
            3 => Ok(Self::Misbehaved),
            4 => Ok(Self::Limit),
            5 => Ok(Self::Timeout),
            _ => Err(DecodeError("unknown_goodbye")),
        }
    }
}

fn put_one(out: &mut Vec<u8>, kind: u8, circuit: u32) {
    out.put_u8(kind);
    out.put_u32(circuit);
}

fn put_two(out: &mut Vec<u8>, kind: u8, circuit: u32, bytes: u32) {
    put_one(out, kind, circuit);
    out.put_u32(bytes);
}

fn put_nonce(out: &mut Vec<u8>, kind: u8, nonce: u64) {
    out.put_u8(kind);
    out.put_u64(nonce);
}

fn put_instance(out: &mut Vec<u8>, instance: &Instance) {
    out.put(&instance.peer.0);
    out.put_u64(instance.number);
}

fn instance(reader: &mut Reader<'_>) -> Result<Instance, DecodeError> {
    Ok(Instance { peer: PeerId(reader.array()?), number: reader.u64()? })
}

/// A window or a part of one: no window is larger than the limit, so no part is either.
fn window(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    let bytes = reader.u32()?;
    if bytes as usize > RELAY_WINDOW_MAX_BYTES {
        return Err(DecodeError("window_too_large"));
    }
    Ok(bytes)
}

fn credit(reader: &mut Reader<'_>) -> Result<u32, DecodeError> {
    match window(reader)? {
        0 => Err(DecodeError("empty_credit")),
        bytes => Ok(bytes),
    }
}

/// IPv4 addresses travel mapped into IPv6.
const fn address(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests;
