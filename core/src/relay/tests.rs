//! Hub and clients together, in memory, over simulated sockets.

mod behaviour;
mod hostile;
mod laws;
mod many;
mod speed;
mod world;
