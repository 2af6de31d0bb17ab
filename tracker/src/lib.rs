//! The Towpath tracker: introduces peers to each other, keeps the directory of what they announce,
//! and relays what cannot go directly. It never sees a byte of what is shared, nor a secret of a
//! link.
//!
//! One process, one port: REST under `/api`, the relay's WebSockets on `/relay`, a page for people
//! on `/f/<locator>`, `/health`. The protocol is in the spec chapters "Tracker" and "Relay".
//!
//! | module | what it does |
//! |---|---|
//! | `server` | accepts connections, TLS, time limits, graceful stop |
//! | `routes` | the REST calls and the page |
//! | `directory` | who is online with what: soft state, in memory |
//! | `store` | what was announced: SQLite or PostgreSQL |
//! | `relay` | drives the core's hub over WebSockets |
//! | `keys`, `address`, `limiter` | secrets, whose IP it is, rates |
//! | `model`, `limits` | values, bounds |
//!
//! The command `towpath-tracker` runs it; so does `towpath share`, inside its own process:
//!
//! ```no_run
//! # async fn example() -> Result<(), towpath_tracker::StartError> {
//! use towpath_tracker::{Config, Tracker};
//!
//! let tracker = Tracker::start(Config::new("/var/lib/towpath")).await?;
//! println!("listening on {}", tracker.url());
//! tracker.shutdown().await;
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

mod address;
mod app;
mod directory;
mod keys;
mod limiter;
mod limits;
mod model;
mod relay;
mod routes;
mod server;
mod store;
mod tls;

pub use limits::Limits;
pub use tls::Tls;

/// The port on which a tracker listens unless told otherwise.
pub const DEFAULT_PORT: u16 = 6969;

/// What a tracker starts with.
#[derive(Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: Listen,
    /// `postgres://…`, `sqlite:FILE`, or `None` for SQLite in the data folder.
    pub database: Option<String>,
    /// Keys and database; created if it is not there.
    pub data: PathBuf,
    /// `None`: plain HTTP.
    pub tls: Option<Tls>,
    /// How people reach it, if not as it listens: `https://HOST[:PORT]`, without a path.
    pub public_url: Option<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Bounds.
    pub limits: Limits,
}

/// Where a tracker listens.
#[derive(Debug)]
pub enum Listen {
    /// At an address; port 0 for any free one.
    Address(SocketAddr),
    /// On a socket that somebody else has bound.
    Socket(TcpListener),
}

impl Config {
    /// Plain HTTP on all addresses, with keys and database in `data`.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            listen: Listen::Address((Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into()),
            database: None,
            data: data.into(),
            tls: None,
            public_url: None,
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
        }
    }
}

/// Why a tracker cannot start: one sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError(String);

impl StartError {
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    pub(crate) fn data(path: &Path, error: &io::Error) -> Self {
        Self(format!(
            "The tracker cannot keep its data in {}: {error}. Choose a folder that it can write \
             with --data DIR.",
            path.display()
        ))
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

impl From<String> for StartError {
    /// One sentence.
    fn from(sentence: String) -> Self {
        Self(sentence)
    }
}

/// The tracker.
#[derive(Debug)]
pub struct Tracker {}

impl Tracker {
    /// Starts it on the caller's tokio runtime (with I/O and time enabled). When this returns, it
    /// answers.
    ///
    /// # Errors
    /// If the data folder, the database, the certificate or the port cannot be used.
    pub async fn start(config: Config) -> Result<Running, StartError> {
        let listener = server::bind(config.listen)?;
        let local_addr = listener.local_addr().map_err(|error| {
            StartError::new(format!("The listening socket has no address: {error}."))
        })?;
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listening_url = format!("{scheme}://{local_addr}");
        let public_url = config.public_url.as_deref().map(public_url).transpose()?;
        let keys = keys::Keys::open(&config.data)?;
        let directory = Arc::new(directory::Directory::default());
        let stop = CancellationToken::new();
        let (store, writer) =
            store::Store::open(config.database.as_deref(), &config.data, Arc::clone(&directory))
                .await?;
        let app = app::App::new(app::Parts {
            keys,
            directory,
            store,
            limits: config.limits,
            trusted_proxies: config.trusted_proxies,
            public_url: public_url.clone(),
            scheme,
            stop: stop.clone(),
        });
        let running = tokio::spawn(server::run(app, writer, listener, tls));
        Ok(Running { listening_url, public_url, local_addr, running, _stop: stop.drop_guard() })
    }
}

/// Checks `https://HOST[:PORT]`, and takes a slash from its end.
fn public_url(url: &str) -> Result<String, StartError> {
    let trimmed = url.strip_suffix('/').unwrap_or(url);
    let host = trimmed.strip_prefix("https://").or_else(|| trimmed.strip_prefix("http://"));
    match host {
        Some(host) if app::is_host(host) => Ok(trimmed.to_owned()),
        _ => Err(StartError::new(format!(
            "The public URL {url:?} is not one. Write https://HOST or https://HOST:PORT, without a \
             path."
        ))),
    }
}

/// A running tracker. Dropping it stops it too, but only [`Running::shutdown`] waits for the end.
#[derive(Debug)]
pub struct Running {
    listening_url: String,
    public_url: Option<String>,
    local_addr: SocketAddr,
    running: JoinHandle<()>,
    _stop: DropGuard,
}

impl Running {
    /// How people reach it: the public URL if there is one, else that of the socket.
    #[must_use]
    pub fn url(&self) -> &str {
        self.public_url.as_ref().unwrap_or(&self.listening_url)
    }

    /// The URL of the socket itself.
    #[must_use]
    pub fn listening_url(&self) -> &str {
        &self.listening_url
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Stops: takes no more connections, ends running requests (10 s at most) and relay sessions
    /// (close code 1001), closes the database.
    pub async fn shutdown(self) {
        let Self { running, _stop: stop, .. } = self;
        drop(stop);
        // A panic in there was reported when it happened.
        let _ = running.await;
    }
}
