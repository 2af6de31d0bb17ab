//! `/relay`: the core's hub, driven over WebSockets.
//!
//! One task owns the hub machine; each connection has one task that moves messages both ways
//! ([`socket`]). Inputs reach the hub through one bounded queue: the hub takes them as fast as it
//! can and never waits for a connection, so that a full queue means a busy processor and nothing
//! else. Outputs go into a queue of their connection without a bound of its own: the hub's windows
//! and its budget bound what can be in there. That queue is the one of futures-channel, which keeps
//! one message's room while it is empty; tokio's keeps 32. So nobody waits in a circle, and the
//! data path has no lock.
//!
//! The subprotocol names the protocol. The founding system's JSON protocol, which names none, will
//! be answered here too; until then it is refused in words.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant as Clock;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use bytes::Bytes;
use futures_channel::mpsc::UnboundedSender;
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use sha1::{Digest as _, Sha1};
use tokio::sync::mpsc;
use tokio::time;
use towpath_core::close::CloseReason;
use towpath_core::id::Instance;
use towpath_core::limits::MAX_RELAY_HOST_BYTES;
use towpath_core::output::Output;
use towpath_core::relay::frame::SUBPROTOCOL;
use towpath_core::relay::hub::{self, ConnId};
use towpath_core::rng::Rng;
use towpath_core::time::{Instant, UnixTime};

use crate::app::{App, Refusal};
use crate::limits::{HUB_BUDGET_BYTES, HUB_QUEUE};
use crate::model::PeerKey;
use crate::store::unix_now;

mod socket;
mod web;

/// Inputs that the hub's task takes before it looks at its clock again.
const BATCH: usize = 256;

/// The way to the hub.
#[derive(Debug)]
pub(crate) struct Hub {
    inputs: mpsc::Sender<ToHub>,
    connections: AtomicU64,
}

/// What connections tell the hub's task.
#[derive(Debug)]
pub(crate) enum ToHub {
    /// A WebSocket is open.
    Opened { conn: ConnId, ip: IpAddr, host: String, out: UnboundedSender<ToSocket> },
    /// An input of the machine: a message, bytes that were sent, the end.
    Input(hub::Input),
}

/// What the hub's task tells a connection.
#[derive(Debug)]
pub(crate) enum ToSocket {
    /// Send this.
    Send(Bytes),
    /// Close, with a code for this reason.
    Close(CloseReason),
}

impl Hub {
    /// The way to a hub that [`run`] has yet to drive.
    pub(crate) fn new() -> (Self, mpsc::Receiver<ToHub>) {
        let (inputs, queue) = mpsc::channel(HUB_QUEUE);
        (Self { inputs, connections: AtomicU64::new(0) }, queue)
    }
}

/// Drives the hub until the tracker stops.
pub(crate) async fn run(app: Arc<App>, mut queue: mpsc::Receiver<ToHub>) {
    let mut seed = [0; 32];
    if let Err(error) = getrandom::fill(&mut seed) {
        tracing::error!(%error, "no randomness: the relay is off");
        return;
    }
    let config = hub::Config {
        secret_key: app.keys.relay,
        token_key: app.keys.token,
        buffer_budget_bytes: HUB_BUDGET_BYTES,
        max_connections_per_ip: app.limits.max_connections_per_ip,
        max_connections: app.limits.max_connections,
    };
    let start = Clock::now();
    let mut driver = Driver {
        start,
        hub: hub::Hub::new(Instant::ZERO, Rng::new(seed), config),
        sockets: HashMap::new(),
        app: Arc::clone(&app),
        stopped: false,
    };
    let mut deadline = driver.drain();
    let mut batch = Vec::new();
    let mut stopping = false;
    while !driver.stopped {
        let wake = driver.sleep_until(deadline);
        tokio::select! {
            received = queue.recv_many(&mut batch, BATCH) => if received == 0 { return },
            () = wake => driver.input(hub::Input::Tick),
            () = app.stop.cancelled(), if !stopping => {
                stopping = true;
                driver.input(hub::Input::Shutdown);
            }
        }
        for message in batch.drain(..) {
            match message {
                ToHub::Opened { conn, ip, host, out } => driver.open(conn, ip, host, out),
                ToHub::Input(input) => driver.input(input),
            }
            driver.drain();
        }
        deadline = driver.drain();
    }
}

struct Driver {
    start: Clock,
    hub: hub::Hub,
    sockets: HashMap<ConnId, Socket>,
    app: Arc<App>,
    stopped: bool,
}

struct Socket {
    ip: IpAddr,
    out: UnboundedSender<ToSocket>,
}

impl Driver {
    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    async fn sleep_until(&self, deadline: Instant) {
        if deadline == Instant::NEVER {
            return std::future::pending().await;
        }
        time::sleep(deadline.since(self.now())).await;
    }

    fn open(&mut self, conn: ConnId, ip: IpAddr, host: String, out: UnboundedSender<ToSocket>) {
        let mut ephemeral = [0; 32];
        if getrandom::fill(&mut ephemeral).is_err() {
            // Without its sender the connection ends.
            return;
        }
        self.sockets.insert(conn, Socket { ip, out });
        let unix_time = UnixTime(unix_now());
        self.input(hub::Input::Connected { conn, ip, host, ephemeral, unix_time });
    }

    fn input(&mut self, input: hub::Input) {
        let gone = match &input {
            hub::Input::Disconnected(conn) => Some(*conn),
            _ => None,
        };
        self.hub.handle_input(self.now(), input);
        if let Some(conn) = gone {
            self.sockets.remove(&conn);
        }
    }

    fn drain(&mut self) -> Instant {
        loop {
            match self.hub.poll_output() {
                Output::Transmit(hub::Transmit::Send { conn, message }) => {
                    if let Some(socket) = self.sockets.get(&conn) {
                        // A connection that has just ended says so itself.
                        let _ = socket.out.unbounded_send(ToSocket::Send(message));
                    }
                }
                Output::Transmit(hub::Transmit::Close { conn, reason }) => {
                    if let Some(socket) = self.sockets.remove(&conn) {
                        tracing::debug!(conn = conn.0, %reason, "relay session closed");
                        let _ = socket.out.unbounded_send(ToSocket::Close(reason));
                    }
                }
                Output::Event(event) => self.event(event),
                Output::Timeout(deadline) => return deadline,
            }
        }
    }

    fn event(&mut self, event: hub::Event) {
        match event {
            hub::Event::LoggedIn(conn, instance) => {
                if let Some(socket) = self.sockets.get(&conn) {
                    self.app.directory.spoke(Clock::now(), instance.peer, socket.ip);
                }
                self.arrived(instance);
            }
            hub::Event::LoggedOut(_, instance) => {
                self.app.directory.relay_closed(Clock::now(), instance);
            }
            hub::Event::Stopped => self.stopped = true,
        }
    }

    /// What the instance had announced before is known again at once.
    // spec T13: also after a restart
    fn arrived(&self, instance: Instance) {
        if self.app.directory.relay_opened(Clock::now(), instance) {
            return;
        }
        let app = Arc::clone(&self.app);
        self.app.tasks.spawn(async move {
            if app.recall(&PeerKey::Native(instance)).await.is_err() {
                tracing::debug!("a peer could not be recalled; it announces again");
            }
        });
    }
}

/// Answers `GET /relay`: with 101 and a task for the WebSocket, or with what is wrong.
pub(crate) fn upgrade(app: &Arc<App>, mut request: Request<Incoming>, ip: IpAddr) -> Response {
    let (accept, host) = match check(&request) {
        Ok(checked) => checked,
        Err(refusal) => return refusal.into_response(),
    };
    let upgraded = hyper::upgrade::on(&mut request);
    let conn = ConnId(app.hub.connections.fetch_add(1, Ordering::Relaxed));
    let inputs = app.hub.inputs.clone();
    let tasks = app.tasks.clone();
    app.tasks.spawn(async move {
        match upgraded.await {
            Ok(upgraded) => {
                if let Some(session) = socket::open(upgraded, conn, ip, host, inputs).await {
                    tasks.spawn(session);
                }
            }
            Err(error) => tracing::debug!(%error, "the WebSocket did not come about"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    response
}

/// The opening handshake (RFC 6455, section 4.2.1); yields the accept key and the host as dialled.
fn check(request: &Request<Incoming>) -> Result<(HeaderValue, String), Refusal> {
    let headers = request.headers();
    let websocket = request.method() == Method::GET
        && has_token(headers, &header::CONNECTION, "upgrade")
        && has_token(headers, &header::UPGRADE, "websocket");
    if !websocket {
        return Err(Refusal::bad("The relay speaks WebSocket: connect to it with a Towpath peer."));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal::bad("The relay speaks version 13 of WebSocket."));
    }
    // spec R1
    if !has_token(headers, &header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL) {
        return Err(Refusal::bad(format!(
            "The relay speaks the WebSocket subprotocol {SUBPROTOCOL} only, and this client \
             does not name it."
        )));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let accept = key.and_then(|key| HeaderValue::from_str(&accept_key(key.as_bytes())).ok());
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    match (accept, host) {
        (Some(accept), Some(host)) if host.len() <= MAX_RELAY_HOST_BYTES => {
            Ok((accept, host.to_owned()))
        }
        _ => Err(Refusal::bad("Sec-WebSocket-Key or Host is missing.")),
    }
}

/// Whether a comma-separated header has this word, whatever its case.
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(token))
}

/// The proof that we speak WebSocket (RFC 6455, section 4.2.2).
fn accept_key(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64::engine::general_purpose::STANDARD.encode(hash.finalize())
}
