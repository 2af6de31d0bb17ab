//! The simulated world: bytes choose who is there, how good the networks are, and what goes wrong.

use crate::scenario;

/// A scenario, thrown by the input as far as it goes; it must hold.
pub fn world(data: &[u8]) {
    if let Err(message) = scenario::play_bytes(data, false) {
        panic!("{message}");
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    // Each kind of scenario, with different dice behind it.
    (0..16_u8).map(|kind| vec![kind, 1 + kind % 3, 1, kind, 3 * kind, 7]).collect()
}
