//! Connections: accepted, counted, given TLS and time limits, and ended in good order.
//!
//! The accept loop is our own, because the relay's WebSockets must be tracked beyond the request
//! that they began as: a stop closes them with a word, ends running requests, and flushes the
//! database last.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{self, MissedTickBehavior};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::address::{request_ip, subscriber};
use crate::app::{App, Refusal};
use crate::limits::{
    FORGET_AFTER, GROUP_WRITES, MAX_HEAD_BYTES, PRUNE_INTERVAL, SEARCH_COST, SWEEP_INTERVAL,
    TOUCH_INTERVAL,
};
use crate::model::{Change, PeerKey};
use crate::store::{Writer, unix_now};
use crate::{Listen, StartError, relay, routes};

mod stream;

pub(crate) use stream::Stream;

/// Opens the socket.
pub(crate) fn bind(listen: Listen) -> Result<TcpListener, StartError> {
    let socket = match listen {
        Listen::Socket(socket) => socket,
        Listen::Address(address) => open(address).map_err(|error| {
            StartError::new(format!(
                "The tracker cannot listen on {address}: {error}. Choose another address with \
                 --listen."
            ))
        })?,
    };
    socket
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(socket))
        .map_err(|error| StartError::new(format!("The listening socket cannot be used: {error}.")))
}

fn open(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    // A restart must not wait for the old connections' TIME_WAIT.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if address.ip().is_unspecified() && address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

/// Serves until told to stop, then ends everything.
pub(crate) async fn run(
    app: Arc<App>,
    writer: Writer,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
) {
    app.tasks.spawn(maintain(Arc::clone(&app)));
    accept(&app, listener, tls).await;
    app.tasks.close();
    if time::timeout(app.limits.shutdown_timeout, app.tasks.wait()).await.is_err() {
        tracing::warn!(left = app.tasks.len(), "some connections did not end in time");
    }
    app.store.close(writer).await;
}

async fn accept(app: &Arc<App>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let router = routes::router(Arc::clone(app));
    let seats = Arc::new(Seats::new(app));
    loop {
        let accepted = tokio::select! {
            () = app.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: give connections time to end.
                tracing::warn!(%error, "cannot accept a connection");
                time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(seat) = seats.take(from.ip()) else {
            tracing::debug!(%from, "too many connections");
            continue;
        };
        let _ = socket.set_nodelay(true);
        let connection = Connection { app: Arc::clone(app), router: router.clone(), from };
        let tls = tls.clone();
        app.tasks.spawn(async move {
            let _seat = seat;
            if let Err(error) = connection.serve(socket, tls).await {
                tracing::debug!(%from, %error, "connection ended");
            }
        });
    }
}

struct Connection {
    app: Arc<App>,
    router: Router,
    from: SocketAddr,
}

impl Connection {
    async fn serve(self, socket: TcpStream, tls: Option<TlsAcceptor>) -> Result<(), BoxError> {
        let limits = &self.app.limits;
        let stream = match tls {
            Some(tls) => {
                let handshake = time::timeout(limits.header_timeout, tls.accept(socket));
                Stream::tls(handshake.await??)
            }
            None => Stream::plain(socket),
        };
        let service = service_fn(|request| self.answer(request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_buf_size(MAX_HEAD_BYTES)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        tokio::select! {
            result = connection.as_mut() => return Ok(result?),
            () = self.app.stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        Ok(connection.await?)
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response, Infallible> {
        let app = &self.app;
        let ip = request_ip(self.from, request.headers(), &app.trusted_proxies);
        let limited = app.limits.limit_loopback || !ip.is_loopback();
        let cost = match request.uri().path() {
            "/health" => 0,
            "/api/files/search" => SEARCH_COST,
            _ => 1,
        };
        if limited && let Err(seconds) = app.limiter.take(Instant::now(), subscriber(ip), cost) {
            return Ok(Refusal::too_many(seconds));
        }
        if request.uri().path() == "/relay" {
            return Ok(relay::upgrade(app, request, ip));
        }
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(routes::Caller(ip));
        let answer = self.router.clone().oneshot(request);
        Ok(within(app.limits.request_timeout, answer).await)
    }
}

async fn within(
    limit: Duration,
    answer: impl Future<Output = Result<Response, Infallible>>,
) -> Response {
    match time::timeout(limit, answer).await {
        Ok(Ok(response)) => response,
        Err(_) => {
            let sentence = "The request was not complete in time.";
            Refusal::new(StatusCode::REQUEST_TIMEOUT, sentence).into_response()
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How many connections there are, in all and from each address.
struct Seats {
    max: usize,
    max_per_ip: usize,
    limit_loopback: bool,
    taken: Mutex<(usize, HashMap<IpAddr, usize>)>,
}

struct Seat {
    seats: Arc<Seats>,
    ip: IpAddr,
}

impl Seats {
    fn new(app: &App) -> Self {
        Self {
            max: app.limits.max_connections,
            max_per_ip: app.limits.max_connections_per_ip,
            limit_loopback: app.limits.limit_loopback,
            taken: Mutex::default(),
        }
    }

    fn take(self: &Arc<Self>, ip: IpAddr) -> Option<Seat> {
        let ip = subscriber(ip);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, by_ip) = &mut *taken;
        let mine = by_ip.get(&ip).copied().unwrap_or(0);
        let limited = self.limit_loopback || !ip.is_loopback();
        if *all >= self.max || limited && mine >= self.max_per_ip {
            return None;
        }
        *all += 1;
        by_ip.insert(ip, mine + 1);
        Some(Seat { seats: Arc::clone(self), ip })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (all, by_ip) = &mut *taken;
        *all -= 1;
        if let Some(mine) = by_ip.get_mut(&self.ip) {
            *mine -= 1;
            if *mine == 0 {
                by_ip.remove(&self.ip);
            }
        }
    }
}

/// Drops what has run out, tells the database who is still there, and lets it forget.
async fn maintain(app: Arc<App>) {
    let mut sweep = time::interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let start = time::Instant::now();
    let mut prune = time::interval_at(start + PRUNE_INTERVAL, PRUNE_INTERVAL);
    let mut touch = time::interval_at(start + TOUCH_INTERVAL, TOUCH_INTERVAL);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = sweep.tick() => app.directory.sweep(Instant::now()),
            _ = touch.tick() => {
                let peers = app.directory.peers(Instant::now());
                let keys: Vec<PeerKey> = peers.iter().map(|row| row.key.clone()).collect();
                for some in keys.chunks(GROUP_WRITES) {
                    log_failure(app.store.change(Change::Touch(some.to_vec())).await);
                }
            }
            _ = prune.tick() => {
                let forget = i64::try_from(FORGET_AFTER.as_secs()).unwrap_or(i64::MAX);
                let before = unix_now() - forget;
                log_failure(app.store.change(Change::Prune { before }).await);
            }
        }
    }
}

fn log_failure<T, E: std::fmt::Display>(result: Result<T, E>) {
    if let Err(error) = result {
        tracing::warn!(%error, "housekeeping failed; it is tried again");
    }
}
