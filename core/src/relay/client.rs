//! A peer's side of the relay: login, circuits, windows, reconnecting.
//!
//! One machine per tracker. While it is wanted it goes round:
//!
//! ```text
//! Off ─Want→ Connecting ─Connected→ Handshake ─→ Login ─Welcome→ Online
//!              ↑                                                   │ anything that ends it
//!              └──────────────── Waiting (1 s → 60 s) ←────────────┘
//! ```
//!
//! A login that succeeds sets the wait back to one second. Circuits do not survive a lost
//! connection: their sessions end, and what was to be opened fails.
//!
//! When it is not wanted any more, what the sessions still say goes out first, the last word of a
//! download among it: the client leaves when all circuits are closed and the socket has taken
//! everything, or after [`RELAY_LINGER`].
//!
//! For each circuit the machine tells the session how much it may hand in (`Writable`): as much as
//! the receiver's window, the hub's window and the circuit's share of what may wait for our socket
//! allow. It cuts what comes into frames, circuits in turns, control frames first, and hands the
//! driver no more than the socket takes in a moment (`RELAY_BACKLOG_TIME`); the frames of a slow
//! wire are short. What the session
//! consumes becomes credit for the other side; the window behind it grows with the bandwidth-delay
//! product.

mod circuit;
mod control;
mod online;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::close::{CloseReason, RemoteClose};
use crate::crypto::noise::Handshake;
use crate::deadlines::Deadlines;
use crate::id::{Instance, LinkId, PeerId};
use crate::limits::{
    RELAY_BACKOFF_MAX, RELAY_BACKOFF_MIN, RELAY_CONNECT_TIMEOUT, RELAY_LINGER, RELAY_LOGIN_TIMEOUT,
};
use crate::output::Output;
use crate::path::DialError;
use crate::relay::flights::Flights;
use crate::relay::frame::{Kind, ToClient, ToHub, kind};
use crate::relay::seal::{self, Seal};
use crate::rng::Rng;
use crate::time::Instant;

use online::Online;

/// What a client starts with.
pub struct Config {
    /// Who we are.
    pub me: Instance,
    /// Our X25519 secret key.
    pub secret_key: [u8; 32],
    /// The host as dialled, `host` or `host:port`, as the `Host` header names it: part of the
    /// handshake's prologue.
    pub host: String,
}

/// What a client takes.
#[derive(Debug)]
pub enum Input {
    /// The clock reached the deadline, or just passed.
    Tick,
    /// The node wants to be connected, or not.
    Want(bool),
    /// The WebSocket is open; with 32 fresh random bytes for the ephemeral key.
    Connected {
        /// From the driver, never used twice.
        ephemeral: [u8; 32],
    },
    /// It could not be opened, or is closed; the driver's sentence. After `Transmit::Disconnect`
    /// the driver says nothing more about that WebSocket.
    Disconnected(String),
    /// One binary message.
    Message(BytesMut),
    /// So many payload bytes of our `Send`s were taken by the socket.
    Sent {
        /// Bytes.
        bytes: usize,
    },
    /// The node wants a circuit.
    Open {
        /// The link it will be.
        link: LinkId,
        /// To whom.
        to: Instance,
    },
    /// The node accepts a circuit that came in.
    Accept {
        /// The number in `Event::Incoming`.
        incoming: u64,
        /// The link it is from now on.
        link: LinkId,
    },
    /// The node does not.
    Refuse {
        /// The number in `Event::Incoming`.
        incoming: u64,
    },
    /// Bytes that the link's session wants sent; at most as many as `Writable` allowed.
    Data {
        /// Which link.
        link: LinkId,
        /// The bytes.
        bytes: Bytes,
    },
    /// The link's session has taken so many of the bytes that `Transmit::Deliver` gave it.
    Consumed {
        /// Which link.
        link: LinkId,
        /// How many.
        bytes: usize,
    },
    /// The link's session has ended. What it has handed in is still sent.
    Close {
        /// Which link.
        link: LinkId,
    },
}

/// What a client wants done.
#[derive(Debug)]
pub enum Transmit {
    /// Open the WebSocket at `/relay` (subprotocol [`super::frame::SUBPROTOCOL`]).
    Connect,
    /// Send one binary message, in order.
    Send {
        /// All of it. The hub forwards a data frame in the buffer in which it came.
        message: Bytes,
    },
    /// Close the WebSocket once the `Send`s before are out, or stop opening it.
    Disconnect,
    /// Bytes for the link's session.
    Deliver {
        /// Which link.
        link: LinkId,
        /// The bytes.
        bytes: BytesMut,
    },
    /// The link's session may hand in so many bytes more.
    Writable {
        /// Which link.
        link: LinkId,
        /// How many more.
        bytes: usize,
    },
    /// The link's stream is open: its session may start.
    Opened {
        /// Which link.
        link: LinkId,
    },
    /// The link's stream has ended: tell its session.
    Ended {
        /// Which link.
        link: LinkId,
        /// Why.
        reason: CloseReason,
    },
}

/// What a client tells the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Logged in, or still logged in with a fresh token: the token for REST calls.
    LoggedIn {
        /// Opaque.
        token: String,
    },
    /// Not, or not any more; tried again by itself. Why, for people.
    LoggedOut(String),
    /// A circuit could not be opened.
    OpenFailed {
        /// The link that will not be.
        link: LinkId,
        /// Why.
        error: DialError,
    },
    /// Somebody wants a circuit to us.
    Incoming {
        /// Number for the answer.
        incoming: u64,
        /// Who, as the hub says: the session proves it.
        from: PeerId,
    },
}

/// The client of one tracker's relay.
pub struct Client {
    now: Instant,
    rng: Rng,
    config: Config,
    phase: Phase,
    /// Connections that failed since the last login.
    failures: u32,
    next_incoming: u64,
    observed_ip: Option<IpAddr>,
    deadlines: Deadlines<Timer>,
    /// What the driver has: the circuit and payload of data frames.
    flights: Flights<Option<(u32, usize)>>,
    outputs: VecDeque<Output<Transmit, Event>>,
}

/// How far the connection is.
#[derive(Debug)]
enum Phase {
    /// Not wanted.
    Off,
    /// Wanted, and waiting before the next try.
    Waiting,
    /// The driver opens the WebSocket.
    Connecting,
    /// The second message of the handshake is awaited.
    Handshake(Option<Box<Handshake>>),
    /// `Welcome` is awaited.
    Login(Box<Seal>),
    /// Logged in.
    Online(Box<Online>),
}

/// Why a deadline stands in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// When to try again, or to give this try up.
    Phase,
    /// When to see whether the hub is alive.
    Alive,
    /// When a circuit that is closing has had time enough to send what it holds.
    Linger(u32),
    /// When all of them have, because the relay is not wanted any more.
    Leave,
}

/// Why a connection ends: the words for people.
struct Ending(String);

impl Client {
    /// A client that is not connected.
    #[must_use]
    pub fn new(now: Instant, rng: Rng, config: Config) -> Self {
        Self {
            now,
            rng,
            config,
            phase: Phase::Off,
            failures: 0,
            next_incoming: 0,
            observed_ip: None,
            deadlines: Deadlines::default(),
            flights: Flights::default(),
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Tick => {}
            Input::Want(true) => self.want(),
            Input::Want(false) => self.stop(),
            Input::Connected { ephemeral } => self.on_connected(ephemeral),
            Input::Disconnected(why) => self.on_disconnected(why),
            Input::Message(bytes) => {
                if let Err(Ending(why)) = self.on_message(bytes) {
                    self.fail(why);
                }
            }
            Input::Sent { bytes } => self.on_sent(bytes),
            Input::Open { link, to } => self.on_open(link, to),
            Input::Accept { incoming, link } => self.on_accept(incoming, link),
            Input::Refuse { incoming } => self.on_refuse(incoming),
            Input::Data { link, bytes } => self.on_data(link, bytes),
            Input::Consumed { link, bytes } => self.on_consumed(link, bytes),
            Input::Close { link } => self.on_close(link),
        }
        while let Some(timer) = self.deadlines.pop_due(self.now) {
            match timer {
                Timer::Phase => self.on_phase_timeout(),
                Timer::Alive => self.check_alive(),
                Timer::Linger(number) => self.give_up(number),
                Timer::Leave => self.leave(),
            }
        }
        self.pump();
        if self.has_said_all() {
            self.leave();
        }
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Output<Transmit, Event> {
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout(self.deadlines.next()))
    }

    /// Whether it is logged in.
    #[must_use]
    pub const fn is_online(&self) -> bool {
        matches!(self.phase, Phase::Online(_))
    }

    /// Our address as the tracker saw it at the last login.
    #[must_use]
    pub const fn observed_ip(&self) -> Option<IpAddr> {
        self.observed_ip
    }

    fn transmit(&mut self, transmit: Transmit) {
        self.outputs.push_back(Output::Transmit(transmit));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn want(&mut self) {
        match &mut self.phase {
            Phase::Off => {
                self.failures = 0;
                self.connect();
            }
            Phase::Online(online) => {
                online.leaving = false;
                self.deadlines.clear(&Timer::Leave);
            }
            Phase::Waiting | Phase::Connecting | Phase::Handshake(_) | Phase::Login(_) => {}
        }
    }

    fn stop(&mut self) {
        match &mut self.phase {
            Phase::Off => {}
            Phase::Online(online) => {
                // It leaves in the same input if nothing is left to say.
                if !core::mem::replace(&mut online.leaving, true) {
                    self.deadlines.set(Timer::Leave, self.now + RELAY_LINGER);
                }
            }
            Phase::Waiting | Phase::Connecting | Phase::Handshake(_) | Phase::Login(_) => {
                self.leave();
            }
        }
    }

    /// Whether it is not wanted any more, and everything that was said is with the socket.
    fn has_said_all(&self) -> bool {
        match &self.phase {
            Phase::Online(online) => {
                online.leaving && online.is_quiet() && self.flights.unconfirmed_bytes() == 0
            }
            Phase::Off
            | Phase::Waiting
            | Phase::Connecting
            | Phase::Handshake(_)
            | Phase::Login(_) => false,
        }
    }

    fn leave(&mut self) {
        match core::mem::replace(&mut self.phase, Phase::Off) {
            Phase::Off | Phase::Waiting => {}
            Phase::Connecting | Phase::Handshake(_) | Phase::Login(_) => {
                self.transmit(Transmit::Disconnect);
            }
            Phase::Online(online) => {
                self.transmit(Transmit::Disconnect);
                self.end_all(*online, "not wanted any more");
                self.event(Event::LoggedOut(String::from("not wanted any more")));
            }
        }
        self.reset();
    }

    fn connect(&mut self) {
        self.reset();
        self.phase = Phase::Connecting;
        self.deadlines.set(Timer::Phase, self.now + RELAY_CONNECT_TIMEOUT);
        self.transmit(Transmit::Connect);
    }

    /// Forgets what belongs to one connection.
    fn reset(&mut self) {
        self.deadlines = Deadlines::default();
        self.flights = Flights::default();
    }

    fn on_connected(&mut self, ephemeral: [u8; 32]) {
        if !matches!(self.phase, Phase::Connecting) {
            return;
        }
        let Config { host, secret_key, .. } = &self.config;
        let mut noise = seal::handshake(true, host, *secret_key, ephemeral);
        self.deadlines.set(Timer::Phase, self.now + RELAY_LOGIN_TIMEOUT);
        match noise.write_message() {
            Ok(first) => {
                self.phase = Phase::Handshake(Some(Box::new(noise)));
                self.send(seal::handshake_frame(&first), None);
            }
            Err(error) => self.fail(format!("the handshake with the relay failed ({error})")),
        }
    }

    fn on_disconnected(&mut self, why: String) {
        match self.phase {
            Phase::Off | Phase::Waiting => {}
            Phase::Connecting | Phase::Handshake(_) | Phase::Login(_) | Phase::Online(_) => {
                self.lost(why);
            }
        }
    }

    fn on_phase_timeout(&mut self) {
        match self.phase {
            Phase::Off | Phase::Online(_) => {}
            Phase::Waiting => self.connect(),
            Phase::Connecting => self.fail(String::from("the relay did not answer the dial")),
            Phase::Handshake(_) | Phase::Login(_) => {
                self.fail(String::from("the relay did not complete the login in time"));
            }
        }
    }

    /// Ends the connection ourselves.
    fn fail(&mut self, why: String) {
        self.transmit(Transmit::Disconnect);
        self.lost(why);
    }

    /// The connection is gone: everything on it ends, and it is tried again later.
    fn lost(&mut self, why: String) {
        let mut leaving = false;
        if let Phase::Online(online) = core::mem::replace(&mut self.phase, Phase::Waiting) {
            leaving = online.leaving;
            self.end_all(*online, &why);
        }
        self.reset();
        if leaving {
            self.phase = Phase::Off;
        } else {
            let wait = self.backoff();
            self.deadlines.set(Timer::Phase, self.now + wait);
        }
        self.event(Event::LoggedOut(why));
    }

    /// 1 s, 2 s, 4 s … 60 s, each between a half and the whole of it.
    // spec R28
    fn backoff(&mut self) -> Duration {
        let doubled = RELAY_BACKOFF_MIN * 2_u32.saturating_pow(self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let whole = doubled.min(RELAY_BACKOFF_MAX);
        let half = u64::try_from(whole.as_nanos() / 2).unwrap_or(u64::MAX);
        Duration::from_nanos(half + self.rng.below(half + 1))
    }

    fn on_message(&mut self, mut bytes: BytesMut) -> Result<(), Ending> {
        let kind = match self.phase {
            Phase::Off | Phase::Waiting | Phase::Connecting => return Ok(()),
            Phase::Handshake(_) | Phase::Login(_) | Phase::Online(_) => {
                kind(&bytes).map_err(|error| broken(error.0))?
            }
        };
        match (kind, &mut self.phase) {
            (Kind::Handshake, Phase::Handshake(noise)) => {
                let noise = noise.take().ok_or_else(|| broken("handshake_order"))?;
                self.on_handshake(*noise, &bytes[1..])
            }
            (Kind::Control, Phase::Login(seal)) => {
                let message = seal.open(&mut bytes).and_then(ToClient::decode);
                self.on_welcome(message.map_err(|error| broken(error.0))?)
            }
            (Kind::Control, Phase::Online(online)) => {
                online.heard_at = self.now;
                let message = online.seal.open(&mut bytes).and_then(ToClient::decode);
                self.on_control(message.map_err(|error| broken(error.0))?)
            }
            (Kind::Data, Phase::Online(online)) => {
                online.heard_at = self.now;
                self.on_frame(bytes)
            }
            (Kind::Handshake | Kind::Control | Kind::Data, _) => Err(broken("unexpected_frame")),
        }
    }

    /// The hub's answer: ours completes the handshake, and `Login` goes with it.
    fn on_handshake(&mut self, mut noise: Handshake, message: &[u8]) -> Result<(), Ending> {
        let failed = |error: crate::crypto::noise::HandshakeError| {
            Ending(format!(
                "the handshake with the relay failed ({error}); check that the tracker's address \
                 is the one that it is reached by, and that no proxy changes the Host header"
            ))
        };
        noise.read_message(message).map_err(failed)?;
        let third = noise.write_message().map_err(failed)?;
        let mut seal = Box::new(Seal::new(noise.finish()));
        self.send(seal::handshake_frame(&third), None);
        let login = ToHub::Login { instance: self.config.me.number };
        self.send(seal.seal(&login.encode()), None);
        self.phase = Phase::Login(seal);
        Ok(())
    }

    fn on_welcome(&mut self, message: ToClient) -> Result<(), Ending> {
        let ToClient::Welcome { token, observed, max_circuits: _ } = message else {
            return Err(broken("welcome_expected"));
        };
        match core::mem::replace(&mut self.phase, Phase::Waiting) {
            Phase::Login(seal) => {
                self.phase = Phase::Online(Box::new(Online::new(self.now, *seal)));
            }
            phase @ (Phase::Off
            | Phase::Waiting
            | Phase::Connecting
            | Phase::Handshake(_)
            | Phase::Online(_)) => self.phase = phase,
        }
        self.failures = 0;
        self.observed_ip = Some(observed);
        self.deadlines.clear(&Timer::Phase);
        self.check_alive();
        self.event(Event::LoggedIn { token });
        Ok(())
    }

    /// Hands a message to the driver.
    fn send(&mut self, message: Bytes, what: Option<(u32, usize)>) {
        self.flights.push(self.now, message.len(), what);
        self.transmit(Transmit::Send { message });
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (me, host) = (&self.config.me, &self.config.host);
        let phase = match &self.phase {
            Phase::Off => "Off",
            Phase::Waiting => "Waiting",
            Phase::Connecting => "Connecting",
            Phase::Handshake(_) => "Handshake",
            Phase::Login(_) => "Login",
            Phase::Online(_) => "Online",
        };
        let phase = format_args!("{phase}");
        let mut debug = f.debug_struct("Client");
        debug.field("me", me).field("host", host).field("phase", &phase).finish_non_exhaustive()
    }
}

/// The relay broke a rule.
fn broken(rule: &'static str) -> Ending {
    Ending(format!("the relay broke the protocol: {rule}"))
}

/// How the session of a circuit learns that its stream is gone.
fn failed(why: &str) -> CloseReason {
    CloseReason::Remote(RemoteClose::Failed(String::from(why)))
}
