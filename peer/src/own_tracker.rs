//! A tracker inside this process, for people who have none.
//!
//! It listens on all addresses, so that other machines of the network reach it. Its port is kept in
//! the share's folder: the same share has the same link after a restart.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use towpath_tracker::{Config, Listen, Running, Tracker};

use crate::failure::Failure;
use crate::lan;
use crate::run::Scratch;
use crate::settings::io_failure;

/// A tracker that runs in this process.
pub(crate) struct OwnTracker {
    /// Its base URL, as the link names it.
    pub(crate) url: String,
    host: String,
    port: u16,
    running: Running,
    _scratch: Option<Scratch>,
}

impl OwnTracker {
    /// Starts it with its data in `dir`.
    pub(crate) async fn start(dir: &Path, advertise: Option<&str>) -> Result<Self, Failure> {
        let kept = dir.join("port");
        let wanted = read_port(&kept);
        let (listener, is_wanted) = bind(wanted)?;
        let address = listener
            .local_addr()
            .map_err(|error| Failure::new("io", format!("cannot listen: {error}")))?;
        let port = address.port();
        // Another process shares the same thing now: it has the port and the data, we have our own.
        let second = wanted.is_some() && !is_wanted;
        let (data, scratch) = if second {
            let dir = dir.join(format!("tracker-{}", std::process::id()));
            (dir.clone(), Some(Scratch(dir)))
        } else {
            std::fs::write(&kept, port.to_string())
                .map_err(|error| io_failure("cannot write", &kept, &error))?;
            (dir.join("tracker"), None)
        };
        let host = advertise.map_or_else(default_host, str::to_owned);
        let url = format!("http://{host}:{port}");
        let running = Tracker::start(config(listener, data, url.clone()))
            .await
            .map_err(|error| Failure::new("tracker", error.to_string()))?;
        Ok(Self { url, host, port, running, _scratch: scratch })
    }

    /// Who can reach it.
    pub(crate) fn reach(&self) -> String {
        let port = self.port;
        match self.host.parse::<IpAddr>() {
            Ok(ip) if ip.is_loopback() => format!(
                "its tracker runs in this process, port {port}: only this machine can reach it \
                 (there is no network; say --advertise HOST or --tracker URL)"
            ),
            _ => format!(
                "its tracker runs in this process: whoever can reach {}, port {port}, can fetch it \
                 while this runs (elsewhere: --tracker URL)",
                self.host
            ),
        }
    }

    /// Stops it.
    pub(crate) async fn stop(self) {
        self.running.shutdown().await;
    }
}

fn config(listener: TcpListener, data: PathBuf, public_url: String) -> Config {
    Config { listen: Listen::Socket(listener), public_url: Some(public_url), ..Config::new(data) }
}

fn default_host() -> String {
    match lan::link_host() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn read_port(path: &Path) -> Option<u16> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok().filter(|port| *port != 0)
}

/// Listens at the wanted port, or at any if somebody else does already; and whether it is the
/// wanted one.
fn bind(wanted: Option<u16>) -> Result<(TcpListener, bool), Failure> {
    let try_port = |port: u16| {
        let any_v6 = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        // Without IPv6 there is still IPv4.
        TcpListener::bind(any_v6)
            .or_else(|_| TcpListener::bind(SocketAddr::new([0, 0, 0, 0].into(), port)))
    };
    if let Some(listener) = wanted.and_then(|port| try_port(port).ok()) {
        return Ok((listener, true));
    }
    try_port(0)
        .map(|listener| (listener, false))
        .map_err(|error| Failure::new("io", format!("cannot listen at any port: {error}")))
}
