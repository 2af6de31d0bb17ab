//! The node: one match from verb to call.
//!
//! `S` is the runtime's TCP stream, `T` its handle of a task, which ends the task when it is
//! dropped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_channel::mpsc::{self, UnboundedSender};
use futures_channel::oneshot;
use towpath_core::id::{ContentKey, LinkId, PeerId};
use towpath_core::node::{Event, IncomingFrom, Input, Node, Progress, Transmit};
use towpath_core::output::Output;
use towpath_core::relay::client;
use towpath_core::session::{self, Setup};
use towpath_core::time::Instant;

use crate::link::{self, Circuit, Plan};
use crate::peer::Shared;
use crate::pool::Job;
use crate::relay;
use crate::tracker::Call;

/// What others tell the node's task.
#[derive(Debug)]
pub enum Word {
    /// An input for the machine.
    Input(Input),
    /// A circuit came in; the relay client's number for it.
    CircuitCame(u64, PeerId),
    /// The task of a link is over.
    Over(LinkId),
    /// How far is it?
    Progress(ContentKey, oneshot::Sender<Progress>),
}

/// What a link's task begins with.
pub enum Over<S> {
    /// A peer that is to be dialled. The node decides for how long.
    Dial(SocketAddr),
    /// A stream that came in.
    Stream(S),
    /// A circuit that came in.
    Circuit(Circuit),
    /// A circuit that was asked for: open when [`link::Word::Opened`] comes.
    Opening(Circuit),
}

/// Starts the task of a link.
pub type Start<S, T> = fn(Plan, Over<S>, link::Words) -> T;

enum Incoming<S> {
    Tcp(S),
    Circuit(u64),
}

struct Link<T> {
    /// `None`: its session is over, and it sends its last bytes.
    words: Option<UnboundedSender<link::Word>>,
    _task: T,
}

/// Where the node's words go.
pub(crate) struct Outlets {
    pub(crate) relay: UnboundedSender<relay::Word>,
    pub(crate) calls: UnboundedSender<Call>,
    pub(crate) events: UnboundedSender<Event>,
}

/// The node and what it is connected to.
pub struct Driver<S, T> {
    shared: Arc<Shared>,
    node: Node,
    outlets: Outlets,
    start: Start<S, T>,
    due: Instant,
    links: BTreeMap<LinkId, Link<T>>,
    /// Streams that the node has not yet accepted or refused.
    incoming: BTreeMap<u64, Incoming<S>>,
    came: u64,
    stopped: bool,
}

impl<S, T> Driver<S, T> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        node: Node,
        outlets: Outlets,
        start: Start<S, T>,
    ) -> Self {
        let mut driver = Self {
            shared,
            node,
            outlets,
            start,
            due: Instant::NEVER,
            links: BTreeMap::new(),
            incoming: BTreeMap::new(),
            came: 0,
            stopped: false,
        };
        driver.drain();
        driver
    }

    /// When to call [`Driver::tick`].
    #[must_use]
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// Whether everything is said. Links may be sending their last bytes.
    #[must_use]
    pub const fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether there are tasks of links.
    #[must_use]
    pub fn has_links(&self) -> bool {
        !self.links.is_empty()
    }

    /// The deadline has come.
    pub fn tick(&mut self) {
        self.input(Input::Tick);
    }

    /// Takes a word.
    pub fn take(&mut self, word: Word) {
        match word {
            Word::Input(input) => self.input(input),
            Word::CircuitCame(number, from) => {
                self.incoming(Incoming::Circuit(number), IncomingFrom::Circuit(from));
            }
            Word::Over(link) => {
                self.links.remove(&link);
            }
            Word::Progress(content, reply) => {
                // Who asked may not wait any more.
                let _ = reply.send(self.node.progress(content));
            }
        }
    }

    /// A TCP stream came in.
    pub fn came(&mut self, stream: S, from: SocketAddr) {
        self.incoming(Incoming::Tcp(stream), IncomingFrom::Tcp(from));
    }

    fn incoming(&mut self, stream: Incoming<S>, from: IncomingFrom) {
        self.came += 1;
        self.incoming.insert(self.came, stream);
        self.input(Input::Incoming { incoming: self.came, from });
    }

    fn input(&mut self, input: Input) {
        match &input {
            Input::Session { link, event: session::Event::Closed(_) } => {
                if let Some(link) = self.links.get_mut(link) {
                    link.words = None;
                }
            }
            Input::DialFailed { link, .. } => {
                self.links.remove(link);
            }
            _ => {}
        }
        self.node.handle_input(self.shared.clock.now(), input);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.node.poll_output() {
                Output::Transmit(transmit) => self.transmit(transmit),
                Output::Event(event) => {
                    self.stopped |= event == Event::Stopped;
                    // An application that does not listen any more is about to drop its peer.
                    let _ = self.outlets.events.unbounded_send(event);
                }
                Output::Timeout(at) => {
                    self.due = at;
                    return;
                }
            }
        }
    }

    fn relay(&self, word: relay::Word) {
        // The relay's task lives as long as this one.
        let _ = self.outlets.relay.unbounded_send(word);
    }

    fn transmit(&mut self, transmit: Transmit) {
        match transmit {
            Transmit::Dial { link, to, setup } => {
                self.start(link, setup, Over::Dial(to));
            }
            Transmit::OpenCircuit { link, to, setup } => {
                let circuit = Circuit::new(link, self.outlets.relay.clone());
                let words = self.start(link, setup, Over::Opening(circuit));
                self.relay(relay::Word::Open { link, to, words });
            }
            Transmit::Accept { incoming, link, setup } => match self.incoming.remove(&incoming) {
                Some(Incoming::Tcp(stream)) => {
                    self.start(link, setup, Over::Stream(stream));
                }
                Some(Incoming::Circuit(incoming)) => {
                    let circuit = Circuit::new(link, self.outlets.relay.clone());
                    let words = self.start(link, setup, Over::Circuit(circuit));
                    self.relay(relay::Word::Accept { incoming, link, words });
                }
                None => {}
            },
            Transmit::Refuse { incoming } => {
                if let Some(Incoming::Circuit(incoming)) = self.incoming.remove(&incoming) {
                    self.relay(relay::Word::Input(client::Input::Refuse { incoming }));
                }
            }
            Transmit::Abandon { link } => {
                self.links.remove(&link);
            }
            Transmit::Session { link, command } => {
                let words = self.links.get(&link).and_then(|link| link.words.as_ref());
                if let Some(words) = words {
                    // A link that has just ended says so in a word that is on its way.
                    let _ = words.unbounded_send(link::Word::Command(command));
                }
            }
            Transmit::Call { call, request, token } => {
                let _ = self.outlets.calls.unbounded_send(Call { call, request, token });
            }
            Transmit::WantRelay(want) => self.relay(relay::Word::Input(client::Input::Want(want))),
            Transmit::StoreChunk { content, chunk, link, proof, data } => {
                self.shared.pool.submit(Job::Store { content, chunk, link, proof, data });
            }
            Transmit::Deliver { content, chunk, data } => {
                self.shared.pool.deliver(content, chunk, data);
            }
        }
    }

    fn start(&mut self, link: LinkId, setup: Setup, over: Over<S>) -> UnboundedSender<link::Word> {
        let (words, inbox) = mpsc::unbounded();
        let plan = Plan::new(&self.shared, link, setup, words.clone());
        let _task = (self.start)(plan, over, inbox);
        self.links.insert(link, Link { words: Some(words.clone()), _task });
        words
    }
}
