//! The simulated world of Towpath: real machines on one clock and one seed.
//!
//! Every peer is a real [`towpath_core::node::Node`] with real sessions and a real relay client;
//! the hub is the real one. Only what lies outside the core is made up: the network ([`pipe`]), the
//! disks ([`disk`]), the tracker's directory ([`tracker`]) and the people ([`scenario`]). Nothing
//! reads a clock and nothing draws a random number but from the seed, so a run can be replayed to
//! the last byte.
//!
//! The oracle is the promise of the product: everybody who can finish does so in time, the bytes
//! that arrive are the bytes that were shared, a direct path is used where there is one and the
//! relay where there is none, and nobody holds more than the limits allow ([`world`]).

pub mod adversary;
pub mod content;
pub mod corpus;
pub mod coverage;
pub mod dice;
pub mod disk;
pub mod golden;
pub mod oracle;
pub mod peer;
pub mod pipe;
#[cfg(feature = "planted")]
pub mod planted;
pub mod scenario;
pub mod search;
pub mod speed;
pub mod targets;
pub mod trace;
pub mod tracker;
pub mod world;
