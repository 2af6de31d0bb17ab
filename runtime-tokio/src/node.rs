//! The node's task: one loop, one match from verb to call.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::select;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time;
use towpath_core::id::{ContentKey, LinkId, PeerId};
use towpath_core::node::{Event, Failure, IncomingFrom, Input, Node, Progress, Transmit};
use towpath_core::output::Output;
use towpath_core::relay::client;
use towpath_core::session::{self, Setup};

use crate::clock::Alarm;
use crate::link::{self, Carrier, Circuit};
use crate::pool::Job;
use crate::tracker::Call;
use crate::{CLOSING, Shared, dial, relay, yield_once};

/// Words taken at once.
const BATCH: usize = 256;

/// What others tell the node's task.
pub(crate) enum Word {
    /// An input for the machine.
    Input(Input),
    /// A TCP stream came in.
    Came(TcpStream, SocketAddr),
    /// A circuit came in; the relay client's number for it.
    CircuitCame(u64, PeerId),
    /// The output of a download is broken.
    Broken(ContentKey, Failure),
    /// How far is it?
    Progress(ContentKey, oneshot::Sender<Progress>),
}

enum Incoming {
    Tcp(TcpStream),
    Circuit(u64),
}

struct Link {
    words: UnboundedSender<link::Word>,
    task: AbortHandle,
}

/// Where the node's words go.
pub(crate) struct Outlets {
    pub(crate) relay: UnboundedSender<relay::Word>,
    pub(crate) calls: UnboundedSender<Call>,
    pub(crate) events: UnboundedSender<Event>,
}

/// The tasks that live as long as the node's.
pub(crate) struct Tasks {
    /// The relay's. It ends by itself when nobody can speak to it any more.
    pub(crate) relay: JoinSet<()>,
    /// The others.
    pub(crate) services: JoinSet<()>,
}

/// Runs the node until it has stopped.
pub(crate) async fn run(
    shared: Arc<Shared>,
    node: Node,
    outlets: Outlets,
    mut words: UnboundedReceiver<Word>,
    mut tasks: Tasks,
) {
    let alarm = Alarm::new(shared.clock);
    let mut driver = Driver {
        shared,
        node,
        outlets,
        alarm,
        links: BTreeMap::new(),
        tasks: JoinSet::new(),
        incoming: BTreeMap::new(),
        came: 0,
        stopped: false,
    };
    let mut batch = Vec::with_capacity(BATCH);
    driver.drain();
    while !driver.stopped {
        select! {
            _ = words.recv_many(&mut batch, BATCH) => {
                for word in batch.drain(..) {
                    driver.take(word);
                }
            }
            Some(_) = driver.tasks.join_next() => {}
            () = driver.alarm.ring() => driver.input(Input::Tick),
        }
        yield_once().await;
    }
    drop(tasks.services);
    let said = async { while driver.tasks.join_next().await.is_some() {} };
    let _ = time::timeout(CLOSING, said).await;
    drop(driver);
    let _ = time::timeout(CLOSING, tasks.relay.join_next()).await;
}

struct Driver {
    shared: Arc<Shared>,
    node: Node,
    outlets: Outlets,
    alarm: Alarm,
    links: BTreeMap<LinkId, Link>,
    tasks: JoinSet<()>,
    /// Streams that the node has not yet accepted or refused.
    incoming: BTreeMap<u64, Incoming>,
    came: u64,
    stopped: bool,
}

impl Driver {
    fn take(&mut self, word: Word) {
        match word {
            Word::Input(input) => self.input(input),
            Word::Came(stream, from) => {
                self.came(Incoming::Tcp(stream), IncomingFrom::Tcp(from));
            }
            Word::CircuitCame(number, from) => {
                self.came(Incoming::Circuit(number), IncomingFrom::Circuit(from));
            }
            Word::Broken(content, failure) => {
                self.tell(Event::Failed(content, failure));
                self.input(Input::Stop(content));
            }
            Word::Progress(content, reply) => {
                // Who asked may not wait any more.
                let _ = reply.send(self.node.progress(content));
            }
        }
    }

    fn came(&mut self, stream: Incoming, from: IncomingFrom) {
        self.came += 1;
        self.incoming.insert(self.came, stream);
        self.input(Input::Incoming { incoming: self.came, from });
    }

    fn input(&mut self, input: Input) {
        match &input {
            Input::Session { link, event: session::Event::Closed(_) }
            | Input::DialFailed { link, .. } => {
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
                    self.tell(event);
                }
                Output::Timeout(at) => return self.alarm.set(at),
            }
        }
    }

    fn tell(&self, event: Event) {
        // An application that does not listen any more is about to drop its peer.
        let _ = self.outlets.events.send(event);
    }

    fn relay(&self, word: relay::Word) {
        // The relay's task lives as long as this one.
        let _ = self.outlets.relay.send(word);
    }

    fn transmit(&mut self, transmit: Transmit) {
        match transmit {
            Transmit::Dial { link, to, setup } => {
                let shared = self.shared.clone();
                self.spawn(link, |words, own| dial::run(shared, link, to, setup, words, own));
            }
            Transmit::OpenCircuit { link, to, setup } => {
                let words = self.circuit(link, setup, true);
                self.relay(relay::Word::Open { link, to, words });
            }
            Transmit::Accept { incoming, link, setup } => match self.incoming.remove(&incoming) {
                Some(Incoming::Tcp(stream)) => {
                    let (shared, carrier) = (self.shared.clone(), Carrier::Tcp(stream));
                    self.spawn(link, |words, own| {
                        link::run(shared, link, setup, carrier, words, own)
                    });
                }
                Some(Incoming::Circuit(incoming)) => {
                    let words = self.circuit(link, setup, false);
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
                if let Some(link) = self.links.remove(&link) {
                    link.task.abort();
                }
            }
            Transmit::Session { link, command } => {
                if let Some(link) = self.links.get(&link) {
                    // A link that has just ended says so in a word that is on its way.
                    let _ = link.words.send(link::Word::Command(command));
                }
            }
            Transmit::Call { call, request, token } => {
                let _ = self.outlets.calls.send(Call { call, request, token });
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

    /// Starts the task of a circuit's link; if we asked for the circuit it waits until that is
    /// open.
    fn circuit(&mut self, link: LinkId, setup: Setup, wait: bool) -> UnboundedSender<link::Word> {
        let shared = self.shared.clone();
        let circuit = Circuit::new(link, self.outlets.relay.clone());
        self.spawn(link, move |mut words, own| async move {
            if wait && !matches!(words.recv().await, Some(link::Word::Opened)) {
                return;
            }
            link::run(shared, link, setup, Carrier::Circuit(circuit), words, own).await;
        })
    }

    fn spawn<F>(
        &mut self,
        link: LinkId,
        task: impl FnOnce(UnboundedReceiver<link::Word>, UnboundedSender<link::Word>) -> F,
    ) -> UnboundedSender<link::Word>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (words, inbox) = mpsc::unbounded_channel();
        let task = self.tasks.spawn(task(inbox, words.clone()));
        self.links.insert(link, Link { words: words.clone(), task });
        words
    }
}
