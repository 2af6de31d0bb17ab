//! The scheduler of a download, as one of its peers sees it.

use towpath_core::download::{self, ChunkSet, Config, Download, Order, Transmit};
use towpath_core::id::LinkId;
use towpath_core::limits::CHUNK_BYTES;
use towpath_core::output::Output;
use towpath_core::rng::Rng;
use towpath_core::time::Instant;
use towpath_core::wire::Unavailable;

use super::{Input, START, State, Table, bare, tick_time};

/// The peer that the table is about.
const PEER: LinkId = LinkId(1);
/// Another one, which has proven a chunk and asks nobody's chunk.
const OTHER: LinkId = LinkId(2);

struct Scheduler {
    machine: Download,
    now: Instant,
    deadline: Instant,
    /// What the peer was asked for last.
    asked: Option<u64>,
}

impl Scheduler {
    fn new(chunks: u64, order: Order) -> Self {
        let config = Config { chunks, have: ChunkSet::default(), order };
        let machine = Download::new(START, Rng::new([1; 32]), config);
        let mut this = Self { machine, now: START, deadline: START, asked: None };
        this.drain();
        this
    }

    fn put(&mut self, input: download::Input) -> bool {
        self.machine.handle_input(self.now, input);
        true
    }

    fn tick(&mut self) -> bool {
        self.now = tick_time(self.now, self.deadline);
        self.put(download::Input::Tick)
    }

    fn of_asked(&mut self, input: fn(u64) -> download::Input) -> bool {
        self.asked.is_some_and(|chunk| self.put(input(chunk)))
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
                    if let Transmit::Request(PEER, chunk) = transmit {
                        self.asked = Some(chunk);
                    }
                    said.push(bare(&format!("{transmit:?}"), "LinkId"));
                }
                Output::Event(event) => {
                    said.push(bare(&format!("{event:?}"), "LinkId"));
                }
            }
        }
    }

    fn after(mut self, inputs: &[fn(&mut Self) -> bool]) -> Self {
        for put in inputs {
            put(&mut self);
            self.drain();
        }
        self
    }

    fn state(&self) -> String {
        let debug = format!("{:?}", self.machine);
        let has = |text: &str, what: &str| text.contains(what);
        if has(&debug, "finished: true") {
            return "complete".into();
        }
        let (_, peers) = debug.split_once(", peers: {").expect("it shows its peers");
        let Some((_, peer)) = peers.split_once("LinkId(1): Peer {") else {
            let (_, dropped) = debug.split_once("dropped: {").expect("it shows them");
            let dropped = dropped.starts_with("LinkId(1)");
            return if dropped { "dropped" } else { "absent" }.into();
        };
        let peer = peer.split("LinkId(2): Peer {").next().unwrap_or_default();
        let peer = peer.split("dropped: {").next().unwrap_or_default();
        let resting = if has(peer, "resting: true") { "resting" } else { "" };
        let proven = if has(peer, "proven: true") { "proven" } else { "unproven" };
        let doing = if !has(peer, "requests: {}") {
            "asked"
        } else if !has(peer, "storing: 0") {
            "storing"
        } else {
            "idle"
        };
        if resting.is_empty() { format!("{proven}, {doing}") } else { resting.into() }
    }
}

fn join(scheduler: &mut Scheduler) -> bool {
    scheduler.put(download::Input::PeerJoined(PEER))
}

fn all(scheduler: &mut Scheduler) -> bool {
    scheduler.put(download::Input::PeerHasAll(PEER))
}

fn arrived(scheduler: &mut Scheduler) -> bool {
    scheduler.of_asked(|chunk| download::Input::Arrived(PEER, chunk, CHUNK_BYTES))
}

fn stored(scheduler: &mut Scheduler) -> bool {
    scheduler.of_asked(|chunk| download::Input::Stored(PEER, chunk))
}

fn other(scheduler: &mut Scheduler) -> bool {
    scheduler.put(download::Input::PeerJoined(OTHER))
}

fn fresh() -> Scheduler {
    Scheduler::new(3, Order::Sequential { window: 3 })
}

#[test]
fn download() {
    Table {
        name: "download",
        about: "One peer (link 1) of a download of three chunks in order; link 2 is there where \
                the row says so, and has\nnothing. `asked` stands for the chunk that link 1 was \
                asked for last.",
        states: vec![
            State("absent", fresh),
            State("unproven, idle (has nothing)", || fresh().after(&[join])),
            State("unproven, asked", || fresh().after(&[join, all])),
            State("unproven, asked, link 2 there", || fresh().after(&[other, join, all])),
            State("unproven, storing", || fresh().after(&[join, all, arrived])),
            State("proven, asked", || fresh().after(&[join, all, arrived, stored])),
            State("proven, asked, link 2 there", || {
                fresh().after(&[other, join, all, arrived, stored])
            }),
            State("resting", || fresh().after(&[other, join, all, Scheduler::tick])),
            State("dropped", || {
                fresh().after(&[join, all, arrived, |scheduler| {
                    scheduler.of_asked(|chunk| download::Input::False(PEER, chunk, CHUNK_BYTES))
                }])
            }),
            State("complete", || Scheduler::new(0, Order::Rarest)),
        ],
        inputs: inputs(),
        drain: Scheduler::drain,
        state: Scheduler::state,
    }
    .check();
}

fn inputs() -> Vec<Input<Scheduler>> {
    vec![
        Input("Tick at the deadline", Scheduler::tick),
        Input("PeerJoined", join),
        Input("PeerHasAll", all),
        Input("PeerHas(chunk 0)", |scheduler| {
            scheduler.put(download::Input::PeerHas(PEER, 0, vec![0x80]))
        }),
        Input("PeerLeft", |scheduler| scheduler.put(download::Input::PeerLeft(PEER))),
        Input("Progress(asked)", |scheduler| {
            scheduler.of_asked(|chunk| download::Input::Progress(PEER, chunk))
        }),
        Input("Arrived(asked)", arrived),
        Input("Arrived(2, not asked)", |scheduler| {
            scheduler.put(download::Input::Arrived(PEER, 2, CHUNK_BYTES))
        }),
        Input("Stored(asked)", stored),
        Input("False(asked)", |scheduler| {
            scheduler.of_asked(|chunk| download::Input::False(PEER, chunk, CHUNK_BYTES))
        }),
        Input("StoreFailed(asked)", |scheduler| {
            scheduler.of_asked(|chunk| download::Input::StoreFailed(PEER, chunk))
        }),
        Input("Unavailable(asked, not had)", |scheduler| {
            scheduler
                .of_asked(|chunk| download::Input::Unavailable(PEER, chunk, Unavailable::NotHad))
        }),
        Input("Unavailable(asked, read failed)", |scheduler| {
            scheduler.of_asked(|chunk| {
                download::Input::Unavailable(PEER, chunk, Unavailable::ReadFailed)
            })
        }),
        Input("Unavailable(asked, source changed)", |scheduler| {
            scheduler.of_asked(|chunk| {
                download::Input::Unavailable(PEER, chunk, Unavailable::SourceChanged)
            })
        }),
        Input("Unavailable(asked, withdrawn)", |scheduler| {
            scheduler
                .of_asked(|chunk| download::Input::Unavailable(PEER, chunk, Unavailable::Withdrawn))
        }),
        Input("Allowed(false)", |scheduler| scheduler.put(download::Input::Allowed(false))),
    ]
}
