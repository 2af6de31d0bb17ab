//! Drives the Towpath core over TCP, WebSockets and HTTP on smol.
//!
//! Nothing is decided here, and what needs no smol is in `towpath-runtime`. A [`Peer`] is the
//! node's task (`node.rs`), a task for each stream (`link.rs`), one for the relay (`relay.rs`) and
//! one for calls to the tracker (`tracker.rs`).
//!
//! The tasks run on smol's global executor, whose one thread is enough, and faster than several:
//!
//! ```no_run
//! # use towpath_smol::{Peer, PeerConfig};
//! # async fn example() -> std::io::Result<()> {
//! let config = PeerConfig::new([7; 32], "https://tracker.example".into());
//! let mut peer = Peer::start(config).await?;
//! while let Some(event) = peer.events.recv().await {
//!     println!("{event:?}");
//! }
//! # Ok(())
//! # }
//! ```

mod clock;
mod dial;
mod link;
mod listen;
mod node;
mod relay;
mod tls;
mod tracker;

use std::io;
use std::net::SocketAddr;

use futures_channel::mpsc;
use smol::Async;
use towpath_core::id::Instance;
use towpath_core::node::Input;
use towpath_runtime::limits::MAX_WAITING_STREAMS;
use towpath_runtime::peer::Parts;

pub use towpath_runtime::peer::{Commands, Events, PeerConfig};
pub use towpath_runtime::pool::Content;
pub use tracker::call;

/// A task, which ends when this is dropped.
type Task = smol::Task<()>;

fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Task {
    smol::spawn(task)
}

/// A running peer. Its tasks end when it is dropped.
pub struct Peer {
    /// What the node says.
    pub events: Events,
    commands: Commands,
    me: Instance,
    listen_addr: SocketAddr,
    task: Task,
}

impl Peer {
    /// Starts listening, and all tasks, on smol's global executor.
    ///
    /// # Errors
    /// The tracker's URL is wrong, the address cannot be listened at, or there are no threads.
    #[expect(clippy::unused_async, reason = "as in every runtime")]
    pub async fn start(config: PeerConfig) -> io::Result<Self> {
        let parts = Parts::new(&config, link::start)?;
        let Parts { events, commands, me, .. } = parts;
        let listen_addr = parts.listener.local_addr()?;
        let listener = Async::new(parts.listener)?;
        let (clock, tracker) = (commands.clock(), parts.tracker);
        let (to_node, came) = mpsc::channel(MAX_WAITING_STREAMS);
        let services = [
            spawn(listen::run(listener, to_node)),
            spawn(tracker::run(commands.clone(), tracker.clone(), parts.calls)),
        ];
        let relay = spawn(relay::run(parts.relay, clock, tracker, parts.relay_words));
        let tasks = node::Tasks { services, relay };
        let task = spawn(node::run(parts.driver, clock, parts.words, came, tasks));
        Ok(Self { events, commands, me, listen_addr, task })
    }

    /// A handle that can be cloned and kept elsewhere.
    #[must_use]
    pub fn commands(&self) -> Commands {
        self.commands.clone()
    }

    /// Who we are.
    #[must_use]
    pub const fn me(&self) -> Instance {
        self.me
    }

    /// Where we listen.
    #[must_use]
    pub const fn listen_addr(&self) -> SocketAddr {
        self.listen_addr
    }

    /// Says goodbye to peers and tracker and ends all tasks.
    pub async fn stop(self) {
        self.commands.send(Input::Shutdown);
        // It ends by itself, or it panicked and has said so.
        let _ = self.task.fallible().await;
        blocking(move || self.commands.forget_all()).await;
    }
}

/// Runs blocking work of the store (`Source::prepare`, `Target::open`, `begin`, `finish`) where it
/// stops nobody.
///
/// # Panics
/// If `work` does.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    smol::unblock(work).await
}
