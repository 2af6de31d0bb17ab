//! Two sessions over a pipe in memory, and one session against bytes made by hand.

mod backlog;
mod hostile;
mod pair;
mod pipe;
mod timing;
