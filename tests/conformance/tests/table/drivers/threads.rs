//! The driver on threads is an example of the core; a real tracker lets nobody announce who has not
//! logged in at its relay, so that is done here, and calls go the way of the other drivers.

use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_tungstenite::tungstenite::Message;
use bytes::BytesMut;
use futures_util::StreamExt;
use smol::Async;
use towpath_core::id::Instance;
use towpath_core::node::{Event, Input};
use towpath_core::output::Output;
use towpath_core::relay::client::{self, Client, Transmit};
use towpath_core::rng::Rng;
use towpath_core::time::Instant;
use towpath_core::tracker_api::{CallError, Request, Response};
use towpath_runtime::random;
use towpath_runtime::relay::upgrade;
use towpath_runtime::tracker::{Connection, Tracker};

use super::{Files, Peer, Setup};

#[expect(dead_code, reason = "an example has a main of its own")]
#[path = "../../../../../core/examples/threads.rs"]
mod example;

use example::copy;

/// How long the threads of a stopped peer may hold its files.
const LETTING_GO: Duration = Duration::from_secs(30);

struct Threads {
    peer: example::Peer,
    files: Arc<copy::Files>,
    _login: smol::Task<()>,
}

pub(super) fn start(setup: Setup) -> Box<dyn Peer> {
    let tracker = Arc::new(Tracker::parse(&setup.tracker).expect("it is a tracker"));
    let calls = tracker.clone();
    let call = move |request: &Request, token: Option<&str>| call(&calls, request, token);
    let files = Arc::new(copy::Files { content: OnceLock::new(), tracker: Arc::new(call) });
    let (peer, me) = copy::peer(&files, setup.key, setup.limit_up).expect("it starts");
    let node = peer.node.clone();
    let login = smol::spawn(async move {
        log_in(&tracker, me, setup.key, |token| {
            let _ = node.send(Input::Relay { token: Some(token) });
        })
        .await;
    });
    Box::new(Threads { peer, files, _login: login })
}

async fn connect(tracker: &Tracker) -> Result<Connection, String> {
    let address: SocketAddr = tracker.authority.parse().map_err(|_| "no address")?;
    let stream = Async::<TcpStream>::connect(address).await.map_err(|e| tracker.sentence(&e))?;
    Ok(Box::new(stream))
}

fn call(tracker: &Tracker, request: &Request, token: Option<&str>) -> Result<Response, CallError> {
    smol::block_on(tracker.answer(&mut None, request, token, || connect(tracker)))
}

/// Logs in at the relay and stays there; it takes no circuits.
async fn log_in(tracker: &Tracker, me: Instance, secret_key: [u8; 32], tell: impl Fn(String)) {
    let host = tracker.authority.clone();
    let config = client::Config { me, secret_key, host };
    let mut client = Client::new(Instant::ZERO, Rng::new(random()), config);
    let connection = connect(tracker).await.expect("it is there");
    let mut socket = upgrade(tracker, connection).await.expect("it has a relay");
    let start = std::time::Instant::now();
    let mut input = client::Input::Want(true);
    loop {
        client.handle_input(Instant::ZERO + start.elapsed(), input);
        let (mut connects, mut due) = (false, Duration::ZERO);
        while due.is_zero() {
            match client.poll_output() {
                Output::Transmit(Transmit::Connect) => connects = true,
                Output::Transmit(Transmit::Send { message }) => {
                    let _ = socket.send(Message::Binary(message)).await;
                }
                Output::Transmit(_) => {}
                Output::Event(client::Event::LoggedIn { token }) => tell(token),
                Output::Event(client::Event::LoggedOut(_)) => return,
                Output::Event(_) => {}
                Output::Timeout(at) => {
                    let left = at.since(Instant::ZERO + start.elapsed());
                    due = left.clamp(Duration::from_millis(1), Duration::from_secs(3_600));
                }
            }
        }
        let tick = async {
            smol::Timer::after(due).await;
            client::Input::Tick
        };
        let message = async {
            match socket.next().await {
                Some(Ok(Message::Binary(bytes))) => client::Input::Message(BytesMut::from(bytes)),
                Some(Ok(_)) => client::Input::Tick,
                _ => client::Input::Disconnected("the relay is gone".into()),
            }
        };
        input = match connects {
            true => client::Input::Connected { ephemeral: random() },
            false => smol::future::or(message, tick).await,
        };
    }
}

impl Peer for Threads {
    fn address(&self) -> SocketAddr {
        self.peer.address
    }

    fn send(&self, input: Input) {
        let _ = self.peer.node.send(input);
    }

    fn register(&self, files: Files) {
        let content = match files {
            Files::Source(source) => copy::Content::Source(source),
            Files::Target(target) => copy::Content::Target(target),
            Files::Pipe(..) => unreachable!("it has none"),
        };
        let _ = self.files.content.set(content);
    }

    fn event(&mut self, within: Duration) -> Option<Event> {
        self.peer.events.recv_timeout(within).ok()
    }

    fn stop(self: Box<Self>) {
        // As near to death as threads come, too: they cannot be killed.
        drop(self);
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.send(Input::Shutdown);
        while let Ok(event) = self.peer.events.recv()
            && event != Event::Stopped
        {}
        // Wakes the thread that listens, which finds nobody to tell.
        let _ = TcpStream::connect(self.peer.address);
        // The last of its threads may still hold the files, and with them the lock of the target.
        let begun = std::time::Instant::now();
        while Arc::strong_count(&self.files) > 1 && begun.elapsed() < LETTING_GO {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
