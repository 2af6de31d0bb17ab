//! What a failed dial means.

use std::io::{self, ErrorKind};

use towpath_core::path::DialError;

/// What the node makes of an error of `connect`.
#[must_use]
pub fn dial_error(error: &io::Error) -> DialError {
    match error.kind() {
        ErrorKind::ConnectionRefused => DialError::Refused,
        ErrorKind::NetworkUnreachable
        | ErrorKind::HostUnreachable
        | ErrorKind::AddrNotAvailable
        | ErrorKind::TimedOut => DialError::Unreachable,
        _ => DialError::Other(error.to_string()),
    }
}

/// A name that stands for no address at all.
#[must_use]
pub fn no_address() -> io::Error {
    io::Error::new(ErrorKind::NotFound, "the name has no address")
}
