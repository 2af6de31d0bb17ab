//! Drives the Towpath core over TCP, WebSockets and HTTP on tokio.
//!
//! Nothing is decided here. A [`Peer`] is the node's task (`node.rs`), a task for each stream
//! (`link.rs`), one for the relay (`relay.rs`) and one for calls to the tracker (`tracker.rs`), and
//! two threads that read, verify and write chunks (`pool.rs`). They talk in small owned words over
//! channels that have no limit of their own: the machines bound what is under way.
//!
//! A current-thread runtime is enough, and faster than a multi-thread one:
//!
//! ```no_run
//! # use towpath_tokio::{Peer, PeerConfig};
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
mod pool;
mod relay;
mod tls;
mod tracker;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use towpath_core::id::{ContentKey, Instance};
use towpath_core::node::{Config, Event, Input, Node, Progress};
use towpath_core::relay::client::{self, Client};
use towpath_core::rng::Rng;
use zeroize::Zeroizing;

pub use pool::Content;
pub use tracker::call;

/// What a peer starts with.
pub struct PeerConfig {
    /// Our X25519 secret key.
    pub secret_key: Zeroizing<[u8; 32]>,
    /// Base URL of the tracker.
    pub tracker: String,
    /// Where to listen; `None`: on all addresses, at any port.
    pub listen: Option<SocketAddr>,
    /// Whether to propose and accept AES-GCM.
    pub prefer_aes: bool,
    /// Whether strangers that do not know our key may connect.
    pub accept_strangers: bool,
    /// Upload limit of all sessions together.
    pub limit_up_bytes_per_second: Option<u64>,
    /// Download limit of all sessions together.
    pub limit_down_bytes_per_second: Option<u64>,
}

impl PeerConfig {
    /// A peer with this key at this tracker, which listens everywhere and has no limits.
    #[must_use]
    pub fn new(secret_key: [u8; 32], tracker: String) -> Self {
        Self {
            secret_key: Zeroizing::new(secret_key),
            tracker,
            listen: None,
            prefer_aes: true,
            accept_strangers: false,
            limit_up_bytes_per_second: None,
            limit_down_bytes_per_second: None,
        }
    }
}

/// A running peer. Its tasks end when it is dropped.
pub struct Peer {
    /// What the node says.
    pub events: UnboundedReceiver<Event>,
    commands: Commands,
    me: Instance,
    listen_addr: SocketAddr,
    task: AbortOnDropHandle<()>,
}

impl Peer {
    /// Starts listening, and all tasks, on the runtime that this is called on.
    ///
    /// # Errors
    /// The tracker's URL is wrong, the address cannot be listened at, or there are no threads.
    #[expect(clippy::unused_async, reason = "it must be called on a runtime")]
    pub async fn start(config: PeerConfig) -> io::Result<Self> {
        let tracker = Arc::new(tracker::Tracker::parse(&config.tracker)?);
        let listener = listen::bind(config.listen)?;
        let listen_addr = listener.local_addr()?;
        let peer = towpath_core::crypto::public_key(&config.secret_key);
        let me = Instance { peer, number: u64::from_be_bytes(random()) };

        let (to_node, from_all) = mpsc::unbounded_channel();
        let (to_relay, for_relay) = mpsc::unbounded_channel();
        let (calls, for_tracker) = mpsc::unbounded_channel();
        let (tell, events) = mpsc::unbounded_channel();

        let mut rng = Rng::new(random());
        let node_rng = rng.fork("node", 0);
        let relay_rng = rng.fork("relay", 0);
        let shared = Arc::new(Shared {
            clock: clock::Clock::start(),
            pool: pool::Pool::start(to_node.clone())?,
            node: to_node.clone(),
            secret_key: config.secret_key.clone(),
            rng,
        });
        let now = shared.clock.now();
        let relay_config =
            client::Config { me, secret_key: *config.secret_key, host: tracker.authority.clone() };
        let client = Client::new(now, relay_rng, relay_config);
        let node_config = Config {
            me,
            prefer_aes: config.prefer_aes,
            accept_strangers: config.accept_strangers,
            limit_up_bytes_per_second: config.limit_up_bytes_per_second,
            limit_down_bytes_per_second: config.limit_down_bytes_per_second,
        };
        let node = Node::new(now, node_rng, node_config);

        let mut services = JoinSet::new();
        services.spawn(listen::run(listener, to_node));
        services.spawn(tracker::run(shared.clone(), tracker.clone(), for_tracker));
        let mut relay = JoinSet::new();
        relay.spawn(relay::run(shared.clone(), tracker, client, for_relay));
        let outlets = node::Outlets { relay: to_relay, calls, events: tell };
        let tasks = node::Tasks { relay, services };
        let task = tokio::spawn(node::run(shared.clone(), node, outlets, from_all, tasks));
        let commands = Commands { shared };
        Ok(Self { events, commands, me, listen_addr, task: AbortOnDropHandle::new(task) })
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
        let _ = self.task.await;
        let shared = self.commands.shared;
        blocking(move || shared.pool.forget_all()).await;
    }
}

/// Talks to a running peer.
#[derive(Clone)]
pub struct Commands {
    shared: Arc<Shared>,
}

impl Commands {
    /// Hands a command to the node: `Share`, `Get`, `Begin`, `Finished`, `Stop`, `Listening`,
    /// `Shutdown`.
    pub fn send(&self, input: Input) {
        self.shared.tell(input);
    }

    /// Says where the chunks of `key` are: before `Share`, or before `Begin`. A later word replaces
    /// an earlier one.
    ///
    /// # Errors
    /// There is no thread left for an ordered output.
    pub fn register(&self, key: ContentKey, content: Content) -> io::Result<()> {
        self.shared.pool.register(key, content)
    }

    /// Lets go of the store of `key`; chunks that are asked for later are not available.
    pub fn forget(&self, key: ContentKey) {
        self.shared.pool.forget(key);
    }

    /// How far a download is.
    pub async fn progress(&self, key: ContentKey) -> Progress {
        let (reply, progress) = oneshot::channel();
        self.shared.say(node::Word::Progress(key, reply));
        progress.await.unwrap_or_default()
    }
}

/// Runs blocking work of the store (`Source::prepare`, `Target::open`, `begin`, `finish`) where it
/// stops nobody.
///
/// # Panics
/// If `work` does.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("it ends, and panics are ours")
}

/// How long a stream that is to be closed may take to send its last bytes and to see the other
/// end's.
const CLOSING: Duration = Duration::from_secs(2);

/// What all tasks of a peer have in common.
struct Shared {
    clock: clock::Clock,
    pool: pool::Pool,
    node: UnboundedSender<node::Word>,
    secret_key: Zeroizing<[u8; 32]>,
    rng: Rng,
}

impl Shared {
    fn say(&self, word: node::Word) {
        // Without a node's task the peer is going down, and whoever speaks with it.
        let _ = self.node.send(word);
    }

    fn tell(&self, input: Input) {
        self.say(node::Word::Input(input));
    }
}

/// Fresh random bytes of the operating system.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    bytes
}

/// Lets all other tasks run that are ready, without a look at the sockets.
async fn yield_once() {
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
