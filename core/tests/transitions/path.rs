//! The chooser of paths, on its way from the first dial to the relay.

use std::net::SocketAddr;

use towpath_core::output::Output;
use towpath_core::path::{self, Attempt, DialError, PathChooser, Policy, Transmit};
use towpath_core::rng::Rng;
use towpath_core::time::Instant;

use super::{Input, START, State, Table, bare, tick_time};

struct Chooser {
    machine: PathChooser,
    now: Instant,
    deadline: Instant,
    /// The last attempt that it wanted.
    last: Attempt,
}

impl Chooser {
    fn new(policy: Policy, can_punch: bool) -> Self {
        let addresses = [1, 2].map(|port| SocketAddr::from(([192, 0, 2, 1], port))).to_vec();
        let config = path::Config { policy, can_punch, addresses, relay: true };
        let machine = PathChooser::new(START, Rng::new([1; 32]), config);
        let mut this = Self { machine, now: START, deadline: START, last: Attempt(99) };
        this.drain();
        this
    }

    fn put(&mut self, input: path::Input) -> bool {
        self.machine.handle_input(self.now, input);
        true
    }

    fn tick(&mut self) -> bool {
        self.now = tick_time(self.now, self.deadline);
        self.put(path::Input::Tick)
    }

    fn drain(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            match self.machine.poll_output() {
                Output::Timeout(at) => {
                    self.deadline = at;
                    return said;
                }
                Output::Transmit(transmit) => {
                    if let Transmit::Dial(attempt, _) | Transmit::OpenCircuit(attempt) = transmit {
                        self.last = attempt;
                    }
                    said.push(bare(&format!("{transmit:?}"), "Attempt"));
                }
                Output::Event(path::Event::Chosen(attempt, kind, reason)) => {
                    said.push(format!("Chosen({}, {kind}: {reason})", attempt.0));
                }
                Output::Event(path::Event::Exhausted(reason)) => {
                    said.push(format!("Exhausted({reason})"));
                }
            }
        }
    }

    /// These inputs, each drained.
    fn after(mut self, inputs: &[fn(&mut Self) -> bool]) -> Self {
        for put in inputs {
            put(&mut self);
            self.drain();
        }
        self
    }

    fn state(&self) -> String {
        let debug = format!("{:?}", self.machine);
        let (_, rest) = debug.split_once("state: ").expect("it shows its state");
        rest.chars().take_while(char::is_ascii_alphabetic).collect()
    }
}

fn established(chooser: &mut Chooser) -> bool {
    chooser.put(path::Input::Established(chooser.last))
}

fn refused(chooser: &mut Chooser) -> bool {
    chooser.put(path::Input::Failed(chooser.last, DialError::Refused))
}

fn lost(chooser: &mut Chooser) -> bool {
    chooser.put(path::Input::Lost(chooser.last))
}

fn ready(chooser: &mut Chooser) -> bool {
    chooser.put(path::Input::RelayReady(true))
}

fn direct() -> Chooser {
    Chooser::new(Policy::Sequential, false)
}

fn relayed() -> Chooser {
    Chooser::new(Policy::Relay, false).after(&[ready, established])
}

#[test]
fn path_chooser() {
    Table {
        name: "path-chooser",
        about: "One chooser of policy `sequential` with two addresses, from the first dial to the \
                relay; rows that say so\nhave policy `relay`, or a puncher. Attempts are numbered \
                in the order in which they were wanted.",
        states: vec![
            State("Dialling the first", direct),
            State("Dialling both", || direct().after(&[Chooser::tick])),
            State("Dialling again, after a loss", || direct().after(&[established, lost])),
            State("Punching (a puncher)", || {
                Chooser::new(Policy::Sequential, true).after(&[refused, refused])
            }),
            State("AwaitingRelay", || direct().after(&[refused, refused])),
            State("OpeningCircuit, the first", || direct().after(&[refused, refused, ready])),
            State("OpeningCircuit again, after a loss (relay)", || {
                relayed().after(&[lost, Chooser::tick])
            }),
            State("Pausing (relay)", || relayed().after(&[lost])),
            State("Direct", || direct().after(&[established])),
            State("Relayed (relay)", relayed),
            State("Finished", || direct().after(&[|chooser| chooser.put(path::Input::Stop)])),
        ],
        inputs: vec![
            Input("Tick at the deadline", Chooser::tick),
            Input("Established(the last attempt)", established),
            Input("Established(nobody's attempt)", |chooser| {
                chooser.put(path::Input::Established(Attempt(77)))
            }),
            Input("Failed(the last attempt, refused)", refused),
            Input("Failed(the last attempt, unreachable)", |chooser| {
                chooser.put(path::Input::Failed(chooser.last, DialError::Unreachable))
            }),
            Input("Failed(nobody's attempt, refused)", |chooser| {
                chooser.put(path::Input::Failed(Attempt(77), DialError::Refused))
            }),
            Input("Lost(the last attempt)", lost),
            Input("RelayReady(true)", ready),
            Input("RelayReady(false)", |chooser| chooser.put(path::Input::RelayReady(false))),
            Input("Stop", |chooser| chooser.put(path::Input::Stop)),
        ],
        drain: Chooser::drain,
        state: Chooser::state,
    }
    .check();
}
