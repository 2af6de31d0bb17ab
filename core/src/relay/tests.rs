//! Hub and clients together, in memory, over simulated sockets.

mod behaviour;
mod hostile;
mod laws;
mod limits;
mod mallory;
mod many;
mod played_hub;
mod speed;
mod world;
