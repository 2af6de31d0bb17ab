//! Circuits through the tracker: opaque byte streams between two peers over two WebSockets.
//!
//! [`frame`] is the wire format, [`client`] a peer's side, [`hub`] the tracker's side.

pub mod client;
pub mod frame;
pub mod hub;
