//! Circuits through the tracker: opaque byte streams between two peers over two WebSockets.
//!
//! [`frame`] is the wire format, [`client`] a peer's side, [`hub`] the tracker's side.
//!
//! # Two windows
//! Whoever sends on a circuit stays within two windows. The *receiver's* bounds what the receiver
//! may have to hold; it grows with the bandwidth-delay product of the whole path. The *hub's*
//! bounds what the hub may have to hold: all of them together are one fixed budget, and the hub
//! grants again what the receiver's socket has taken. So the hub reads every socket at all times,
//! drops nothing, and yet a slow receiver costs nobody but its own sender anything.

pub mod client;
mod flights;
pub mod frame;
pub mod hub;
mod pace;
mod seal;
#[cfg(test)]
mod tests;
mod window;
