//! A native peer: the core's relay client over a real WebSocket, and calls with its token.

use std::net::SocketAddr;
use std::time::Instant as Clock;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::Message;
use async_tungstenite::tungstenite::client::ClientRequestBuilder;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};
use towpath_core::crypto::public_key;
use towpath_core::id::Instance;
use towpath_core::output::Output;
use towpath_core::relay::client::{Client, Config, Event, Input, Transmit};
use towpath_core::rng::Rng;
use towpath_core::time::Instant;
use towpath_core::tracker_api::{
    CallError, Request, Response, decode_reply, encode_request, instance_text,
};

use crate::client::{Reply, call};
use crate::harness::Server;

pub(crate) type Web = WebSocketStream<Compat<TcpStream>>;

/// What a peer sees of its relay.
#[derive(Debug)]
pub(crate) enum Seen {
    Event(Event),
    Opened,
    Bytes(BytesMut),
    Writable(usize),
    Ended,
}

/// A peer that is logged in.
pub(crate) struct Peer {
    pub(crate) me: Instance,
    pub(crate) token: String,
    pub(crate) relay: mpsc::UnboundedSender<Input>,
    pub(crate) seen: mpsc::UnboundedReceiver<Seen>,
    server: SocketAddr,
    task: JoinHandle<()>,
}

impl Peer {
    /// Logs in as instance `number` of the key that is made of `secret`.
    pub(crate) async fn login(server: &Server, secret: u8, number: u64) -> Self {
        let secret_key = [secret; 32];
        let me = Instance { peer: public_key(&secret_key), number };
        let server = server.addr();
        let (relay, commands) = mpsc::unbounded_channel();
        let (tell, mut seen) = mpsc::unbounded_channel();
        let config = Config { me, secret_key, host: server.to_string() };
        let client = Client::new(Instant::ZERO, Rng::new([secret; 32]), config);
        let task = tokio::spawn(drive(client, server, commands, tell));
        relay.send(Input::Want(true)).unwrap();
        let token = loop {
            match seen.recv().await.expect("the client goes on") {
                Seen::Event(Event::LoggedIn { token, .. }) => break token,
                Seen::Event(Event::LoggedOut(why)) => panic!("no login: {why}"),
                _ => {}
            }
        };
        Self { me, token, relay, seen, server, task }
    }

    /// Ends without a word, as a process that is killed.
    pub(crate) fn vanish(self) {
        self.task.abort();
    }

    pub(crate) fn id(&self) -> String {
        instance_text(&self.me)
    }

    /// A call with this peer's token.
    pub(crate) async fn http(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Reply {
        let bearer = format!("Bearer {}", self.token);
        call(self.server, method, path, &[("authorization", &bearer)], body).await
    }

    /// The same through the core's codec.
    pub(crate) async fn ask(&self, request: &Request) -> Result<Response, CallError> {
        let http = encode_request(request);
        let reply = self.http(http.method, &http.path, http.body.unwrap_or_default()).await;
        decode_reply(request, reply.status, None, &reply.body)
    }

    /// The next thing that `pick` takes.
    pub(crate) async fn wait<T>(&mut self, mut pick: impl FnMut(Seen) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let seen = self.seen.recv().await.expect("the client goes on");
                if let Some(picked) = pick(seen) {
                    return picked;
                }
            }
        };
        time::timeout(time::Duration::from_secs(20), waiting).await.expect("it comes")
    }
}

/// A WebSocket to `/relay`.
pub(crate) async fn connect(server: SocketAddr) -> Web {
    let uri = format!("ws://{server}/relay").parse().unwrap();
    let request = ClientRequestBuilder::new(uri).with_sub_protocol("towpath-relay-v1");
    let stream = TcpStream::connect(server).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (web, response) = async_tungstenite::client_async(request, stream.compat()).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "towpath-relay-v1");
    web
}

async fn drive(
    mut client: Client,
    server: SocketAddr,
    mut commands: mpsc::UnboundedReceiver<Input>,
    tell: mpsc::UnboundedSender<Seen>,
) {
    let start = Clock::now();
    let now = || Instant::from_nanos(start.elapsed().as_nanos() as u64);
    let mut web: Option<Web> = None;
    let mut next = Input::Tick;
    loop {
        client.handle_input(now(), next);
        let mut waiting = Vec::new();
        let deadline = loop {
            let output = match waiting.pop() {
                Some(input) => {
                    client.handle_input(now(), input);
                    continue;
                }
                None => client.poll_output(),
            };
            match output {
                Output::Timeout(deadline) => break deadline,
                Output::Event(event) => drop(tell.send(Seen::Event(event))),
                Output::Transmit(Transmit::Connect) => {
                    web = Some(connect(server).await);
                    let mut ephemeral = [0; 32];
                    getrandom::fill(&mut ephemeral).unwrap();
                    waiting.push(Input::Connected { ephemeral });
                }
                Output::Transmit(Transmit::Send { message }) => {
                    let bytes = message.len();
                    let web = web.as_mut().expect("it sends when it is connected");
                    waiting.push(match web.send(Message::Binary(message)).await {
                        Ok(()) => Input::Sent { bytes },
                        Err(error) => Input::Disconnected(error.to_string()),
                    });
                }
                Output::Transmit(Transmit::Disconnect) => web = None,
                Output::Transmit(Transmit::Deliver { link, bytes }) => {
                    waiting.push(Input::Consumed { link, bytes: bytes.len() });
                    drop(tell.send(Seen::Bytes(bytes)));
                }
                Output::Transmit(Transmit::Writable { bytes, .. }) => {
                    drop(tell.send(Seen::Writable(bytes)));
                }
                Output::Transmit(Transmit::Opened { .. }) => drop(tell.send(Seen::Opened)),
                Output::Transmit(Transmit::Ended { .. }) => drop(tell.send(Seen::Ended)),
            }
        };
        let message = async {
            match web.as_mut() {
                Some(web) => web.next().await,
                None => std::future::pending().await,
            }
        };
        let wait = deadline.since(now()).min(time::Duration::from_secs(60));
        next = tokio::select! {
            command = commands.recv() => match command {
                Some(command) => command,
                None => return,
            },
            message = message => match message {
                Some(Ok(Message::Binary(bytes))) => Input::Message(BytesMut::from(&bytes[..])),
                Some(Ok(_)) => Input::Tick,
                Some(Err(error)) => { web = None; Input::Disconnected(error.to_string()) }
                None => { web = None; Input::Disconnected("closed".to_owned()) }
            },
            () = time::sleep(wait) => Input::Tick,
        };
    }
}
