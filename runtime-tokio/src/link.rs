//! One task per stream: a session, and the TCP connection or the circuit under it.
//!
//! Each turn takes all words that wait, writes once and reads once, so that neither waits for the
//! other; only a turn in which nothing moved sleeps.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::{select, time};
use towpath_core::id::LinkId;
use towpath_core::limits::{
    CHUNK_BYTES, MAX_READS_PER_SESSION, MAX_SEND_BACKLOG_BYTES, READ_BYTES,
};
use towpath_core::node;
use towpath_core::output::Output;
use towpath_core::relay::client;
use towpath_core::session::{ChunkFrame, Command, Config, Event, Input, Session, Setup, Transmit};
use towpath_core::wire::{RequestId, Unavailable};

use crate::clock::Alarm;
use crate::pool::Job;
use crate::{CLOSING, Shared, relay, yield_once};

/// Slices of one vectored write; the kernel takes up to 1,024.
const SLICES: usize = 64;
/// Buffers of chunks that are on their way between the disk and the stream of a busy link.
const FRAMES: usize = MAX_READS_PER_SESSION + MAX_SEND_BACKLOG_BYTES / CHUNK_BYTES;

/// What others tell a link's task.
pub(crate) enum Word {
    /// The node says something to the session.
    Command(Command),
    /// The pool has read a chunk.
    ChunkRead { request: RequestId, result: Result<ChunkFrame, Unavailable> },
    /// The circuit that we asked for is open.
    Opened,
    /// Bytes came through the circuit.
    Deliver(BytesMut),
    /// So many bytes more may go into the circuit.
    Writable(usize),
    /// The circuit has ended, and why.
    Ended(String),
}

/// What a session runs over.
pub(crate) enum Carrier {
    Tcp(TcpStream),
    Circuit(Circuit),
}

/// A link's end of a circuit; the other end is in the relay's task.
pub(crate) struct Circuit {
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
        let _ = self.relay.send(relay::Word::Input(input));
    }
}

impl Drop for Circuit {
    fn drop(&mut self) {
        self.tell(client::Input::Close { link: self.link });
    }
}

/// Runs a session over `carrier` until it is over. The node hears of it by the session's events.
pub(crate) async fn run(
    shared: Arc<Shared>,
    link: LinkId,
    setup: Setup,
    carrier: Carrier,
    mut words: UnboundedReceiver<Word>,
    own: UnboundedSender<Word>,
) {
    let rng = shared.rng.fork_numbered("session", link.0);
    let config = Config {
        setup,
        secret_key: *shared.secret_key,
        ephemeral: crate::random(),
        channel_binding: Vec::new(),
    };
    let session = Session::new(shared.clock.now(), rng, config);
    let alarm = Alarm::new(shared.clock);
    let mut link = Link {
        shared,
        link,
        session,
        own,
        alarm,
        queue: VecDeque::new(),
        written: 0,
        read_max: 0,
        buffer: BytesMut::new(),
        frames: Vec::new(),
        known: false,
        closing: false,
    };
    link.drain();
    link.serve(carrier, &mut words).await;
}

struct Link {
    shared: Arc<Shared>,
    link: LinkId,
    session: Session,
    own: UnboundedSender<Word>,
    alarm: Alarm,
    /// What the session wants written; the first one's `written` bytes are.
    queue: VecDeque<Bytes>,
    written: usize,
    /// How much the session wants to read now.
    read_max: usize,
    buffer: BytesMut,
    /// Buffers of chunks that were written, for the next ones.
    frames: Vec<BytesMut>,
    /// Whether the other side has proven who it is.
    known: bool,
    closing: bool,
}

impl Link {
    async fn serve(&mut self, mut carrier: Carrier, words: &mut UnboundedReceiver<Word>) {
        while !self.closing {
            let mut moved = false;
            while let Ok(word) = words.try_recv() {
                self.take(word, &mut carrier);
                moved = true;
            }
            moved |= self.write(&mut carrier);
            moved |= self.read(&mut carrier);
            if moved {
                yield_once().await;
                continue;
            }
            select! {
                word = words.recv() => match word {
                    Some(word) => self.take(word, &mut carrier),
                    None => return,
                },
                () = ready(&carrier, self.read_max > 0, !self.queue.is_empty()) => {}
                () = self.alarm.ring() => {
                    // A link whose timer rings is mostly an idle one: it holds no buffers.
                    self.buffer = BytesMut::new();
                    self.frames = Vec::new();
                    self.input(Input::Tick);
                }
            }
        }
        let _ = time::timeout(CLOSING, self.close(carrier, words)).await;
    }

    fn take(&mut self, word: Word, carrier: &mut Carrier) {
        match (word, carrier) {
            (Word::Command(command), _) => self.input(Input::Command(command)),
            (Word::ChunkRead { request, result }, _) => {
                self.input(Input::ChunkRead { request, result });
            }
            (Word::Deliver(bytes), Carrier::Circuit(circuit)) => circuit.came.push_back(bytes),
            (Word::Writable(bytes), Carrier::Circuit(circuit)) => circuit.writable_bytes += bytes,
            (Word::Ended(why), Carrier::Circuit(circuit)) => circuit.ended = Some(why),
            (Word::Opened, _) | (_, Carrier::Tcp(_)) => {}
        }
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
                Output::Timeout(at) => return self.alarm.set(at),
            }
        }
    }

    /// Writes what the stream takes now; whether that was anything.
    fn write(&mut self, carrier: &mut Carrier) -> bool {
        let bytes = match carrier {
            _ if self.queue.is_empty() => return false,
            Carrier::Tcp(stream) => {
                let mut slices = [IoSlice::new(&[]); SLICES];
                for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
                    *slice = IoSlice::new(bytes);
                }
                slices[0] = IoSlice::new(&self.queue[0][self.written..]);
                stream.try_write_vectored(&slices[..self.queue.len().min(SLICES)])
            }
            Carrier::Circuit(circuit) => {
                let rest = &self.queue[0].slice(self.written..);
                let bytes = rest.len().min(circuit.writable_bytes);
                if bytes == 0 {
                    return false;
                }
                circuit.writable_bytes -= bytes;
                let bytes = rest.slice(..bytes);
                circuit.tell(client::Input::Data { link: self.link, bytes: bytes.clone() });
                Ok(bytes.len())
            }
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
            if self.frames.len() < FRAMES
                && let Ok(buffer) = first.try_into_mut()
                && buffer.capacity() >= READ_BYTES
            {
                self.frames.push(buffer);
            }
        }
    }

    /// Reads what the session asked for, if there is anything; whether there was.
    fn read(&mut self, carrier: &mut Carrier) -> bool {
        let max = self.read_max;
        let input = match carrier {
            _ if max == 0 => return false,
            Carrier::Tcp(stream) => match try_read(stream, &mut self.buffer, max) {
                Ok(0) => Input::Ended(None),
                Ok(bytes) => Input::Received(self.buffer.split_to(bytes)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => Input::Ended(Some(sentence(&error))),
            },
            Carrier::Circuit(circuit) => match circuit.came.front_mut() {
                Some(first) => {
                    let bytes = first.len().min(max);
                    let piece = first.split_to(bytes);
                    if first.is_empty() {
                        circuit.came.pop_front();
                    }
                    circuit.tell(client::Input::Consumed { link: self.link, bytes });
                    Input::Received(piece)
                }
                None => match circuit.ended.take() {
                    Some(why) => Input::Ended(Some(why)),
                    None => return false,
                },
            },
        };
        self.read_max = 0;
        self.input(input);
        true
    }

    /// Writes the last bytes, then waits for the other side to close too: a TCP socket that is
    /// closed with bytes unread resets the connection, and our last words with it. Strangers are
    /// not waited for: there may be any number of them.
    async fn close(&mut self, mut carrier: Carrier, words: &mut UnboundedReceiver<Word>) {
        while !self.queue.is_empty() {
            if self.write(&mut carrier) {
                continue;
            }
            select! {
                Some(word) = words.recv() => self.take(word, &mut carrier),
                () = ready(&carrier, false, true) => {}
            }
        }
        let Carrier::Tcp(mut stream) = carrier else { return };
        if self.known && stream.shutdown().await.is_ok() {
            let mut rest = vec![0; 16 * 1024];
            while stream.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
        }
    }
}

/// Waits until a TCP stream may be read or written; circuits wake by words.
async fn ready(carrier: &Carrier, read: bool, write: bool) {
    let Carrier::Tcp(stream) = carrier else { return std::future::pending().await };
    select! {
        _ = stream.readable(), if read => {}
        _ = stream.writable(), if write => {}
        else => std::future::pending().await,
    }
}

fn try_read(stream: &TcpStream, buffer: &mut BytesMut, max: usize) -> io::Result<usize> {
    use bytes::BufMut;
    // Takes the same memory again once the session has let go of what was read before.
    buffer.reserve(max);
    stream.try_read_buf(&mut buffer.limit(max))
}

fn sentence(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "reset by the other side".into(),
        _ => error.to_string(),
    }
}
