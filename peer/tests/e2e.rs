//! The real command, as people and scripts use it, on this machine.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "e2e/bad_input.rs"]
mod bad_input;
#[path = "../../fuzz/examples/liar.rs"]
#[expect(dead_code, reason = "it is a program of its own, too")]
mod liar;
#[path = "e2e/swarm.rs"]
mod swarm;
#[path = "e2e/transfer.rs"]
mod transfer;
#[path = "e2e/world.rs"]
mod world;
