//! The relay client and its WebSocket.
//!
//! The WebSocket is opened and closed by futures that live here and run in the task of the relay,
//! so that nothing of it is left when that task is.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_tungstenite::tungstenite::client::ClientRequestBuilder;
use async_tungstenite::tungstenite::protocol::WebSocketConfig;
use async_tungstenite::tungstenite::{Error, Message};
use async_tungstenite::{WebSocketStream, client_async_with_config};
use bytes::{Bytes, BytesMut};
use futures_channel::mpsc::UnboundedSender;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use towpath_core::id::{Instance, LinkId};
use towpath_core::limits::MAX_RELAY_PAYLOAD_BYTES;
use towpath_core::node;
use towpath_core::output::Output;
use towpath_core::relay::client::{Client, Event, Input, Transmit};
use towpath_core::relay::frame::{DATA_HEADER_BYTES, SUBPROTOCOL};
use towpath_core::time::Instant;

use crate::limits::WEBSOCKET_BUFFER_BYTES;
use crate::link;
use crate::node::Word as NodeWord;
use crate::peer::Shared;
use crate::tracker::{Connection, Tracker};

/// A longer message is nobody's.
const MAX_MESSAGE_BYTES: usize = DATA_HEADER_BYTES + MAX_RELAY_PAYLOAD_BYTES;

/// What others tell the relay's task.
#[derive(Debug)]
pub enum Word {
    /// An input for the machine.
    Input(Input),
    /// The node wants a circuit; its link listens to `words`.
    Open {
        /// The link it will be.
        link: LinkId,
        /// To whom.
        to: Instance,
        /// Of the link.
        words: UnboundedSender<link::Word>,
    },
    /// The node takes a circuit that came in.
    Accept {
        /// The relay client's number for it.
        incoming: u64,
        /// The link it is from now on.
        link: LinkId,
        /// Of the link.
        words: UnboundedSender<link::Word>,
    },
}

/// A WebSocket to the relay.
pub type Socket = WebSocketStream<Connection>;

type Opening = Pin<Box<dyn Future<Output = Result<Socket, String>> + Send>>;
type Closing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The relay client, its circuits, and its WebSocket in all its states.
pub struct Relay {
    shared: Arc<Shared>,
    client: Client,
    due: Instant,
    links: BTreeMap<LinkId, UnboundedSender<link::Word>>,
    /// A WebSocket is wanted, and the driver has not begun to open it.
    wanted: bool,
    opening: Option<Opening>,
    wire: Option<Wire>,
    /// The last WebSocket, which is sending its last.
    closing: Option<Closing>,
}

impl Relay {
    pub(crate) fn new(shared: Arc<Shared>, client: Client) -> Self {
        let mut relay = Self {
            shared,
            client,
            due: Instant::NEVER,
            links: BTreeMap::new(),
            wanted: false,
            opening: None,
            wire: None,
            closing: None,
        };
        relay.drain();
        relay
    }

    /// When to call [`Relay::tick`].
    #[must_use]
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// The deadline has come.
    pub fn tick(&mut self) {
        self.input(Input::Tick);
    }

    /// Takes a word.
    pub fn take(&mut self, word: Word) {
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

    /// Whether a WebSocket is to be opened; asked after each turn, answered by [`Relay::open`].
    pub fn wants_socket(&mut self) -> bool {
        std::mem::take(&mut self.wanted)
    }

    /// This future will be the WebSocket.
    pub fn open(&mut self, opening: impl Future<Output = Result<Socket, String>> + Send + 'static) {
        self.opening = Some(Box::pin(opening));
    }

    /// Moves what can be moved; ready when anything was.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.closing.as_mut().is_some_and(|closing| closing.as_mut().poll(cx).is_ready()) {
            self.closing = None;
        }
        if let Some(opening) = &mut self.opening
            && let Poll::Ready(socket) = opening.as_mut().poll(cx)
        {
            self.opening = None;
            self.opened(socket);
            return Poll::Ready(());
        }
        let Some(wire) = &mut self.wire else { return Poll::Pending };
        let News { flushed, came } = std::task::ready!(wire.poll(cx));
        if flushed > 0 {
            self.input(Input::Sent { bytes: flushed });
        }
        match came {
            Some(Ok(message)) => self.input(Input::Message(message)),
            Some(Err(why)) => {
                self.wire = None;
                self.input(Input::Disconnected(why));
            }
            None => {}
        }
        Poll::Ready(())
    }

    /// Sends what waits and closes, when nobody can speak to this task any more.
    pub async fn close(mut self) {
        self.close_wire();
        if let Some(closing) = self.closing {
            closing.await;
        }
    }

    fn close_wire(&mut self) {
        if let Some(wire) = self.wire.take() {
            self.closing = Some(Box::pin(wire.close()));
        }
    }

    fn opened(&mut self, socket: Result<Socket, String>) {
        let input = match socket {
            Ok(socket) => {
                self.wire = Some(Wire { socket, queue: VecDeque::new(), fed: 0 });
                Input::Connected { ephemeral: crate::random() }
            }
            Err(why) => Input::Disconnected(why),
        };
        self.input(input);
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
                Output::Timeout(at) => {
                    self.due = at;
                    return;
                }
            }
        }
    }

    fn transmit(&mut self, transmit: Transmit) {
        match transmit {
            Transmit::Connect => self.wanted = true,
            Transmit::Send { message } => {
                if let Some(wire) = &mut self.wire {
                    wire.queue.push_back(message);
                }
            }
            Transmit::Disconnect => {
                self.wanted = false;
                self.opening = None;
                self.close_wire();
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
                return self.shared.say(NodeWord::CircuitCame(incoming, from));
            }
        });
    }

    fn tell(&self, link: LinkId, word: link::Word) {
        if let Some(words) = self.links.get(&link) {
            // A link that ended has said `Close`, or is about to.
            let _ = words.unbounded_send(word);
        }
    }
}

/// Opens the WebSocket over a connection to the tracker.
///
/// # Errors
/// One sentence for people.
pub async fn upgrade(tracker: &Tracker, connection: Connection) -> Result<Socket, String> {
    let config = WebSocketConfig::default()
        .read_buffer_size(WEBSOCKET_BUFFER_BYTES)
        .write_buffer_size(WEBSOCKET_BUFFER_BYTES)
        .max_write_buffer_size(4 * WEBSOCKET_BUFFER_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let url = tracker.relay_url();
    let uri = url.parse().map_err(|error| format!("{url} is no address: {error}"))?;
    // spec R1: the path, TLS as the URL says, the subprotocol
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
    let opened = client_async_with_config(request, connection, Some(config)).await;
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
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<News> {
        let mut news = News { flushed: 0, came: None };
        match self.poll_write(cx) {
            Poll::Ready(Ok(flushed)) => news.flushed = flushed,
            Poll::Ready(Err(error)) => news.came = Some(Err(error.to_string())),
            Poll::Pending => {}
        }
        if news.came.is_none() {
            news.came = self.poll_read(cx);
        }
        if news.flushed == 0 && news.came.is_none() { Poll::Pending } else { Poll::Ready(news) }
    }

    /// Sends what waits and closes; as with a TCP stream of a link, not before the other end does.
    /// An end that is rough is one too.
    async fn close(mut self) {
        while let Some(message) = self.queue.pop_front() {
            if self.socket.feed(Message::Binary(message)).await.is_err() {
                return;
            }
        }
        if self.socket.close(None).await.is_ok() {
            while matches!(self.socket.next().await, Some(Ok(last)) if !last.is_close()) {}
        }
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
