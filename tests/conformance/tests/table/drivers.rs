//! The drivers behind one blocking face, as thin as they can be.

mod threads;

use std::fs::File;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::runtime::Runtime;
use towpath_core::id::{ContentKey, Descriptor};
use towpath_core::node::{Event, Input};
use towpath_runtime::pool::Content;
use towpath_store::{Source, Target};

/// The number of the only share or download of a peer.
pub(crate) const KEY: ContentKey = ContentKey(1);

/// Where the bytes are.
pub(crate) enum Files {
    Source(Arc<Source>),
    Target(Arc<Target>),
    Pipe(Descriptor, File),
}

impl Files {
    /// The same, for the pool of a runtime.
    fn content(self) -> Content {
        match self {
            Self::Source(source) => Content::Source(source),
            Self::Target(target) => Content::Target(target),
            Self::Pipe(descriptor, file) => Content::Ordered { descriptor, writer: Box::new(file) },
        }
    }
}

/// What a peer starts with.
pub(crate) struct Setup {
    pub(crate) key: [u8; 32],
    pub(crate) tracker: String,
    pub(crate) limit_up: Option<u64>,
}

/// A driver.
#[derive(Clone, Copy)]
pub(crate) struct Driver {
    pub(crate) name: &'static str,
    pub(crate) has_relay: bool,
    pub(crate) has_pipe: bool,
    pub(crate) start: fn(Setup) -> Box<dyn Peer>,
}

/// A running peer. Dropped, it dies.
pub(crate) trait Peer: Send {
    fn address(&self) -> SocketAddr;
    fn send(&self, input: Input);
    fn register(&self, files: Files);
    /// The next event, if one comes in this time.
    fn event(&mut self, within: Duration) -> Option<Event>;
    /// Says goodbye.
    fn stop(self: Box<Self>);
}

/// On tokio.
pub(crate) const TOKIO: Driver = Driver {
    name: "tokio",
    has_relay: true,
    has_pipe: true,
    start: |setup| {
        let mut config = towpath_tokio::PeerConfig::new(setup.key, setup.tracker);
        config.listen = "127.0.0.1:0".parse().ok();
        config.limit_up_bytes_per_second = setup.limit_up;
        Box::new(RUNTIME.block_on(towpath_tokio::Peer::start(config)).expect("it starts"))
    },
};

/// Of the tracker, and of the peers on tokio.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("there are threads")
});

impl Peer for towpath_tokio::Peer {
    fn address(&self) -> SocketAddr {
        self.listen_addr()
    }

    fn send(&self, input: Input) {
        self.commands().send(input);
    }

    fn register(&self, files: Files) {
        self.commands().register(KEY, files.content()).expect("no thread is needed");
    }

    fn event(&mut self, within: Duration) -> Option<Event> {
        let next = async { tokio::time::timeout(within, self.events.recv()).await };
        RUNTIME.block_on(next).ok().flatten()
    }

    fn stop(self: Box<Self>) {
        RUNTIME.block_on((*self).stop());
    }
}

/// On smol.
pub(crate) const SMOL: Driver = Driver {
    name: "smol",
    has_relay: true,
    has_pipe: true,
    start: |setup| {
        let mut config = towpath_smol::PeerConfig::new(setup.key, setup.tracker);
        config.listen = "127.0.0.1:0".parse().ok();
        config.limit_up_bytes_per_second = setup.limit_up;
        Box::new(smol::block_on(towpath_smol::Peer::start(config)).expect("it starts"))
    },
};

impl Peer for towpath_smol::Peer {
    fn address(&self) -> SocketAddr {
        self.listen_addr()
    }

    fn send(&self, input: Input) {
        self.commands().send(input);
    }

    fn register(&self, files: Files) {
        self.commands().register(KEY, files.content()).expect("no thread is needed");
    }

    fn event(&mut self, within: Duration) -> Option<Event> {
        let late = async {
            smol::Timer::after(within).await;
            None
        };
        smol::block_on(smol::future::or(self.events.recv(), late))
    }

    fn stop(self: Box<Self>) {
        smol::block_on((*self).stop());
    }
}

/// On plain threads: the example of the core.
pub(crate) const THREADS: Driver =
    Driver { name: "threads", has_relay: false, has_pipe: false, start: threads::start };
