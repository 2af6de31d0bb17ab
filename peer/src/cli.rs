//! The words of the command line: what `towpath --help` says.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use towpath_core::path::Policy;

use crate::units::Rate;

const AFTER_HELP: &str = "\
Examples:
  towpath share holiday/                 share a folder; prints a link
  towpath get LINK                       fetch it into the current folder
  towpath get LINK -o - | tar x          verified bytes, in order, to a pipe
  towpath share --public paper.pdf --tracker https://towpath.example

Exit codes: 0 done, 1 other error, 2 wrong usage, 3 bad link, 4 nobody online in time,
5 tracker not reachable, 6 disk full, 7 target exists, 8 no permission or read-only,
9 source missing or changed, 10 hostile or broken manifest, 130 interrupted.";

/// Share a file or a folder and fetch it elsewhere: end-to-end encrypted, verified chunk by chunk.
#[derive(Debug, Parser)]
#[command(name = "towpath", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Folder for the key, the cache and running shares
    #[arg(long, env = "TOWPATH_DATA", value_name = "DIR", global = true)]
    pub(crate) data: Option<PathBuf>,
    /// Tell nothing but errors (and the link)
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// One JSON object a line on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Tell more about connections, on standard error
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Share files or folders: prints a link and serves until stopped
    Share(Share),
    /// Fetch what a link names
    Get(Get),
    /// Say what a link or a path is, without fetching or sharing it
    Inspect(Inspect),
    /// Print this machine's public key
    Id,
}

/// How to talk to others; of `share` and `get`.
#[derive(Debug, Args)]
pub(crate) struct Network {
    /// Where to listen for other peers [default: all addresses, any port]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// Upload limit, for example 60MB (a second)
    #[arg(long, value_name = "RATE")]
    pub(crate) limit_up: Option<Rate>,
    /// Download limit, for example 60MB (a second)
    #[arg(long, value_name = "RATE")]
    pub(crate) limit_down: Option<Rate>,
    /// How to reach others
    #[arg(long, value_enum, default_value_t = PathChoice::Auto)]
    pub(crate) path: PathChoice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PathChoice {
    /// The best way known (today: sequential)
    Auto,
    /// Direct first, then the relay
    Sequential,
    /// Never through the relay
    Direct,
    /// Only through the relay
    Relay,
}

impl From<PathChoice> for Policy {
    fn from(choice: PathChoice) -> Self {
        match choice {
            PathChoice::Auto => Self::Auto,
            PathChoice::Sequential => Self::Sequential,
            PathChoice::Direct => Self::Direct,
            PathChoice::Relay => Self::Relay,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Share {
    /// Files and folders; `-` is standard input
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// Announce name and size, and let everybody fetch it
    #[arg(long)]
    pub(crate) public: bool,
    /// Tracker to use [default: one inside this process]
    #[arg(long, env = "TOWPATH_TRACKER", value_name = "URL")]
    pub(crate) tracker: Option<String>,
    /// Host name or address that the link of the built-in tracker names
    #[arg(long, value_name = "HOST", conflicts_with = "tracker")]
    pub(crate) advertise: Option<String>,
    /// Stop after one complete receiver
    #[arg(long, conflicts_with = "count")]
    pub(crate) once: bool,
    /// Stop after so many complete receivers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// The link that `towpath share` printed
    #[arg(value_name = "LINK")]
    pub(crate) link: String,
    /// Where to put it: a folder, a name, or `-` for standard output
    #[arg(long, short, value_name = "OUT")]
    pub(crate) output: Option<PathBuf>,
    /// Replace what stands at the target
    #[arg(long)]
    pub(crate) force: bool,
    /// Give up if nobody is online for so many seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Do not serve to others while fetching
    #[arg(long)]
    pub(crate) no_serve: bool,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A link, or a file or folder
    #[arg(value_name = "LINK|PATH")]
    pub(crate) what: String,
}
