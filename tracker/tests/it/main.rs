//! The tracker as its clients see it: over real sockets on loopback.
//!
//! The modules are under `cfg(test)`, which is always set here, so that clippy takes their helpers
//! for what they are.

#[cfg(test)]
mod client;
#[cfg(test)]
mod command;
#[cfg(test)]
mod durable;
#[cfg(test)]
mod founding;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod native;
#[cfg(test)]
mod page;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod relay;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod vectors;
