//! A whole driver on plain threads, over TCP; `docs/embedding.md` walks through it. Try it:
//! `cargo run -p towpath-core --example threads FROM TO` (`threads/copy.rs`).
//!
//! The node has a thread, and so have the listener, calls and each chunk that is stored. A link has
//! three: its session's, which reads chunks too, one that reads the stream and one that writes it.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::{thread::spawn, time::Duration};

use bytes::{Bytes, BytesMut};
use towpath_core::node::{Config, Event, IncomingFrom, Input, Node, Transmit};
use towpath_core::session::{self, Input as ToSession, Session, Setup};
use towpath_core::{id::LinkId, limits::DIRECT_TIMEOUT, output::Output, path::DialError};
use towpath_core::{rng::Rng, time::Instant};

#[path = "threads/copy.rs"]
pub(crate) mod copy;
use copy::{Outside, random};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    copy::main()
}

/// A running peer: what it takes, what it says, and where it listens.
pub(crate) struct Peer {
    pub(crate) node: Sender<Input>,
    pub(crate) events: Receiver<Event>,
    pub(crate) address: SocketAddr,
}

/// What all threads of a peer know. Whoever tells a node something that is gone soon ends too.
struct Shared {
    start: std::time::Instant,
    key: [u8; 32],
    rng: Rng,
    node: Sender<Input>,
    outside: Arc<dyn Outside>,
    /// Streams that the node has not yet accepted or refused.
    incoming: Mutex<BTreeMap<u64, TcpStream>>,
}

type Links = BTreeMap<LinkId, Sender<ToSession>>;
type Done = io::Result<ToSession>;

/// Starts its threads.
pub(crate) fn start(key: [u8; 32], config: Config, outside: Arc<dyn Outside>) -> io::Result<Peer> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let ((node, inbox), (tell, events)) = (channel(), channel());
    let (start, incoming) = (std::time::Instant::now(), Mutex::default());
    let mut rng = Rng::new(random());
    let machine = Node::new(Instant::ZERO, rng.fork("node", 0), config);
    let shared = Arc::new(Shared { start, key, rng, node: node.clone(), outside, incoming });
    let here = shared.clone();
    spawn(move || run_node(&shared, machine, &inbox, &tell));
    spawn(move || {
        for (incoming, stream) in (0..).zip(listener.incoming().flatten()) {
            let Ok(from) = stream.peer_addr().map(IncomingFrom::Tcp) else { continue };
            here.incoming.lock().expect("no thread panics").insert(incoming, stream);
            let Ok(()) = here.node.send(Input::Incoming { incoming, from }) else { return };
        }
    });
    Ok(Peer { node, events, address })
}

impl Shared {
    fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// The next input, or `tick` when the deadline has come (or an hour: it may come early).
    fn next<T>(&self, inbox: &Receiver<T>, due: Instant, tick: T) -> T {
        let patience = due.since(self.now()).min(Duration::from_secs(3_600));
        inbox.recv_timeout(patience).unwrap_or(tick)
    }
}

fn run_node(shared: &Arc<Shared>, mut node: Node, inbox: &Receiver<Input>, tell: &Sender<Event>) {
    let (mut links, mut stopped) = (Links::new(), false);
    while !stopped {
        match node.poll_output() {
            Output::Transmit(transmit) => carry_out(shared, &mut links, transmit),
            Output::Event(event) => {
                stopped = event == Event::Stopped;
                let _ = tell.send(event);
            }
            Output::Timeout(due) => {
                let input = shared.next(inbox, due, Input::Tick);
                if let Input::Session { link, event: session::Event::Closed(_) } = &input {
                    links.remove(link);
                }
                node.handle_input(shared.now(), input);
            }
        }
    }
}

fn carry_out(shared: &Arc<Shared>, links: &mut Links, transmit: Transmit) {
    let (here, node) = (shared.clone(), shared.node.clone());
    let say = |link, input| drop(links.get(&link).map(|to| to.send(input)));
    let accepted = |number| shared.incoming.lock().expect("no thread panics").remove(&number);
    match transmit {
        Transmit::Dial { link, to, setup } => {
            let ends = channel();
            links.insert(link, ends.0.clone());
            let dial = move || TcpStream::connect_timeout(&to, DIRECT_TIMEOUT);
            spawn(move || run_link(&here, link, setup, dial(), ends));
        }
        Transmit::Accept { incoming, link, setup } => {
            let (ends, stream) = (channel(), accepted(incoming));
            links.insert(link, ends.0.clone());
            let stream = stream.ok_or(io::ErrorKind::NotFound.into());
            spawn(move || run_link(&here, link, setup, stream, ends));
        }
        Transmit::Refuse { incoming } => drop(accepted(incoming)),
        Transmit::Session { link, command } => say(link, ToSession::Command(command)),
        Transmit::Abandon { link } => say(link, ToSession::Ended(None)),
        Transmit::Call { call, request, token } => drop(spawn(move || {
            let result = here.outside.call(&request, token.as_deref());
            let _ = node.send(Input::Reply { call, result });
        })),
        Transmit::StoreChunk { content, chunk, link, proof, data } => drop(spawn(move || {
            let result = here.outside.store(chunk, &proof, &data);
            let _ = node.send(Input::ChunkStored { content, chunk, link, result, buffer: data });
        })),
        // There is neither an output in order nor a relay here.
        Transmit::Deliver { .. } | Transmit::WantRelay(_) => {}
        Transmit::OpenCircuit { link, .. } => {
            let _ = node.send(Input::DialFailed { link, error: DialError::NotAtRelay });
        }
    }
}

fn run_link(
    shared: &Arc<Shared>,
    link: LinkId,
    setup: Setup,
    stream: io::Result<TcpStream>,
    (own, inbox): (Sender<ToSession>, Receiver<ToSession>),
) {
    let both =
        stream.and_then(|stream| stream.set_nodelay(true).and(Ok((stream.try_clone()?, stream))));
    let (mut stream, mut reading) = match both.map_err(|e| DialError::Other(e.to_string())) {
        Ok(both) => both,
        Err(error) => return drop(shared.node.send(Input::DialFailed { link, error })),
    };
    let (secret_key, ephemeral, channel_binding) = (shared.key, random(), Vec::new());
    let config = session::Config { setup, secret_key, ephemeral, channel_binding };
    let rng = shared.rng.fork_numbered("session", link.0);
    let mut session = Session::new(shared.now(), rng, config);
    let ((want, wanted), (write, written)) = (channel(), channel());
    let (came, sent) = (own.clone(), own.clone());
    spawn(move || {
        serve(&wanted, &came, |max| {
            let mut bytes = BytesMut::zeroed(max);
            let read = reading.read(&mut bytes)?;
            let received = ToSession::Received(bytes.split_to(read));
            Ok(if read == 0 { ToSession::Ended(None) } else { received })
        });
        // After its last word, until the other side has closed too.
        while reading.read(&mut [0; 4_096]).is_ok_and(|read| read > 0) {}
    });
    spawn(move || {
        serve(&written, &sent, |bytes: Bytes| {
            stream.write_all(&bytes).map(|()| ToSession::Sent { bytes: bytes.len() })
        });
        stream.shutdown(Shutdown::Write)
    });
    let mut closed = false;
    loop {
        match session.poll_output() {
            Output::Transmit(session::Transmit::Send(bytes)) => drop(write.send(bytes)),
            Output::Transmit(session::Transmit::Read { max }) => drop(want.send(max)),
            Output::Transmit(session::Transmit::ReadChunk { request, chunk, .. }) => {
                let result = shared.outside.read(request, chunk);
                let _ = own.send(ToSession::ChunkRead { request, result });
            }
            Output::Transmit(session::Transmit::CloseStream) => closed = true,
            Output::Event(event) => drop(shared.node.send(Input::Session { link, event })),
            Output::Timeout(_) if closed => return,
            Output::Timeout(due) => {
                let input = shared.next(&inbox, due, ToSession::Tick);
                session.handle_input(shared.now(), input);
            }
        }
    }
}

/// Does what a session asks of its stream, one after another, and tells it how that went.
fn serve<T>(asked: &Receiver<T>, to: &Sender<ToSession>, mut f: impl FnMut(T) -> Done) {
    while let Ok(next) = asked.recv() {
        let failed = |error: io::Error| ToSession::Ended(Some(error.to_string()));
        let _ = to.send(f(next).unwrap_or_else(failed));
    }
}
