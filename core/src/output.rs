//! What a machine answers when it is drained.

use crate::time::Instant;

/// One answer of `poll_output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<T, E> {
    /// Something for the driver to carry out.
    Transmit(T),
    /// Something that the machine's owner should know.
    Event(E),
    /// Nothing more for now: call again with a tick at this moment at the latest. Always the last
    /// answer of a drain; [`Instant::NEVER`] if the machine waits for inputs alone.
    Timeout(Instant),
}
