//! The laws that every machine of the core obeys, as one generic test.
//!
//! 1. Each input is followed by a drain that ends with `Timeout`, and `Timeout` is always the last
//!    answer.
//! 2. Time moves only in `handle_input`; a `now` before the last one counts as the last. A timeout
//!    may come early, late or twice.
//! 3. The same config, seed and inputs give the same outputs, letter for letter.
//! 4. A finished machine answers `Timeout(NEVER)` for ever and swallows its inputs.
//! 5. After a timeout at `now` the next deadline is later than `now`.
//!
//! # To add a machine
//! Write a function that returns its [`Machine`] (how to make it from a seed, how to hand it an
//! input, how to drain it, how to draw a random input, what a tick is, and which inputs surely end
//! it), below the others, and one line in [`the_laws_hold`]. Inputs need not make sense: a machine
//! takes what comes. Draw from [`Gen`] alone, so that a run can be repeated; let numbers be small,
//! so that they meet.

#[path = "laws/relay.rs"]
mod relay;

use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use towpath_core::close::{CloseReason, LocalClose};
use towpath_core::crypto::public_key;
use towpath_core::download::{self, ChunkSet, Download};
use towpath_core::id::{ChunkRef, ContentKey, LinkId, Space};
use towpath_core::output::Output;
use towpath_core::path::{self, Attempt, DialError, PathChooser, Policy};
use towpath_core::rng::Rng;
use towpath_core::session::{
    self, ChunkFrame, Command, Event, Input, Role, Session, Setup, Suite, Transmit,
};
use towpath_core::time::Instant;
use towpath_core::wire::{Handle, Message, RequestId, Unavailable};

#[path = "laws/node.rs"]
mod node;

#[test]
fn the_laws_hold() {
    download().check("download");
    ordered_download().check("ordered download");
    path_chooser().check("path chooser");
    session().check("session");
    node::node().check("node");
    relay::hub().check("relay hub");
    relay::client().check("relay client");
}

/// What the test needs to know of a machine.
struct Machine<M, I> {
    /// A fresh machine at this moment; the seed also chooses its config.
    new: fn(Instant, &mut Gen) -> M,
    put: fn(&mut M, Instant, I),
    poll: fn(&mut M) -> Answer,
    /// Any input but a tick.
    input: fn(&mut Gen) -> I,
    tick: fn() -> I,
    /// Inputs after which it is finished, whatever came before; empty for one that never ends.
    finish: fn() -> Vec<I>,
}

/// One answer of a drain, as text.
enum Answer {
    Said(String),
    Timeout(Instant),
}

/// For `poll`: `|machine| answer(&machine.poll_output())`.
fn answer<T: Debug, E: Debug>(output: &Output<T, E>) -> Answer {
    match output {
        Output::Transmit(transmit) => Answer::Said(format!("{transmit:?}")),
        Output::Event(event) => Answer::Said(format!("{event:?}")),
        Output::Timeout(at) => Answer::Timeout(*at),
    }
}

/// Random numbers for one run.
struct Gen(Rng);

impl Gen {
    fn new(seed: u64) -> Self {
        Self(Rng::new([7; 32]).fork_numbered("laws", seed))
    }

    fn rng(&mut self) -> Rng {
        Rng::new([self.below(256) as u8; 32])
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }
}

/// What comes next in a run.
#[derive(Clone, Copy)]
enum Step {
    /// An input, so much later.
    Later(Duration),
    /// An input whose time is so much before the last.
    Earlier(Duration),
    /// A tick before the deadline.
    EarlyTick,
    /// A tick at the deadline, and another one.
    DueTick,
    /// A tick so much after the deadline.
    LateTick(Duration),
}

const RUNS: u64 = 60;
const STEPS: usize = 150;

impl<M, I> Machine<M, I> {
    fn check(&self, name: &str) {
        for seed in 0..RUNS {
            let plain = self.run(name, seed, false);
            same(&plain, &self.run(name, seed, false), name, seed, "it is not repeatable");
            same(&plain, &self.run(name, seed, true), name, seed, "time that goes back matters");
        }
    }

    /// One run; all that the machine said. `backwards`: whether earlier times are really handed in.
    fn run(&self, name: &str, seed: u64, backwards: bool) -> Vec<String> {
        let mut random = Gen::new(seed);
        let start = Instant::from_nanos(1_000_000_000_000);
        let mut machine = (self.new)(start, &mut random);
        let mut said = Vec::new();
        let (mut now, mut deadline) = (start, self.drain(&mut machine, &mut said));
        for _ in 0..STEPS {
            let step = any_step(&mut random);
            let before = said.len();
            match step {
                Step::Later(by) => {
                    now = now + by;
                    let input = (self.input)(&mut random);
                    (self.put)(&mut machine, now, input);
                }
                Step::Earlier(by) => {
                    let earlier =
                        Instant::from_nanos(now.since(Instant::ZERO + by).as_nanos() as u64);
                    let input = (self.input)(&mut random);
                    (self.put)(&mut machine, if backwards { earlier } else { now }, input);
                }
                Step::EarlyTick if deadline > now => {
                    (self.put)(&mut machine, now, (self.tick)());
                    let same = self.drain(&mut machine, &mut said);
                    assert_eq!(said.len(), before, "{name} {seed}: an early tick does something");
                    assert_eq!(same, deadline, "{name} {seed}: an early tick moves the deadline");
                }
                Step::EarlyTick => {}
                Step::DueTick => now = self.tick_at(name, &mut machine, now, deadline, &mut said),
                Step::LateTick(by) => {
                    let late = deadline + by;
                    now = self.tick_at(name, &mut machine, now, late, &mut said);
                }
            }
            deadline = self.drain(&mut machine, &mut said);
            said.push(format!("at {now:?} until {deadline:?}"));
        }
        self.finish(name, seed, machine, now, &mut random);
        said
    }

    /// Ticks at this moment, twice, if it is ever.
    fn tick_at(
        &self,
        name: &str,
        machine: &mut M,
        now: Instant,
        at: Instant,
        said: &mut Vec<String>,
    ) -> Instant {
        if at == Instant::NEVER {
            return now;
        }
        let now = now.max(at);
        (self.put)(machine, now, (self.tick)());
        let next = self.drain(machine, said);
        assert!(next > now, "{name}: after a tick at {now:?} the deadline is {next:?}");
        let before = said.len();
        (self.put)(machine, now, (self.tick)());
        assert_eq!(self.drain(machine, said), next, "{name}: a second tick moves the deadline");
        assert_eq!(said.len(), before, "{name}: a second tick does something");
        now
    }

    fn drain(&self, machine: &mut M, said: &mut Vec<String>) -> Instant {
        for _ in 0..1_000_000 {
            match (self.poll)(machine) {
                Answer::Said(text) => said.push(text),
                Answer::Timeout(at) => {
                    let again = (self.poll)(machine);
                    assert!(matches!(again, Answer::Timeout(same) if same == at), "not the last");
                    return at;
                }
            }
        }
        panic!("a drain without an end");
    }

    fn finish(&self, name: &str, seed: u64, mut machine: M, now: Instant, random: &mut Gen) {
        let last = (self.finish)();
        if last.is_empty() {
            return;
        }
        for input in last {
            (self.put)(&mut machine, now, input);
            self.drain(&mut machine, &mut Vec::new());
        }
        let mut said = Vec::new();
        for second in 0..50 {
            let input = if second % 5 == 0 { (self.tick)() } else { (self.input)(random) };
            (self.put)(&mut machine, now + Duration::from_secs(second), input);
            let deadline = self.drain(&mut machine, &mut said);
            assert_eq!(said, [""; 0], "{name} {seed}: finished and speaks");
            assert_eq!(deadline, Instant::NEVER, "{name} {seed}: finished and waits");
        }
    }
}

/// Shows the first difference, not both transcripts.
fn same(one: &[String], other: &[String], name: &str, seed: u64, trouble: &str) {
    for (line, pair) in one.iter().zip(other).enumerate() {
        assert_eq!(pair.0, pair.1, "{name}, run {seed}, line {line}: {trouble}");
    }
    assert_eq!(one.len(), other.len(), "{name}, run {seed}: {trouble}");
}

fn any_step(random: &mut Gen) -> Step {
    let millis = [0, 0, 1, 50, 1_000, 7_000];
    let by = Duration::from_millis(random.pick(&millis));
    match random.below(10) {
        0 => Step::Earlier(by),
        1 => Step::EarlyTick,
        2 | 3 => Step::DueTick,
        4 => Step::LateTick(by),
        _ => Step::Later(by),
    }
}

// The machines.

fn download() -> Machine<Download, download::Input> {
    Machine {
        new: |now, random| {
            let have = ChunkSet { bits: vec![random.below(256) as u8], len: 8 };
            let order = download::Order::Rarest;
            Download::new(now, random.rng(), download::Config { chunks: 40, have, order })
        },
        put: Download::handle_input,
        poll: |machine| answer(&machine.poll_output()),
        input: download_input,
        tick: || download::Input::Tick,
        finish: || (0..40).map(|chunk| download::Input::Stored(LinkId(0), chunk)).collect(),
    }
}

fn ordered_download() -> Machine<Download, download::Input> {
    Machine {
        new: |now, random| {
            let order = download::Order::Sequential { window: 1 + random.below(20) };
            let have = ChunkSet::default();
            Download::new(now, random.rng(), download::Config { chunks: 40, have, order })
        },
        ..download()
    }
}

fn download_input(random: &mut Gen) -> download::Input {
    use download::Input;
    let link = LinkId(random.below(5));
    let chunk = random.below(42);
    let bytes = random.pick(&[0, 1, 5_000, 262_144, usize::MAX]);
    match random.below(20) {
        0 | 1 => Input::PeerJoined(link),
        2 | 3 => Input::PeerHasAll(link),
        4 => Input::PeerHas(link, chunk, vec![random.below(256) as u8; random.below(7) as usize]),
        5 => Input::PeerLeft(link),
        6 => Input::Progress(link, chunk),
        7..=10 => Input::Arrived(link, chunk, bytes),
        11..=13 => Input::Stored(link, chunk),
        14 => Input::False(link, chunk, bytes),
        15 => Input::StoreFailed(link, chunk),
        16 => Input::Unavailable(
            link,
            chunk,
            random.pick(&[
                Unavailable::NotHad,
                Unavailable::SourceChanged,
                Unavailable::ReadFailed,
                Unavailable::Withdrawn,
            ]),
        ),
        17 => Input::Consumed(chunk),
        18 => Input::MeanChunkBytes(bytes as u64),
        _ => Input::Allowed(random.flip()),
    }
}

fn path_chooser() -> Machine<PathChooser, path::Input> {
    Machine {
        new: |now, random| {
            let policies = [Policy::Auto, Policy::Sequential, Policy::Direct, Policy::Relay];
            let addresses = (0..random.below(20) as u16).map(|port| ([192, 0, 2, 1], port));
            let config = path::Config {
                policy: random.pick(&policies),
                can_punch: random.flip(),
                addresses: addresses.map(SocketAddr::from).collect(),
                relay: random.below(4) > 0,
            };
            PathChooser::new(now, random.rng(), config)
        },
        put: PathChooser::handle_input,
        poll: |machine| answer(&machine.poll_output()),
        input: |random| {
            let attempt = Attempt(random.below(12) as u32);
            let errors = [
                DialError::Refused,
                DialError::Unreachable,
                DialError::WrongPeer,
                DialError::NotAtRelay,
                DialError::Other("a sentence".into()),
            ];
            match random.below(6) {
                0 | 1 => path::Input::Failed(attempt, random.pick(&errors)),
                2 => path::Input::Established(attempt),
                3 => path::Input::Lost(attempt),
                4 => path::Input::RelayReady(random.below(3) > 0),
                _ => path::Input::Tick,
            }
        },
        tick: || path::Input::Tick,
        finish: || vec![path::Input::Stop],
    }
}

/// A session, and an honest one at the other end of its stream.
struct Linked {
    session: Session,
    other: Session,
    to_other: Vec<Bytes>,
    to_session: Vec<u8>,
    asked_to_read: bool,
    established: bool,
    other_established: bool,
    /// The latest moment; the other end must not see time go backwards when the session does.
    now: Instant,
    /// Numbers of requests, never used twice.
    requests: u32,
    /// What the session wants to be read.
    reads: Vec<RequestId>,
}

enum LinkedInput {
    Tick,
    /// So many bytes come from the other end; whether one of them is wrong.
    Come(usize, bool),
    Sent(usize),
    Ended,
    Request,
    Cancel(u32),
    Serve(u32),
    Forget(u32),
    ChunkRead(bool),
    Recycle,
    /// The other end asks for a chunk, or cancels one.
    Asked,
    Cancelled(u32),
    Close,
}

fn session() -> Machine<Linked, LinkedInput> {
    Machine {
        new: Linked::new,
        put: Linked::put,
        poll: Linked::poll,
        input: |random| {
            let number = random.below(6) as u32;
            match random.below(60) {
                0..=35 => {
                    let bytes = random.pick(&[1, 100, usize::MAX, usize::MAX]);
                    LinkedInput::Come(bytes, random.below(200) == 0)
                }
                36 => LinkedInput::Sent(random.pick(&[1, 50, 1_000_000])),
                37 => LinkedInput::Recycle,
                38..=41 => LinkedInput::Request,
                42 => LinkedInput::Cancel(number),
                43..=47 => LinkedInput::Serve(number),
                48 => LinkedInput::Forget(number),
                49..=53 => LinkedInput::ChunkRead(random.below(4) > 0),
                54..=57 => LinkedInput::Asked,
                58 => LinkedInput::Cancelled(number),
                _ if random.below(20) == 0 => LinkedInput::Ended,
                _ => LinkedInput::Tick,
            }
        },
        tick: || LinkedInput::Tick,
        finish: || vec![LinkedInput::Close],
    }
}

impl Linked {
    fn new(now: Instant, random: &mut Gen) -> Self {
        let suite = random.pick(&[Suite::AesGcm, Suite::ChaChaPoly]);
        let remote = random.flip().then(|| public_key(&[2; 32]));
        let make = |role, key: u8| {
            let setup = Setup { role, instance: u64::from(key) };
            let (secret_key, ephemeral) = ([key; 32], [key + 10; 32]);
            session::Config { setup, secret_key, ephemeral, channel_binding: Vec::new() }
        };
        let caller = make(Role::Initiator { remote, suite }, 1);
        let called = make(Role::Responder { accept_strangers: true, accept_aes: true }, 2);
        let (ours, theirs) = if random.flip() { (caller, called) } else { (called, caller) };
        let mut this = Self {
            session: Session::new(now, random.rng(), ours),
            other: Session::new(now, random.rng(), theirs),
            to_other: Vec::new(),
            to_session: Vec::new(),
            asked_to_read: false,
            established: false,
            other_established: false,
            now,
            requests: 0,
            reads: Vec::new(),
        };
        this.drain_other();
        // A handshake seldom survives random times: most runs begin after it.
        while random.below(8) > 0 && !(this.established && this.other_established) {
            while matches!(this.poll(), Answer::Said(_)) {}
            this.come(now, usize::MAX, false);
        }
        this
    }

    fn chunk() -> ChunkRef {
        ChunkRef { space: Space::Root, index: 3 }
    }

    fn put(&mut self, now: Instant, input: LinkedInput) {
        self.now = self.now.max(now);
        let (handle, content, chunk) = (Handle(0), ContentKey(0), Self::chunk());
        let input = match input {
            LinkedInput::Tick => Input::Tick,
            LinkedInput::Sent(bytes) => Input::Sent { bytes },
            LinkedInput::Ended => Input::Ended(None),
            LinkedInput::Recycle => Input::Command(Command::Recycle(BytesMut::zeroed(300_000))),
            LinkedInput::Close => {
                Input::Command(Command::Close(CloseReason::Local(LocalClose::Done)))
            }
            LinkedInput::Come(bytes, wrong) => return self.come(now, bytes, wrong),
            LinkedInput::Forget(number) => {
                Input::Command(Command::Forget { request: RequestId(number) })
            }
            // A node says the rest to an established session only.
            _ if !self.established => return,
            LinkedInput::Request => {
                self.requests += 1;
                let request = RequestId(self.requests);
                Input::Command(Command::Request { request, handle, chunk })
            }
            LinkedInput::Cancel(number) => {
                Input::Command(Command::Send(Message::Cancel { request: RequestId(number) }))
            }
            LinkedInput::Serve(number) => {
                let request = RequestId(number);
                Input::Command(Command::Serve { request, content, chunk })
            }
            LinkedInput::ChunkRead(whole) => {
                let Some(request) = self.reads.pop() else { return };
                let frame = || ChunkFrame::new(request, 300, 2, BytesMut::new());
                let result = if whole { Ok(frame()) } else { Err(Unavailable::ReadFailed) };
                Input::ChunkRead { request, result }
            }
            LinkedInput::Asked => {
                self.requests += 1;
                let request = RequestId(self.requests);
                return self.other(Command::Request { request, handle, chunk });
            }
            LinkedInput::Cancelled(number) => {
                let cancel = Message::Cancel { request: RequestId(number) };
                return self.other(Command::Send(cancel));
            }
        };
        self.session.handle_input(now, input);
    }

    /// The other end takes all and says something; bytes of it come, if the session wants them.
    fn come(&mut self, now: Instant, bytes: usize, wrong: bool) {
        for bytes in core::mem::take(&mut self.to_other) {
            self.session.handle_input(now, Input::Sent { bytes: bytes.len() });
            self.other.handle_input(self.now, Input::Received(BytesMut::from(&bytes[..])));
            self.drain_other();
        }
        self.other(Command::Send(Message::Complete { handle: Handle(1) }));
        let bytes = bytes.min(self.to_session.len());
        if bytes == 0 || !self.asked_to_read {
            return;
        }
        let mut bytes: Vec<u8> = self.to_session.drain(..bytes).collect();
        bytes[0] ^= u8::from(wrong);
        self.asked_to_read = false;
        self.session.handle_input(now, Input::Received(BytesMut::from(&bytes[..])));
    }

    fn other(&mut self, command: Command) {
        if !self.other_established {
            return;
        }
        self.other.handle_input(self.now, Input::Command(command));
        self.drain_other();
    }

    fn drain_other(&mut self) {
        loop {
            match self.other.poll_output() {
                Output::Transmit(Transmit::Send(bytes)) => {
                    self.to_session.extend_from_slice(&bytes);
                    let sent = Input::Sent { bytes: bytes.len() };
                    self.other.handle_input(self.now, sent);
                }
                Output::Event(Event::Established { .. }) => self.other_established = true,
                Output::Timeout(_) => return,
                _ => {}
            }
        }
    }

    fn poll(&mut self) -> Answer {
        let output = self.session.poll_output();
        match &output {
            Output::Transmit(Transmit::Send(bytes)) => self.to_other.push(bytes.clone()),
            Output::Transmit(Transmit::Read { .. }) => self.asked_to_read = true,
            Output::Transmit(Transmit::ReadChunk { request, .. }) => self.reads.push(*request),
            Output::Event(Event::Established { .. }) => self.established = true,
            _ => {}
        }
        answer(&output)
    }
}
