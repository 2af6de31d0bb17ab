//! The frames of the relay protocol (spec chapter "Relay"). To be written.
