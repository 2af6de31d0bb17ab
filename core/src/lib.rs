//! Every protocol decision of Towpath, as pure state machines.
//!
//! Nothing here opens a socket, reads a clock, starts a thread or draws a random number of its own:
//! a driver hands in [`time::Instant`]s, seeds and inputs, and carries out the outputs. That makes
//! every run repeatable, byte for byte, and lets the same code run on tokio, on smol, in a browser
//! and in a simulated world.
//!
//! Every machine has the same three methods:
//!
//! ```text
//! fn new(now: Instant, rng: Rng, config: Config) -> Self;
//! fn handle_input(&mut self, now: Instant, input: Input);
//! fn poll_output(&mut self) -> Output<Transmit, Event>;   // Timeout is always the last answer
//! ```
//!
//! After each `handle_input` the driver drains `poll_output` until it answers `Timeout`, and calls
//! `handle_input` again when something happened or when that instant has come (`Input::Tick`).
//!
//! | module | what it decides |
//! |---|---|
//! | [`node`] | what a peer shares and fetches, with whom, over which path |
//! | [`session`] | one link: Noise handshake, records, frames |
//! | [`download`] | which chunk is asked of whom, and who is to blame |
//! | [`path`] | direct, punched or relayed, and why |
//! | [`relay`] | circuits through the tracker: the client's and the hub's side |
//! | [`tracker_api`] | what peers and the tracker say to each other over HTTP |
//! | [`merkle`], [`manifest`], [`id`], [`link`], [`name`] | what is shared, and how it is named |
//! | [`crypto`] | AEAD, Noise, records, the proof that opens a private share |
#![no_std]
#![cfg_attr(not(test), warn(clippy::wildcard_enum_match_arm))]

extern crate alloc;

/// Whether this fault is planted (`planted.rs`): `false` in everything but the simulated world.
#[cfg(feature = "planted")]
macro_rules! planted {
    ($fault:ident) => {
        $crate::planted::is($crate::planted::Fault::$fault)
    };
}
/// Whether this fault is planted: none is.
#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($fault:ident) => {
        false
    };
}

pub mod close;
pub mod codec;
pub mod counters;
pub mod crypto;
pub mod deadlines;
pub mod download;
pub mod id;
pub mod limiter;
pub mod limits;
pub mod link;
pub mod manifest;
pub mod merkle;
pub mod name;
pub mod node;
pub mod output;
pub mod path;
#[cfg(feature = "planted")]
pub mod planted;
pub mod relay;
pub mod rng;
pub mod session;
pub mod time;
pub mod tracker_api;
pub mod wire;

/// Whether faults can be planted in this build: products refuse to be built with one that can.
pub const HAS_PLANTED_FAULTS: bool = cfg!(feature = "planted");
