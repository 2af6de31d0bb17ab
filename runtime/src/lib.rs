//! What every runtime shares: all of a driver that is not an await on a socket or a timer.
//!
//! A driver is a task for the node, one for each stream, one for the relay and one for calls to the
//! tracker, and a pool of threads for files. What those tasks *know* is here, in objects without a
//! task, a socket or a timer of their own; how they *wait* is in `towpath-tokio` and
//! `towpath-smol`, file by file under the same names. They talk in small owned words over channels
//! that have no limit of their own: the machines bound what is under way.
//!
//! | module | what it is |
//! |---|---|
//! | [`clock`] | the clock of all machines, and when to set a timer anew |
//! | [`dial`] | what a failed dial means |
//! | [`link`] | a session, and the stream or the circuit under it |
//! | [`listen`] | the socket that listens |
//! | [`node`] | the node: one match from verb to call |
//! | [`peer`] | what a peer starts with, and the handles to it |
//! | [`pool`] | threads that read, verify and write chunks |
//! | [`relay`] | the relay client and its WebSocket |
//! | [`tls`] | whom to trust |
//! | [`tracker`], [`http`] | where a tracker is, and HTTP/1.1 with it |

pub mod clock;
pub mod dial;
pub mod http;
pub mod limits;
pub mod link;
pub mod listen;
pub mod node;
pub mod peer;
pub mod pool;
pub mod relay;
pub mod tls;
pub mod tracker;

use std::future::poll_fn;
use std::task::Poll;

/// Fresh random bytes of the operating system.
///
/// # Panics
/// It has none: no key can be made, so nothing can go on.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    bytes
}

/// Lets all other tasks run that are ready, without a look at the sockets.
pub async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
