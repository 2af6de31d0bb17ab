//! Over which path a peer is reached: direct, punched or relayed, and why.
//!
//! One chooser per (download, peer). Policy `sequential` is the rule of the founding documents:
//!
//! 1. **Dial.** All announced addresses, [`DIAL_STAGGER`] apart; when all that were dialled have
//!    failed, the next at once. [`DIRECT_TIMEOUT`] for all together, handshake included. The first
//!    session that is established wins and the other dials are abandoned. If all addresses failed
//!    it goes on at once.
//! 2. **Punch.** A state that is skipped while no puncher is configured.
//! 3. **Relay.** Waits [`RELAY_READY_TIMEOUT`] for our login, then opens a circuit. From then on
//!    the relay is the path to this peer: direct is not tried again by this chooser.
//!
//! A chosen link that is lost: a direct one is dialled again once, then comes the relay, with the
//! reason [`Reason::DirectLost`]; a circuit is opened again after a pause that doubles, a bounded
//! number of times. When nothing is left the chooser says [`Event::Exhausted`] and is finished; its
//! owner may make a new one later.
//!
//! Spec chapter "Peer": P1 (relay only after direct, and no way back), P2 (bounded dials), P3 (the
//! other policies), P5 (reasons); P4 is the session's.
//!
//! Racing will come as new states and inputs: the attempts of a state are a list already, and an
//! attempt that nobody waits for any more is ignored wherever its answer arrives.
//!
//! | state | `Failed` | `Established` | `Lost` | `RelayReady` | deadline |
//! |---|---|---|---|---|---|
//! | Dialling | next address, or on | Direct | – | noted | next address, or on |
//! | Punching | – | – | – | noted | on |
//! | AwaitingRelay | – | – | – | open a circuit | exhausted |
//! | OpeningCircuit | exhausted, or pause | Relayed | – | lost: await again | as `Failed` |
//! | Pausing | – | – | – | noted | open a circuit |
//! | Direct | as `Lost` | – | Dialling, then relay | noted | never |
//! | Relayed | as `Lost` | – | Pausing | noted | never |

mod reason;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

pub use self::reason::{DialError, Reason};
use crate::limits::{
    CIRCUIT_BACKOFF_MAX, CIRCUIT_BACKOFF_MIN, CIRCUIT_TIMEOUT, DIAL_STAGGER, DIRECT_TIMEOUT,
    MAX_ADDRESSES_PER_PEER, MAX_CIRCUIT_RETRIES, PUNCH_TIMEOUT, RELAY_READY_TIMEOUT,
};
use crate::output::Output;
use crate::rng::Rng;
use crate::time::Instant;

/// What carries a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathKind {
    /// TCP straight to the peer.
    Direct,
    /// UDP through a punched hole.
    Punched,
    /// Through the tracker's relay.
    Relay,
}

impl fmt::Display for PathKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "direct",
            Self::Punched => "punched",
            Self::Relay => "relay",
        })
    }
}

/// The user's `--path`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Policy {
    /// The best that we know: `Sequential` until racing exists.
    #[default]
    Auto,
    /// The founding documents' rule.
    Sequential,
    /// Never the relay.
    Direct,
    /// Nothing but the relay.
    Relay,
}

/// Number of an attempt, unique within one chooser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(pub u32);

/// What a chooser starts with.
#[derive(Debug, Clone)]
pub struct Config {
    /// The user's wish.
    pub policy: Policy,
    /// Whether a puncher is configured. Always `false` so far; the state exists and is skipped.
    pub can_punch: bool,
    /// The peer's announced addresses, best first.
    pub addresses: Vec<SocketAddr>,
    /// Whether the peer accepts circuits.
    pub relay: bool,
}

/// What a chooser takes.
#[derive(Debug, Clone)]
pub enum Input {
    /// The clock reached the deadline, or just passed.
    Tick,
    /// The attempt failed before its session was established.
    Failed(Attempt, DialError),
    /// The attempt's session is established.
    Established(Attempt),
    /// The session of the attempt that was chosen ended before its work was done.
    Lost(Attempt),
    /// Whether we are logged in at the relay.
    RelayReady(bool),
    /// The work is done.
    Stop,
}

/// What a chooser wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transmit {
    /// Dial this address.
    Dial(Attempt, SocketAddr),
    /// Open a circuit to the peer.
    OpenCircuit(Attempt),
    /// Give this attempt up.
    Abandon(Attempt),
}

/// What a chooser tells the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// This attempt carries, over this path, for this reason.
    Chosen(Attempt, PathKind, Reason),
    /// Nothing works for now. The node may make a new chooser later.
    Exhausted(Reason),
}

/// Where a chooser stands, in the order of the policy.
#[derive(Debug)]
enum State {
    /// Addresses are dialled.
    Dialling(Dials),
    /// A hole is punched; goes on to the relay at this moment.
    Punching(Instant),
    /// We are not logged in at the relay; given up at this moment.
    AwaitingRelay(Instant),
    /// The relay was asked for a circuit; failed at this moment.
    OpeningCircuit(Attempt, Instant),
    /// A circuit was lost; the next is opened at this moment.
    Pausing(Instant),
    /// This attempt carries, directly.
    Direct(Attempt),
    /// This attempt carries, through the relay.
    Relayed(Attempt),
    /// The end.
    Finished,
}

/// One round of dialling.
#[derive(Debug)]
struct Dials {
    /// Those that have not failed yet.
    pending: Vec<Attempt>,
    /// Index of the address to dial next.
    next: usize,
    /// When to dial it.
    next_at: Instant,
    /// When all have failed.
    until: Instant,
    /// The first failure that says more than a refusal.
    error: Option<DialError>,
}

/// The chooser of one peer.
#[derive(Debug)]
pub struct PathChooser {
    rng: Rng,
    config: Config,
    now: Instant,
    state: State,
    next_attempt: u32,
    relay_ready: bool,
    /// Whether a direct link was lost: then one more round of dialling, and the reason.
    direct_lost: bool,
    /// Whether a circuit was chosen: then direct is over, and lost circuits are opened again.
    relay_chosen: bool,
    /// Circuits in a row that failed since one was lost.
    circuit_failures: u32,
    /// Why not direct, once that is known.
    direct: Reason,
    outputs: VecDeque<Output<Transmit, Event>>,
}

impl PathChooser {
    /// Begins at once: the first drain may already dial. Of `config.addresses` the first
    /// [`MAX_ADDRESSES_PER_PEER`] are used, each once.
    #[must_use]
    pub fn new(now: Instant, rng: Rng, mut config: Config) -> Self {
        let mut addresses = Vec::new();
        for address in config.addresses {
            // spec P2
            if addresses.len() < MAX_ADDRESSES_PER_PEER && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        config.addresses = addresses;
        let mut chooser = Self {
            rng,
            config,
            now,
            state: State::Finished,
            next_attempt: 0,
            relay_ready: false,
            direct_lost: false,
            relay_chosen: false,
            circuit_failures: 0,
            direct: Reason::NoAddress,
            outputs: VecDeque::new(),
        };
        match chooser.config.policy {
            Policy::Auto if planted!(RelayFirst) => chooser.leave_direct(Reason::NoAddress),
            Policy::Auto | Policy::Sequential | Policy::Direct => chooser.enter_dialling(),
            // spec P3
            Policy::Relay => chooser.leave_direct(Reason::RelayWanted),
        }
        chooser
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        self.now = self.now.max(now);
        match input {
            Input::Tick => {}
            Input::Failed(attempt, error) => self.failed(attempt, error),
            Input::Established(attempt) => self.established(attempt),
            Input::Lost(attempt) => self.lost(attempt),
            Input::RelayReady(ready) => self.relay_ready(ready),
            Input::Stop => self.stop(),
        }
        self.run_due();
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Output<Transmit, Event> {
        self.outputs.pop_front().unwrap_or_else(|| Output::Timeout(self.deadline()))
    }

    fn deadline(&self) -> Instant {
        match &self.state {
            State::Dialling(dials) if dials.next < self.config.addresses.len() => {
                dials.next_at.min(dials.until)
            }
            State::Dialling(dials) => dials.until,
            State::Punching(at)
            | State::AwaitingRelay(at)
            | State::OpeningCircuit(_, at)
            | State::Pausing(at) => *at,
            State::Direct(_) | State::Relayed(_) | State::Finished => Instant::NEVER,
        }
    }

    fn run_due(&mut self) {
        if self.now < self.deadline() {
            return;
        }
        match &self.state {
            State::Dialling(dials) if self.now < dials.until => self.dial_next(),
            State::Dialling(_) => self.dialling_over(),
            State::Punching(_) => self.enter_relay(),
            State::AwaitingRelay(_) => self.circuit_failed(DialError::Unreachable),
            State::OpeningCircuit(attempt, _) => {
                self.transmit(Transmit::Abandon(*attempt));
                self.circuit_failed(DialError::Other("the circuit timed out".into()));
            }
            State::Pausing(_) => self.enter_relay(),
            State::Direct(_) | State::Relayed(_) | State::Finished => {}
        }
    }

    // Dialling.

    fn enter_dialling(&mut self) {
        if self.config.addresses.is_empty() {
            return self.leave_direct(Reason::NoAddress);
        }
        self.state = State::Dialling(Dials {
            pending: Vec::new(),
            next: 0,
            next_at: self.now,
            until: self.now + DIRECT_TIMEOUT,
            error: None,
        });
        self.dial_next();
    }

    fn dial_next(&mut self) {
        let attempt = self.attempt();
        let State::Dialling(dials) = &mut self.state else { return };
        let Some(address) = self.config.addresses.get(dials.next) else { return };
        dials.pending.push(attempt);
        dials.next += 1;
        dials.next_at = self.now + DIAL_STAGGER;
        let address = *address;
        self.transmit(Transmit::Dial(attempt, address));
    }

    fn dial_failed(&mut self, attempt: Attempt, error: DialError) {
        let State::Dialling(dials) = &mut self.state else { return };
        let Some(place) = dials.pending.iter().position(|pending| *pending == attempt) else {
            return;
        };
        dials.pending.remove(place);
        if error != DialError::Refused {
            dials.error.get_or_insert(error);
        }
        if !dials.pending.is_empty() {
            return;
        }
        if dials.next < self.config.addresses.len() {
            self.dial_next();
        } else {
            self.dialling_over();
        }
    }

    /// All dials failed, or the time is up.
    fn dialling_over(&mut self) {
        let State::Dialling(dials) = &mut self.state else { return };
        let dialled = dials.next;
        let timed_out = !dials.pending.is_empty();
        let reason = match dials.error.take() {
            _ if timed_out => Reason::DirectTimedOut { dialled },
            Some(error) => Reason::DirectFailed { error, dialled },
            None => Reason::DirectRefused { dialled },
        };
        for attempt in core::mem::take(&mut dials.pending) {
            self.transmit(Transmit::Abandon(attempt));
        }
        self.leave_direct(reason);
    }

    /// Nothing direct any more: on to the punch.
    // spec P1: the relay comes when direct has failed
    fn leave_direct(&mut self, reason: Reason) {
        self.direct = if self.direct_lost { Reason::DirectLost } else { reason };
        if self.config.can_punch && self.config.policy != Policy::Relay {
            // The puncher's own inputs and outputs come with the puncher.
            self.state = State::Punching(self.now + PUNCH_TIMEOUT);
        } else {
            self.enter_relay();
        }
    }

    // The relay.

    fn enter_relay(&mut self) {
        // spec P3
        if self.config.policy == Policy::Direct {
            let direct = Box::new(self.direct.clone());
            self.exhausted(Reason::RelayForbidden { direct });
        } else if !self.config.relay {
            self.exhausted(self.relay_failure(DialError::NotAtRelay));
        } else if self.relay_ready {
            self.open_circuit();
        } else {
            self.state = State::AwaitingRelay(self.now + RELAY_READY_TIMEOUT);
        }
    }

    fn open_circuit(&mut self) {
        let attempt = self.attempt();
        self.state = State::OpeningCircuit(attempt, self.now + CIRCUIT_TIMEOUT);
        self.transmit(Transmit::OpenCircuit(attempt));
    }

    fn relay_ready(&mut self, ready: bool) {
        self.relay_ready = ready;
        match self.state {
            State::AwaitingRelay(_) if ready => self.open_circuit(),
            State::OpeningCircuit(attempt, _) if !ready => {
                self.transmit(Transmit::Abandon(attempt));
                self.state = State::AwaitingRelay(self.now + RELAY_READY_TIMEOUT);
            }
            State::Dialling(_)
            | State::Punching(_)
            | State::AwaitingRelay(_)
            | State::OpeningCircuit(..)
            | State::Pausing(_)
            | State::Direct(_)
            | State::Relayed(_)
            | State::Finished => {}
        }
    }

    /// A circuit did not come about: the end, unless one was lost before and there are retries
    /// left.
    fn circuit_failed(&mut self, error: DialError) {
        if self.relay_chosen && self.circuit_failures < MAX_CIRCUIT_RETRIES {
            self.pause();
        } else {
            self.exhausted(self.relay_failure(error));
        }
    }

    /// Waits before the next circuit: the pause doubles, and a quarter of it is jitter, so that the
    /// peers of a relay that restarts do not come back all at once.
    fn pause(&mut self) {
        let doubled = CIRCUIT_BACKOFF_MIN.saturating_mul(1 << self.circuit_failures.min(16));
        let longest = doubled.min(CIRCUIT_BACKOFF_MAX);
        let jitter = self.rng.below(longest.as_millis() as u64 / 4 + 1);
        self.circuit_failures += 1;
        let pause = longest.saturating_sub(core::time::Duration::from_millis(jitter));
        self.state = State::Pausing(self.now + pause);
    }

    fn relay_failure(&self, error: DialError) -> Reason {
        Reason::RelayFailed { direct: Box::new(self.direct.clone()), error }
    }

    // Answers.

    fn failed(&mut self, attempt: Attempt, error: DialError) {
        match &self.state {
            State::Dialling(_) => self.dial_failed(attempt, error),
            State::OpeningCircuit(current, _) if *current == attempt => self.circuit_failed(error),
            State::Direct(_) | State::Relayed(_) => self.lost(attempt),
            State::OpeningCircuit(..)
            | State::Punching(_)
            | State::AwaitingRelay(_)
            | State::Pausing(_)
            | State::Finished => {}
        }
    }

    fn established(&mut self, attempt: Attempt) {
        match &mut self.state {
            State::Dialling(dials) if dials.pending.contains(&attempt) => {
                for other in core::mem::take(&mut dials.pending) {
                    if other != attempt {
                        self.transmit(Transmit::Abandon(other));
                    }
                }
                self.state = State::Direct(attempt);
                self.event(Event::Chosen(attempt, PathKind::Direct, Reason::DirectConnected));
            }
            State::OpeningCircuit(current, _) if *current == attempt => {
                self.relay_chosen = true;
                self.circuit_failures = 0;
                self.state = State::Relayed(attempt);
                self.event(Event::Chosen(attempt, PathKind::Relay, self.direct.clone()));
            }
            State::Dialling(_)
            | State::OpeningCircuit(..)
            | State::Punching(_)
            | State::AwaitingRelay(_)
            | State::Pausing(_)
            | State::Direct(_)
            | State::Relayed(_)
            | State::Finished => {}
        }
    }

    fn lost(&mut self, attempt: Attempt) {
        match self.state {
            State::Direct(current) if current == attempt => {
                let again = !self.direct_lost;
                self.direct_lost = true;
                if again {
                    self.enter_dialling();
                } else {
                    self.leave_direct(Reason::DirectLost);
                }
            }
            // spec P1b: another circuit, never a dial
            State::Relayed(current) if current == attempt => self.pause(),
            State::Direct(_)
            | State::Relayed(_)
            | State::Dialling(_)
            | State::Punching(_)
            | State::AwaitingRelay(_)
            | State::OpeningCircuit(..)
            | State::Pausing(_)
            | State::Finished => {}
        }
    }

    // The end.

    fn stop(&mut self) {
        match core::mem::replace(&mut self.state, State::Finished) {
            State::Dialling(dials) => {
                for attempt in dials.pending {
                    self.transmit(Transmit::Abandon(attempt));
                }
            }
            State::OpeningCircuit(attempt, _) => self.transmit(Transmit::Abandon(attempt)),
            // A link that carries may have work in the other direction; its owner closes it.
            State::Direct(_)
            | State::Relayed(_)
            | State::Punching(_)
            | State::AwaitingRelay(_)
            | State::Pausing(_)
            | State::Finished => {}
        }
    }

    fn exhausted(&mut self, reason: Reason) {
        self.state = State::Finished;
        self.event(Event::Exhausted(reason));
    }

    fn attempt(&mut self) -> Attempt {
        let attempt = Attempt(self.next_attempt);
        self.next_attempt = self.next_attempt.wrapping_add(1);
        attempt
    }

    fn transmit(&mut self, transmit: Transmit) {
        self.outputs.push_back(Output::Transmit(transmit));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

#[cfg(test)]
mod tests;
