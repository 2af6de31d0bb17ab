//! A session, and the stream or the circuit under it.
//!
//! A [`Plan`] is a link that is not open yet; the driver dials or waits, and then begins a [`Link`]
//! in the task of its stream. Each turn of that task takes all words that wait, writes once and
//! reads once, so that neither waits for the other; only a turn in which nothing moved sleeps.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_channel::mpsc::{UnboundedReceiver, UnboundedSender};
use towpath_core::id::LinkId;
use towpath_core::limits::READ_BYTES;
use towpath_core::node;
use towpath_core::output::Output;
use towpath_core::relay::client;
use towpath_core::session::{ChunkFrame, Command, Config, Event, Input, Session, Setup, Transmit};
use towpath_core::time::Instant;
use towpath_core::wire::{RequestId, Unavailable};

use crate::clock::Clock;
use crate::dial::dial_error;
use crate::limits::{SPARE_FRAMES, WRITE_SLICES};
use crate::node::Word as NodeWord;
use crate::peer::Shared;
use crate::pool::Job;
use crate::relay;

/// What others tell a link's task.
#[derive(Debug)]
pub enum Word {
    /// The node says something to the session.
    Command(Command),
    /// The pool has read a chunk.
    ChunkRead {
        /// The request that it was read for.
        request: RequestId,
        /// The chunk, or why not.
        result: Result<ChunkFrame, Unavailable>,
    },
    /// The circuit that we asked for is open.
    Opened,
    /// Bytes came through the circuit.
    Deliver(BytesMut),
    /// So many bytes more may go into the circuit.
    Writable(usize),
    /// The circuit has ended, and why.
    Ended(String),
}

/// What a link's task listens to.
pub type Words = UnboundedReceiver<Word>;

/// A link that is not open yet. When it is dropped, or its link is, the node's task hears of it.
pub struct Plan {
    shared: Arc<Shared>,
    link: LinkId,
    setup: Setup,
    own: UnboundedSender<Word>,
    _ending: Ending,
}

/// Tells the node's task that the link's task is over, however it ends.
struct Ending(Arc<Shared>, LinkId);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.say(NodeWord::Over(self.1));
    }
}

impl Plan {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        link: LinkId,
        setup: Setup,
        own: UnboundedSender<Word>,
    ) -> Self {
        let _ending = Ending(shared.clone(), link);
        Self { shared: shared.clone(), link, setup, own, _ending }
    }

    /// There will be no stream.
    pub fn failed(self, error: &io::Error) {
        self.shared.tell(node::Input::DialFailed { link: self.link, error: dial_error(error) });
    }

    /// The stream is open, or the circuit.
    #[must_use]
    pub fn begin(self, circuit: Option<Circuit>) -> Link {
        let shared = &self.shared;
        let config = Config {
            setup: self.setup,
            secret_key: *shared.secret_key,
            // spec S2: drawn for this link alone
            ephemeral: crate::random(),
            channel_binding: Vec::new(),
        };
        let rng = shared.rng.fork_numbered("session", self.link.0);
        let session = Session::new(shared.clock.now(), rng, config);
        let mut link = Link {
            shared: self.shared,
            link: self.link,
            session,
            own: self.own,
            circuit,
            due: Instant::NEVER,
            queue: VecDeque::new(),
            written: 0,
            read_max: 0,
            buffer: BytesMut::new(),
            frames: Vec::new(),
            known: false,
            closing: false,
            _ending: self._ending,
        };
        link.drain();
        link
    }
}

/// A link's end of a circuit; the other end is in the relay's task.
pub struct Circuit {
    link: LinkId,
    relay: UnboundedSender<relay::Word>,
    came: VecDeque<BytesMut>,
    writable_bytes: usize,
    ended: Option<String>,
}

impl Circuit {
    pub(crate) const fn new(link: LinkId, relay: UnboundedSender<relay::Word>) -> Self {
        Self { link, relay, came: VecDeque::new(), writable_bytes: 0, ended: None }
    }

    fn tell(&self, input: client::Input) {
        // Without a relay's task the peer is going down, and this task with it.
        let _ = self.relay.unbounded_send(relay::Word::Input(input));
    }

    /// Takes what may go of `bytes`.
    fn write(&mut self, mut bytes: Bytes) -> io::Result<usize> {
        bytes.truncate(self.writable_bytes);
        let length = bytes.len();
        if length == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.writable_bytes -= length;
        self.tell(client::Input::Data { link: self.link, bytes });
        Ok(length)
    }

    fn read(&mut self, max: usize) -> Option<Input> {
        let Some(first) = self.came.front_mut() else {
            return self.ended.take().map(|why| Input::Ended(Some(why)));
        };
        let bytes = first.len().min(max);
        let piece = first.split_to(bytes);
        if first.is_empty() {
            self.came.pop_front();
        }
        self.tell(client::Input::Consumed { link: self.link, bytes });
        Some(Input::Received(piece))
    }
}

impl Drop for Circuit {
    fn drop(&mut self) {
        self.tell(client::Input::Close { link: self.link });
    }
}

/// A session that runs.
pub struct Link {
    shared: Arc<Shared>,
    link: LinkId,
    session: Session,
    own: UnboundedSender<Word>,
    /// `None`: over a stream, which the driver holds.
    circuit: Option<Circuit>,
    due: Instant,
    /// What the session wants written; the first one's `written` bytes are.
    queue: VecDeque<Bytes>,
    written: usize,
    /// How much the session wants to read now.
    read_max: usize,
    buffer: BytesMut,
    /// Buffers of chunks that were written, for the next ones.
    frames: Vec<BytesMut>,
    known: bool,
    closing: bool,
    _ending: Ending,
}

impl Link {
    /// The clock of its machine.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// When to call [`Link::tick`].
    #[must_use]
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// Whether the session wants to read.
    #[must_use]
    pub const fn wants_read(&self) -> bool {
        self.read_max > 0
    }

    /// Whether it has something to write.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether the session is over: what waits is to be written, and the stream closed.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether the other side has proven who it is.
    #[must_use]
    pub const fn is_known(&self) -> bool {
        self.known
    }

    /// Takes a word.
    pub fn take(&mut self, word: Word) {
        match (word, &mut self.circuit) {
            (Word::Command(command), _) => self.input(Input::Command(command)),
            (Word::ChunkRead { request, result }, _) => {
                self.input(Input::ChunkRead { request, result });
            }
            (Word::Deliver(bytes), Some(circuit)) => circuit.came.push_back(bytes),
            (Word::Writable(bytes), Some(circuit)) => circuit.writable_bytes += bytes,
            (Word::Ended(why), Some(circuit)) => circuit.ended = Some(why),
            (Word::Opened, _) | (_, None) => {}
        }
    }

    /// The deadline has come.
    pub fn tick(&mut self) {
        // A link whose timer rings is mostly an idle one: it holds no buffers.
        self.buffer = BytesMut::new();
        self.frames = Vec::new();
        self.input(Input::Tick);
    }

    fn input(&mut self, input: Input) {
        self.session.handle_input(self.shared.clock.now(), input);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.session.poll_output() {
                Output::Transmit(Transmit::Send(bytes)) => self.queue.push_back(bytes),
                Output::Transmit(Transmit::Read { max }) => self.read_max = max,
                Output::Transmit(Transmit::ReadChunk { request, content, chunk }) => {
                    let buffer = self.frames.pop().unwrap_or_default();
                    let reply = self.own.clone();
                    let job = Job::Read { request, content, chunk, buffer, reply };
                    self.shared.pool.submit(job);
                }
                Output::Transmit(Transmit::CloseStream) => self.closing = true,
                Output::Event(event) => {
                    self.known |= matches!(event, Event::Established { .. });
                    self.closing |= matches!(event, Event::Closed(_));
                    self.shared.tell(node::Input::Session { link: self.link, event });
                }
                Output::Timeout(at) => {
                    self.due = at;
                    return;
                }
            }
        }
    }

    /// Writes what the circuit takes now, or the stream by `write`, which does not wait; whether
    /// that was anything.
    pub fn write(&mut self, write: impl FnOnce(&[IoSlice<'_>]) -> io::Result<usize>) -> bool {
        if self.queue.is_empty() {
            return false;
        }
        let bytes = if let Some(circuit) = &mut self.circuit {
            circuit.write(self.queue[0].slice(self.written..))
        } else {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
                *slice = IoSlice::new(bytes);
            }
            slices[0] = IoSlice::new(&self.queue[0][self.written..]);
            write(&slices[..self.queue.len().min(WRITE_SLICES)])
        };
        match bytes {
            Ok(bytes) => {
                self.gone(bytes);
                self.input(Input::Sent { bytes });
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => {
                self.queue.clear();
                self.input(Input::Ended(Some(sentence(&error))));
            }
        }
        true
    }

    /// So many bytes of the queue are written; the buffers of whole chunks are used again.
    fn gone(&mut self, bytes: usize) {
        self.written += bytes;
        while self.queue.front().is_some_and(|first| self.written >= first.len()) {
            let Some(first) = self.queue.pop_front() else { return };
            self.written -= first.len();
            if self.frames.len() < SPARE_FRAMES
                && let Ok(buffer) = first.try_into_mut()
                && buffer.capacity() >= READ_BYTES
            {
                self.frames.push(buffer);
            }
        }
    }

    /// Reads what the session asked for from the circuit, or from the stream by `read`, which
    /// appends to the buffer and does not wait; whether there was anything.
    pub fn read(&mut self, read: impl FnOnce(&mut BytesMut, usize) -> io::Result<usize>) -> bool {
        let max = self.read_max;
        if max == 0 {
            return false;
        }
        let input = if let Some(circuit) = &mut self.circuit {
            circuit.read(max)
        } else {
            match read(&mut self.buffer, max) {
                Ok(0) => Some(Input::Ended(None)),
                Ok(bytes) => Some(Input::Received(self.buffer.split_to(bytes))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => None,
                Err(error) => Some(Input::Ended(Some(sentence(&error)))),
            }
        };
        let Some(input) = input else { return false };
        self.read_max = 0;
        self.input(input);
        true
    }
}

fn sentence(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "reset by the other side".into(),
        _ => error.to_string(),
    }
}
