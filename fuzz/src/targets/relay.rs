//! The relay: a hub among clients that have keys and no manners, and a client at such a hub.

mod client;
mod hub;

use bytes::BytesMut;
use towpath_core::crypto::noise::{Handshake, Pattern};
use towpath_core::crypto::record::RecordCipher;
use towpath_core::limits::{
    MAX_RELAY_PAYLOAD_BYTES, RELAY_BACKLOG_BYTES, RELAY_CONTROL_BACKLOG_BYTES,
};
use towpath_core::relay::frame::{Kind, PROLOGUE};
use towpath_core::session::Suite;

pub use client::relay_client;
pub(super) use client::seeds as client_seeds;
pub use hub::hub;
pub(super) use hub::seeds as hub_seeds;

const HOST: &str = "relay.example";
const HUB_KEY: [u8; 32] = [77; 32];
/// What may be with one socket that has not taken it.
const MAX_UNCONFIRMED_BYTES: usize =
    RELAY_BACKLOG_BYTES + RELAY_CONTROL_BACKLOG_BYTES + 2 * MAX_RELAY_PAYLOAD_BYTES;

fn noise(initiator: bool, secret_key: [u8; 32], ephemeral: [u8; 32]) -> Handshake {
    let prologue = [PROLOGUE, HOST.as_bytes()].concat();
    let (pattern, suite) = (Pattern::Xx, Suite::ChaChaPoly);
    Handshake::new(pattern, suite, initiator, &prologue, secret_key, ephemeral, None)
}

fn handshake_frame(message: &[u8]) -> BytesMut {
    BytesMut::from(&[&[Kind::Handshake as u8], message].concat()[..])
}

fn control_frame(cipher: &mut RecordCipher, plain: &[u8]) -> BytesMut {
    let mut frame = vec![Kind::Control as u8];
    frame.extend_from_slice(plain);
    let tag = cipher.seal(&mut frame[1..]);
    frame.extend_from_slice(&tag);
    BytesMut::from(&frame[..])
}

fn open_control(cipher: &mut RecordCipher, frame: &[u8]) -> Vec<u8> {
    let mut plain = frame[1..].to_vec();
    let length = cipher.open_in_place(&mut plain).expect("controls come in order");
    plain.truncate(length);
    plain
}
