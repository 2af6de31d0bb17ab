//! Hub and clients together, in memory, over simulated sockets.

mod behaviour;
mod hostile;
mod laws;
mod speed;
mod world;
