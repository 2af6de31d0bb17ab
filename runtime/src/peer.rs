//! What a peer starts with, its parts, and the handles to it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use futures_channel::mpsc::{self, UnboundedReceiver, UnboundedSender};
use futures_channel::oneshot;
use futures_util::StreamExt;
use towpath_core::crypto::public_key;
use towpath_core::id::{ContentKey, Instance};
use towpath_core::node::{Config, Event, Input, Node, Progress};
use towpath_core::relay::client::{self, Client};
use towpath_core::rng::Rng;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::node::{Driver, Outlets, Start, Word};
use crate::pool::{Content, Pool};
use crate::relay::{self, Relay};
use crate::tracker::{Call, Tracker};
use crate::{listen, random};

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

/// What the tasks of a peer are made of; a driver starts them.
pub struct Parts<S, T> {
    /// For the task of the node.
    pub driver: Driver<S, T>,
    /// What that task listens to.
    pub words: UnboundedReceiver<Word>,
    /// For the task of the relay.
    pub relay: Relay,
    /// What that task listens to.
    pub relay_words: UnboundedReceiver<relay::Word>,
    /// For the task that accepts streams.
    pub listener: TcpListener,
    /// For the task that calls the tracker.
    pub calls: UnboundedReceiver<Call>,
    /// Where the tracker is.
    pub tracker: Arc<Tracker>,
    /// For the application.
    pub events: Events,
    /// For the application.
    pub commands: Commands,
    /// Who we are.
    pub me: Instance,
}

impl<S, T> Parts<S, T> {
    /// Makes them; `start` starts the task of a link.
    ///
    /// # Errors
    /// The tracker's URL is wrong, the address cannot be listened at, or there are no threads.
    pub fn new(config: &PeerConfig, start: Start<S, T>) -> io::Result<Self> {
        let tracker = Arc::new(Tracker::parse(&config.tracker)?);
        let listener = listen::bind(config.listen)?;
        let peer = public_key(&config.secret_key);
        let me = Instance { peer, number: u64::from_be_bytes(random()) };
        let (to_node, words) = mpsc::unbounded();
        let (to_relay, relay_words) = mpsc::unbounded();
        let (to_tracker, calls) = mpsc::unbounded();
        let (tell, events) = mpsc::unbounded();

        let mut rng = Rng::new(random());
        let node_rng = rng.fork("node", 0);
        let relay_rng = rng.fork("relay", 0);
        let shared = Arc::new(Shared {
            clock: Clock::start(),
            pool: Pool::start(to_node.clone())?,
            node: to_node,
            secret_key: config.secret_key.clone(),
            rng,
        });
        let now = shared.clock.now();
        let relay_config =
            client::Config { me, secret_key: *config.secret_key, host: tracker.authority.clone() };
        let client = Client::new(now, relay_rng, relay_config);
        let relay = Relay::new(shared.clone(), client);
        let node_config = Config {
            me,
            prefer_aes: config.prefer_aes,
            accept_strangers: config.accept_strangers,
            limit_up_bytes_per_second: config.limit_up_bytes_per_second,
            limit_down_bytes_per_second: config.limit_down_bytes_per_second,
        };
        let node = Node::new(now, node_rng, node_config);
        let outlets = Outlets { relay: to_relay, calls: to_tracker, events: tell };
        let driver = Driver::new(shared.clone(), node, outlets, start);
        let (events, commands) = (Events(events), Commands { shared });
        Ok(Self {
            driver,
            words,
            relay,
            relay_words,
            listener,
            calls,
            tracker,
            events,
            commands,
            me,
        })
    }
}

/// What the node says.
#[derive(Debug)]
pub struct Events(UnboundedReceiver<Event>);

impl Events {
    /// The next event; `None` after the last one of a peer that was stopped. May be dropped and
    /// called again.
    pub async fn recv(&mut self) -> Option<Event> {
        self.0.next().await
    }
}

/// Talks to a running peer.
#[derive(Clone)]
pub struct Commands {
    shared: Arc<Shared>,
}

impl Commands {
    /// The clock of the peer's machines.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

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

    /// Lets go of all stores. May block: a target that nobody else holds is synced.
    pub fn forget_all(&self) {
        self.shared.pool.forget_all();
    }

    /// How far a download is.
    pub async fn progress(&self, key: ContentKey) -> Progress {
        let (reply, progress) = oneshot::channel();
        self.shared.say(Word::Progress(key, reply));
        progress.await.unwrap_or_default()
    }
}

/// What all tasks of a peer have in common.
pub struct Shared {
    pub(crate) clock: Clock,
    pub(crate) pool: Pool,
    node: UnboundedSender<Word>,
    pub(crate) secret_key: Zeroizing<[u8; 32]>,
    pub(crate) rng: Rng,
}

impl Shared {
    pub(crate) fn say(&self, word: Word) {
        // Without a node's task the peer is going down, and whoever speaks with it.
        let _ = self.node.unbounded_send(word);
    }

    pub(crate) fn tell(&self, input: Input) {
        self.say(Word::Input(input));
    }
}
