//! The command `towpath-tracker`.

use std::io::{self, IsTerminal as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use towpath_tracker::{Config, Limits, Listen, StartError, Tls, Tracker};
use tracing_subscriber::filter::LevelFilter;

const _: () = assert!(!towpath_core::HAS_PLANTED_FAULTS, "faults are for the simulated world");

// glibc's allocator gives its top back after every burst, which halves the relay's throughput.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXAMPLES: &str = "\
Examples:
  towpath-tracker
      Plain HTTP on port 6969 of all addresses, SQLite in ./towpath-tracker.
  towpath-tracker --listen [::]:443 --tls-cert chain.pem --tls-key key.pem \\
                  --public-url https://t.example
      HTTPS for the world; links then begin with https://t.example/f/.
  towpath-tracker --listen 127.0.0.1:6969 --trusted-proxy 127.0.0.1 \\
                  --public-url https://t.example
      Behind a proxy on the same machine. It has to pass WebSockets and the Host header on, and to
      set X-Forwarded-For.

The first line on standard output is 'listening on URL'. SIGTERM and SIGINT stop it in good order.

Exit codes:
  0  stopped by a signal
  1  could not start; one sentence on standard error says why
  2  the command line is wrong";

/// Introduces peers that share files, keeps the directory of what they announce, and relays what
/// cannot go directly. It sees neither names nor bytes of private shares.
#[derive(Debug, Parser)]
#[command(name = "towpath-tracker", version, after_help = EXAMPLES, max_term_width = 100)]
struct Arguments {
    /// Where to listen; port 0 takes any free one
    #[arg(
        long,
        value_name = "ADDR",
        env = "TOWPATH_TRACKER_LISTEN",
        default_value = "0.0.0.0:6969"
    )]
    listen: SocketAddr,

    /// postgres://USER:PASSWORD@HOST/NAME or sqlite:FILE; without it SQLite in the data folder
    #[arg(long, value_name = "URL", env = "TOWPATH_TRACKER_DATABASE", hide_env_values = true)]
    database: Option<String>,

    /// Folder of the keys and the database; created on the first start
    #[arg(
        long,
        value_name = "DIR",
        env = "TOWPATH_TRACKER_DATA",
        default_value = "towpath-tracker"
    )]
    data: PathBuf,

    /// Certificate chain in PEM; turns the listening port into HTTPS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Private key of the certificate in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// How people reach this tracker, if not as it listens: https://HOST[:PORT]
    #[arg(long, value_name = "URL", env = "TOWPATH_TRACKER_PUBLIC_URL")]
    public_url: Option<String>,

    /// A proxy whose X-Forwarded-For is believed; can be given several times
    #[arg(long, value_name = "IP")]
    trusted_proxy: Vec<IpAddr>,

    /// More words on standard error
    #[arg(long, short)]
    verbose: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let level = if arguments.verbose { LevelFilter::DEBUG } else { LevelFilter::INFO };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .init();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), StartError> {
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| sentence("The runtime cannot start", &error))?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> Result<(), StartError> {
    let failed = |error: io::Error| sentence("Signals cannot be caught", &error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let tracker = Tracker::start(Config {
        listen: Listen::Address(arguments.listen),
        database: arguments.database,
        data: arguments.data,
        tls: arguments.tls_cert.zip(arguments.tls_key).map(|(cert, key)| Tls { cert, key }),
        public_url: arguments.public_url,
        trusted_proxies: arguments.trusted_proxy,
        limits: Limits::default(),
    })
    .await?;
    let mut out = io::stdout().lock();
    // Nobody may be reading; that is no reason to stop.
    let _ = writeln!(out, "listening on {}", tracker.listening_url()).and_then(|()| out.flush());
    drop(out);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    tracker.shutdown().await;
    Ok(())
}

fn sentence(what: &str, error: &io::Error) -> StartError {
    StartError::from(format!("{what}: {error}."))
}

/// Each connection is an open file, and the usual soft limit is 1,024.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
}
