//! The tracker as its clients see it: over real sockets on loopback.

// clippy knows tests by their attribute; the helpers here serve nothing else.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod client;
mod command;
mod durable;
mod founding;
mod harness;
mod limits;
mod native;
mod page;
mod peer;
mod relay;
mod tls;
