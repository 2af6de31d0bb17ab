//! The relay: a WebSocket to the tracker, and the task of the machine that runs circuits over it.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_tungstenite::tungstenite::client::ClientRequestBuilder;
use async_tungstenite::tungstenite::protocol::WebSocketConfig;
use async_tungstenite::tungstenite::{Error, Message};
use async_tungstenite::{WebSocketStream, client_async_with_config};
use bytes::{Bytes, BytesMut};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::select;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;
use tokio::time;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};
use towpath_core::id::{Instance, LinkId};
use towpath_core::limits::MAX_RELAY_PAYLOAD_BYTES;
use towpath_core::node;
use towpath_core::output::Output;
use towpath_core::relay::client::{Client, Event, Input, Transmit};
use towpath_core::relay::frame::{DATA_HEADER_BYTES, SUBPROTOCOL};

use crate::clock::Alarm;
use crate::tracker::Tracker;
use crate::{CLOSING, Shared, link, tls, yield_once};

/// What one read takes at most, and what is gathered before one write: two whole frames.
const BUFFER_BYTES: usize = 128 * 1024;
/// A longer message is nobody's.
const MAX_MESSAGE_BYTES: usize = DATA_HEADER_BYTES + MAX_RELAY_PAYLOAD_BYTES;
/// Words taken at once.
const BATCH: usize = 64;

/// What others tell the relay's task.
pub(crate) enum Word {
    /// An input for the machine.
    Input(Input),
    /// The node wants a circuit; its link listens to `words`.
    Open { link: LinkId, to: Instance, words: UnboundedSender<link::Word> },
    /// The node takes a circuit that came in.
    Accept { incoming: u64, link: LinkId, words: UnboundedSender<link::Word> },
}

type Socket = WebSocketStream<Compat<Box<dyn tls::Stream>>>;

/// Runs the relay client until nobody can speak to it any more.
pub(crate) async fn run(
    shared: Arc<Shared>,
    tracker: Arc<Tracker>,
    client: Client,
    mut words: UnboundedReceiver<Word>,
) {
    let alarm = Alarm::new(shared.clock);
    let mut relay = Relay {
        shared,
        tracker,
        client,
        alarm,
        links: BTreeMap::new(),
        connecting: JoinSet::new(),
        wire: None,
        closing: JoinSet::new(),
    };
    let mut batch = Vec::with_capacity(BATCH);
    relay.drain();
    loop {
        select! {
            count = words.recv_many(&mut batch, BATCH) => {
                if count == 0 {
                    break;
                }
                for word in batch.drain(..) {
                    relay.take(word);
                }
            }
            news = poll_fn(|cx| Wire::poll(&mut relay.wire, cx)) => relay.news(news),
            Some(socket) = relay.connecting.join_next() => {
                // A task that panicked is our own bug, and has said so.
                relay.connected(socket.unwrap_or_else(|error| Err(error.to_string())));
            }
            Some(_) = relay.closing.join_next() => {}
            () = relay.alarm.ring() => relay.input(Input::Tick),
        }
        // Whoever got something from this turn works on it before the next.
        yield_once().await;
    }
    relay.close();
    while relay.closing.join_next().await.is_some() {}
}

struct Relay {
    shared: Arc<Shared>,
    tracker: Arc<Tracker>,
    client: Client,
    alarm: Alarm,
    links: BTreeMap<LinkId, UnboundedSender<link::Word>>,
    connecting: JoinSet<Result<Socket, String>>,
    wire: Option<Wire>,
    /// WebSockets that are sending their last.
    closing: JoinSet<()>,
}

impl Relay {
    fn close(&mut self) {
        if let Some(wire) = self.wire.take() {
            self.closing.spawn(wire.close());
        }
    }

    fn take(&mut self, word: Word) {
        let input = match word {
            Word::Input(input) => {
                if let Input::Close { link } = &input {
                    self.links.remove(link);
                }
                input
            }
            Word::Open { link, to, words } => {
                self.links.insert(link, words);
                Input::Open { link, to }
            }
            Word::Accept { incoming, link, words } => {
                self.links.insert(link, words);
                Input::Accept { incoming, link }
            }
        };
        self.input(input);
    }

    fn connected(&mut self, socket: Result<Socket, String>) {
        match socket {
            Ok(socket) => {
                self.wire = Some(Wire { socket, queue: VecDeque::new(), fed: 0 });
                self.input(Input::Connected { ephemeral: crate::random() });
            }
            Err(why) => self.input(Input::Disconnected(why)),
        }
    }

    fn news(&mut self, news: News) {
        if news.flushed > 0 {
            self.input(Input::Sent { bytes: news.flushed });
        }
        match news.came {
            Some(Ok(message)) => self.input(Input::Message(message)),
            Some(Err(why)) => {
                self.wire = None;
                self.input(Input::Disconnected(why));
            }
            None => {}
        }
    }

    fn input(&mut self, input: Input) {
        self.client.handle_input(self.shared.clock.now(), input);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.client.poll_output() {
                Output::Transmit(transmit) => self.transmit(transmit),
                Output::Event(event) => self.event(event),
                Output::Timeout(at) => return self.alarm.set(at),
            }
        }
    }

    fn transmit(&mut self, transmit: Transmit) {
        match transmit {
            Transmit::Connect => {
                self.connecting.spawn(connect(self.tracker.clone()));
            }
            Transmit::Send { message } => {
                if let Some(wire) = &mut self.wire {
                    wire.queue.push_back(message);
                }
            }
            Transmit::Disconnect => {
                self.connecting = JoinSet::new();
                self.close();
            }
            Transmit::Deliver { link, bytes } => self.tell(link, link::Word::Deliver(bytes)),
            Transmit::Writable { link, bytes } => self.tell(link, link::Word::Writable(bytes)),
            Transmit::Opened { link } => self.tell(link, link::Word::Opened),
            Transmit::Ended { link, reason } => {
                self.tell(link, link::Word::Ended(reason.to_string()));
                self.links.remove(&link);
            }
        }
    }

    fn event(&mut self, event: Event) {
        self.shared.tell(match event {
            Event::LoggedIn { token } => node::Input::Relay { token: Some(token) },
            Event::LoggedOut(why) => {
                tracing::debug!(why, "logged out of the relay");
                node::Input::Relay { token: None }
            }
            Event::OpenFailed { link, error } => {
                self.links.remove(&link);
                node::Input::DialFailed { link, error }
            }
            Event::Incoming { incoming, from } => {
                return self.shared.say(crate::node::Word::CircuitCame(incoming, from));
            }
        });
    }

    fn tell(&self, link: LinkId, word: link::Word) {
        if let Some(words) = self.links.get(&link) {
            // A link that ended has said `Close`, or is about to.
            let _ = words.send(word);
        }
    }
}

async fn connect(tracker: Arc<Tracker>) -> Result<Socket, String> {
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(4 * BUFFER_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let uri = tracker.relay_uri()?;
    // spec R1: the path, TLS as the URL says, the subprotocol
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
    let stream = tracker.open().await?.compat();
    let opened = client_async_with_config(request, stream, Some(config)).await;
    opened.map(|(socket, _)| socket).map_err(|error| match error {
        Error::Io(error) => tracker.sentence(&error),
        other => format!("the tracker at {} has no relay: {other}", tracker.authority),
    })
}

/// The open WebSocket, and what waits to go out.
struct Wire {
    socket: Socket,
    queue: VecDeque<Bytes>,
    /// Bytes that the WebSocket took and has not flushed yet.
    fed: usize,
}

/// What one look at the WebSocket brought.
struct News {
    flushed: usize,
    came: Option<Result<BytesMut, String>>,
}

impl Wire {
    /// Writes all that goes and reads one message, so that neither waits for the other.
    fn poll(wire: &mut Option<Self>, cx: &mut Context<'_>) -> Poll<News> {
        let Some(wire) = wire else { return Poll::Pending };
        let mut news = News { flushed: 0, came: None };
        match wire.poll_write(cx) {
            Poll::Ready(Ok(flushed)) => news.flushed = flushed,
            Poll::Ready(Err(error)) => news.came = Some(Err(error.to_string())),
            Poll::Pending => {}
        }
        if news.came.is_none() {
            news.came = wire.poll_read(cx);
        }
        if news.flushed == 0 && news.came.is_none() { Poll::Pending } else { Poll::Ready(news) }
    }

    /// Sends what waits and closes; as with a TCP stream of a link, not before the other end does.
    async fn close(mut self) {
        let closing = async {
            while let Some(message) = self.queue.pop_front() {
                self.socket.feed(Message::Binary(message)).await?;
            }
            self.socket.close(None).await?;
            while self.socket.next().await.transpose()?.is_some_and(|last| !last.is_close()) {}
            Ok::<(), Error>(())
        };
        // An end that does not come in time, or is rough, is one too.
        let _ = time::timeout(CLOSING, closing).await;
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Error>> {
        let mut socket = Pin::new(&mut self.socket);
        while !self.queue.is_empty() && socket.as_mut().poll_ready(cx)?.is_ready() {
            let message = self.queue.pop_front().expect("it is not empty");
            self.fed += message.len();
            socket.as_mut().start_send(Message::Binary(message))?;
        }
        if self.fed == 0 {
            return Poll::Pending;
        }
        socket.poll_flush(cx).map_ok(|()| std::mem::take(&mut self.fed))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Option<Result<BytesMut, String>> {
        loop {
            let message = match Pin::new(&mut self.socket).poll_next(cx) {
                Poll::Pending => return None,
                Poll::Ready(message) => message,
            };
            return Some(match message {
                // spec R2
                Some(Ok(Message::Binary(bytes))) => Ok(BytesMut::from(bytes)),
                Some(Ok(Message::Close(_))) | None => Err("the relay closed the connection".into()),
                // spec R2b
                Some(Ok(Message::Text(_))) => Err("the relay broke the protocol: text".into()),
                // Nothing of ours; pings are answered by the library.
                Some(Ok(_)) => continue,
                Some(Err(error)) => Err(error.to_string()),
            });
        }
    }
}
