//! The blocking file store: what a share reads from and a download writes to.
//!
//! `std` and `rustix` only, no async: drivers call it from a thread pool. [`Source`] is what is
//! shared, [`Target`] what is fetched; both can serve chunks. Everything takes `&self` and may be
//! called from several threads at once.
//!
//! | module | what it does |
//! |---|---|
//! | `source` | walks, hashes, remembers what it hashed, reads chunks with their proofs |
//! | `target` | the hidden folder of a download, its journal, and the rename at the end |
//! | `index` | which file of a manifest a chunk belongs to, without the manifest in memory |
//! | `tree` | Merkle nodes on disk |
//! | `paths` | opening what lies below a folder without ever leaving it |

use std::sync::{Mutex, MutexGuard, PoisonError};

mod bits;
mod error;
mod index;
mod limits;
mod paths;
mod source;
mod target;
#[cfg(test)]
mod testing;
mod tree;

pub use error::Error;
pub use source::{Prepared, Skipped, Source};
pub use target::{Opened, Target};

/// Locks; after a panic elsewhere the data is as consistent as each short section leaves it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
