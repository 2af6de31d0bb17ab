//! File names that others suggest, made harmless. (API fixed; body to be written.)

use alloc::string::String;

/// Reduces a suggested name to one component without leading dot, control or bidi characters, at most
/// [`crate::limits::MAX_NAME_BYTES`] bytes; never empty ("download" if nothing is left).
#[must_use]
pub fn sanitize(_suggested: &str) -> String {
    todo!()
}
