//! What all commands do alike: settings, a runtime, a peer, signals.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use towpath_core::id::ContentKey;
use towpath_core::node::{Event, Input, Progress};
use towpath_store::Prepared;
use towpath_tokio::{Content, Peer, PeerConfig};

use crate::cli::{Cli, Command, Network};
use crate::failure::Failure;
use crate::report::{PROGRESS_INTERVAL, Report};
use crate::settings::{ConfigFile, DataDir};
use crate::units::Rate;
use crate::{get, inspect, lan, share};

/// Saying goodbye to peers and tracker takes no longer.
const GOODBYE: Duration = Duration::from_secs(5);

/// Settings that all commands share.
pub(crate) struct Context {
    pub(crate) data: DataDir,
    pub(crate) config: ConfigFile,
    pub(crate) interrupt: Interrupt,
}

/// Runs the command.
pub(crate) fn run(cli: Cli, report: &mut Report) -> Result<(), Failure> {
    log(cli.common.verbose);
    let config = ConfigFile::load()?;
    let data = DataDir::open(&cli.common, &config)?;
    // One thread drives all sockets: measured faster than several, and chunks have their own pool.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("io", format!("cannot start: {error}")))?;
    let result = runtime.block_on(async {
        let context = Context { data, config, interrupt: Interrupt::listen()? };
        match cli.command {
            Command::Share(args) => share::share(args, &context, report).await,
            Command::Get(args) => get::get(args, &context, report).await,
            Command::Inspect(args) => inspect::inspect(&args.what, &context, report).await,
            Command::Id => inspect::id(&context, report),
        }
    });
    // A pipe whose reader stopped may hold a thread for ever; nobody waits for it.
    runtime.shutdown_background();
    result
}

fn log(verbose: bool) {
    let level = if verbose { tracing::Level::DEBUG } else { tracing::Level::ERROR };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).init();
}

/// A peer that runs, and the words for it.
pub(crate) struct Running {
    peer: Peer,
    commands: towpath_tokio::Commands,
}

impl Running {
    pub(crate) fn send(&self, input: Input) {
        self.commands.send(input);
    }

    pub(crate) fn register(&self, key: ContentKey, content: Content) -> Result<(), Failure> {
        self.commands
            .register(key, content)
            .map_err(|error| Failure::new("io", format!("cannot start a thread: {error}")))
    }

    pub(crate) async fn next_event(&mut self) -> Option<Event> {
        self.peer.events.recv().await
    }

    pub(crate) async fn progress(&self, key: ContentKey) -> Progress {
        self.commands.progress(key).await
    }

    /// Says goodbye, and waits for it a bounded time.
    pub(crate) async fn stop(self) {
        let _ = tokio::time::timeout(GOODBYE, self.peer.stop()).await;
    }
}

/// Starts a peer that listens and has told the node where.
pub(crate) async fn start_peer(
    context: &Context,
    network: &Network,
    tracker: String,
) -> Result<Running, Failure> {
    let mut config = PeerConfig::new(context.data.identity()?, tracker);
    config.listen = network.listen;
    config.limit_up_bytes_per_second = limit(network.limit_up, context.config.limit_up.as_deref())?;
    config.limit_down_bytes_per_second =
        limit(network.limit_down, context.config.limit_down.as_deref())?;
    let listen = network.listen;
    let peer = Peer::start(config).await.map_err(|error| {
        let whereto =
            listen.map_or("any port".to_owned(), |address: SocketAddr| address.to_string());
        Failure::new("io", format!("cannot listen on {whereto}: {error}"))
    })?;
    let addresses = lan::addresses(peer.listen_addr());
    let commands = peer.commands();
    commands.send(Input::Listening { addresses });
    Ok(Running { peer, commands })
}

fn limit(flag: Option<Rate>, file: Option<&str>) -> Result<Option<u64>, Failure> {
    let from_file = || file.map(str::parse::<Rate>).transpose();
    let rate = match flag {
        Some(rate) => Some(rate),
        None => from_file().map_err(|error| Failure::new("usage", error))?,
    };
    Ok(rate.map(|rate| rate.0))
}

/// Runs blocking work of the store where it stops nobody.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, towpath_store::Error> + Send + 'static,
) -> Result<T, Failure> {
    towpath_tokio::blocking(work).await.map_err(Failure::from)
}

/// Runs blocking work of the store that tells how far it is, and shows that from the first second.
pub(crate) async fn told<T: Send + 'static>(
    context: &Context,
    report: &mut Report,
    what: &'static str,
    work: impl FnOnce(&mut dyn FnMut(Prepared)) -> Result<T, towpath_store::Error> + Send + 'static,
) -> Result<T, Failure> {
    let cell = Arc::new(Mutex::new(Prepared::default()));
    let teller = Arc::clone(&cell);
    let mut running = Box::pin(blocking(move || {
        let mut tell = |now: Prepared| *teller.lock().unwrap_or_else(PoisonError::into_inner) = now;
        work(&mut tell)
    }));
    let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
    let mut shown = false;
    loop {
        tokio::select! {
            result = &mut running => {
                report.end_bar();
                return result;
            }
            _ = ticks.tick() => {
                let now = *cell.lock().unwrap_or_else(PoisonError::into_inner);
                if now.total_bytes > 0 && !shown {
                    report.stage(what, now.total_bytes, now.done_bytes);
                    shown = true;
                }
                if shown {
                    let note = format!(", {} files", crate::units::count(now.files));
                    report.progress(what, now.done_bytes, now.total_bytes, &note);
                }
            }
            () = context.interrupt.wait() => return Err(Failure::new("interrupted", "interrupted")),
        }
    }
}

/// Knows whether the user or the system asked this process to stop.
#[derive(Clone)]
pub(crate) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::new("io", format!("cannot wait for signals: {error}")))
        };
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let (tell, stopped) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tell.send_replace(true);
            // A second word means now.
            interrupt.recv().await;
            std::process::exit(130);
        });
        Ok(Self(stopped))
    }

    /// Ends when it was asked to stop, also if that was before.
    pub(crate) async fn wait(&self) {
        // The sender lives as long as the runtime.
        let _ = self.0.clone().wait_for(|stopped| *stopped).await;
    }
}

/// A folder that is removed when it is dropped: standard input is spooled there.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by nobody else; there is no one left to tell.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
