//! The clock, the network and everything that happens.
//!
//! One queue of happenings, ordered by time and then by the order in which they were planned.
//! Taking the next one moves the clock; handing it to a peer or to the hub brings
//! [`Effect`](crate::peer::Effect)s, which plan more. After every happening the invariants are
//! checked.
//!
//! | module | its story |
//! |---|---|
//! | `plan` | the queue, and what scenarios plan |
//! | `act` | inputs and ticks of machines |
//! | `checks` | what must hold after each of them |
//! | `hosts` | machines: their settings and their lives |
//! | `errands` | what they share and fetch |
//! | `seen` | what they have seen |
//! | `application` | what a peer wants of its machine: disk, pipe, application |
//! | `fiends` | adversaries, where honest peers would stand |
//! | `streams` | TCP, and the firewalls before hosts |
//! | `relay` | WebSockets and the hub |
//! | `wires` | who may send when |
//! | `walls` | who cannot reach whom |
//! | `clocks` | what clocks show |

mod act;
mod application;
mod checks;
mod clocks;
mod errands;
mod fiends;
mod hosts;
mod plan;
mod relay;
mod seen;
pub(crate) mod streams;
mod walls;
mod wires;

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use towpath_core::id::{ChunkRef, ContentKey, LinkId};
use towpath_core::node::{self, CallId};
use towpath_core::rng::Rng;
use towpath_core::time::{Instant, UnixTime};
use towpath_core::tracker_api::{CallError, Request, Response};
use towpath_core::wire::RequestId;

use self::application::Arrived;
use self::plan::Planned;
use crate::content::Content;
use crate::oracle::Watch;
use crate::peer::{Config, Peer, Tells, Work};
use crate::pipe::Quality;
use crate::trace::Trace;
use crate::tracker::{Directory, Mood};

pub use errands::{Errand, Wish};
pub use hosts::{Host, Manners};
pub use seen::{Seen, Tally};
pub use streams::Firewall;
pub use walls::Wall;
pub use wires::Place;

/// Something planned.
#[derive(Debug)]
enum Happening {
    Start(usize),
    Stop(usize, Ending),
    /// It ends for good.
    BowOut(usize, Ending),
    /// It was told to stop, and must have.
    MustBeOver(usize, u32),
    Unplug(usize, bool),
    Freeze(usize, Instant),
    Thaw(usize, u32),
    Tick(usize, u32),
    Streams(streams::Happening),
    Relay(relay::Happening),
    Wires(wires::Happening),
    Walls(walls::Happening),
    Clock(clocks::Happening),
    Call(usize, u32, CallId, Request, Option<String>),
    Reply(usize, u32, CallId, Result<Response, CallError>),
    Read(usize, u32, LinkId, RequestId, (ContentKey, ChunkRef)),
    Store(usize, u32, Arrived),
    Sync(usize, u32),
    /// The application of a host says something to its peer.
    Say(usize, u32, node::Input),
    Tracker(bool),
    /// The tracker forgets what it keeps in memory, or only its hub does.
    Restart(Restart),
    /// An errand is withdrawn, or taken up again.
    Withdraw(usize, usize),
    TakeUp(usize, usize),
    Mood(Mood),
}

/// How wide the lines of a story are.
const STORY_COLUMNS: usize = 96;

/// How a command ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// `kill -9`: what was written stays, and the machine ends its streams.
    Killed,
    /// The machine crashes: what was not synced may be torn, and nobody is told.
    Crashed,
    /// The user ends it: it says goodbye.
    Quit,
}

/// What starts again, with all that it had in memory lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// The directory: who is online.
    Directory,
    /// The hub: all connections and circuits.
    Hub,
}

/// A fault that is planted to see whether the world finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// Disks believe every chunk.
    TrustingDisk,
    /// Clocks stop for good now and then.
    LostTicks,
    /// Nobody hears that his bytes have left.
    NoSent,
    /// A piece is lost now and then, and not sent again.
    LostPieces,
    /// A disk has forgotten what it holds when the command starts again.
    ForgottenJournal,
    /// After a crash a disk believes that what was written was synced.
    WrittenIsSynced,
}

/// More happenings than any scenario needs: whoever makes them turns in a circle.
const MAX_HAPPENINGS: u64 = 20_000_000;

/// The world.
pub struct World {
    /// Its clock.
    pub now: Instant,
    /// The tracker's wall clock, which is set now and then.
    pub wall_clock: UnixTime,
    /// Its machines.
    pub hosts: Vec<Host>,
    /// How often each thing happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// Everything that happened, hashed.
    pub trace: Trace,
    /// How much of the machines' talk is written down.
    pub tells: Tells,
    /// What was written down: one line for each thing.
    pub story: String,
    /// Prints every happening.
    pub verbose: bool,
    /// What is planted.
    pub plant: Option<Plant>,
    /// All bytes that the hub may hold for slow receivers.
    pub hub_budget_bytes: usize,
    /// When a sharer left, and others had all of its share together.
    pub inherited_at: Instant,
    /// Whether machines are now and then ticked before their time. Not in every world, because that
    /// would hide deadlines that are forgotten.
    pub(crate) ticks_early: bool,
    /// Whether clocks go back a little now and then.
    pub(crate) jitters: bool,
    /// Whether streams are read byte by byte at first.
    pub(crate) shreds: bool,
    /// Whether bits were changed on the way.
    damaged: bool,
    rng: Rng,
    queue: BinaryHeap<Planned>,
    numbers: u64,
    directory: Directory,
    streams: streams::Streams,
    relay: relay::Relay,
    wires: wires::Wires,
    walls: walls::Walls,
    tracker_up: bool,
    watch: Watch,
}

impl World {
    /// A world with a tracker and nobody else.
    #[must_use]
    pub fn new(mut rng: Rng, hub_budget_bytes: usize) -> Self {
        let relay = relay::Relay::new(&mut rng);
        let directory = Directory::new(relay.token_key, rng.fork("directory", 0));
        let ticks_early = rng.below(4) == 0;
        let mut world = Self {
            now: Instant::ZERO,
            wall_clock: UnixTime(1_000_000_000),
            hosts: Vec::new(),
            counts: BTreeMap::new(),
            trace: Trace::default(),
            tells: Tells::Nothing,
            story: String::new(),
            verbose: false,
            plant: None,
            hub_budget_bytes,
            inherited_at: Instant::ZERO,
            ticks_early,
            jitters: false,
            shreds: false,
            damaged: false,
            rng,
            queue: BinaryHeap::new(),
            numbers: 0,
            directory,
            streams: streams::Streams::default(),
            relay,
            wires: wires::Wires::default(),
            walls: walls::Walls::default(),
            tracker_up: false,
            watch: Watch::default(),
        };
        world.tracker(true);
        world
    }

    /// Adds a machine with one errand, which is off.
    pub fn add(&mut self, wish: Wish, quality: Quality, content: &Arc<Content>) -> usize {
        let number = self.add_host(quality);
        self.hosts[number].errands.push(Errand::new(wish, content));
        number
    }

    fn add_host(&mut self, quality: Quality) -> usize {
        let number = self.hosts.len();
        let mut secret_key = [0; 32];
        for part in secret_key.chunks_mut(8) {
            part.copy_from_slice(&self.rng.next_u64().to_be_bytes());
        }
        let config = Config {
            secret_key,
            number: self.rng.next_u64(),
            prefer_aes: self.rng.below(2) == 0,
            limit_up: None,
            limit_down: None,
        };
        self.hosts.push(Host::new(quality, config));
        number
    }

    /// Gives a machine one more errand.
    pub fn add_errand(&mut self, host: usize, wish: Wish, content: &Arc<Content>) {
        self.hosts[host].errands.push(Errand::new(wish, content));
    }

    /// Ends the command of a host now, with goodbyes and for good.
    pub fn quit_now(&mut self, host: usize) {
        self.hosts[host].is_over = true;
        self.stop(host, Ending::Quit);
    }

    /// Lets time pass until `end`, or until `done` says so.
    ///
    /// # Errors
    /// The invariant that does not hold any more.
    pub fn run(&mut self, end: Instant, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        while !done(self) {
            if self.queue.peek().is_none_or(|planned| planned.at > end) {
                self.now = end;
                return Ok(());
            }
            if self.numbers > MAX_HAPPENINGS {
                return Err(format!(
                    "{MAX_HAPPENINGS} things happened: somebody turns in a circle"
                ));
            }
            let Some(planned) = self.queue.pop() else { return Ok(()) };
            self.now = planned.at;
            self.trace.number(planned.at.as_nanos());
            self.trace.number(planned.number);
            if self.verbose {
                eprintln!("{:?} {}", self.now, short(&planned.what));
            }
            self.happen(planned.what)?;
        }
        Ok(())
    }

    /// Writes a line into the story: when, who, which machine, what.
    fn write_down(&mut self, host: usize, machine: &str, what: &str) {
        if self.tells == Tells::Nothing {
            return;
        }
        let at = self.now.since(Instant::ZERO);
        let at = format!("{}.{:06}", at.as_secs(), at.subsec_micros());
        let line = format!("{at:>11}  host {host}  {machine:<7}  {what}");
        // Wide enough for all, so that columns stay columns.
        let line: String = line.chars().take(STORY_COLUMNS).collect();
        let _ = writeln!(self.story, "{line:<STORY_COLUMNS$}|");
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn happen(&mut self, what: Happening) -> Result<(), String> {
        match what {
            Happening::Start(host) => self.start(host)?,
            Happening::Stop(host, ending) => self.stop(host, ending),
            Happening::BowOut(host, ending) => {
                self.hosts[host].is_over = true;
                self.stop(host, ending);
            }
            Happening::MustBeOver(host, epoch) => self.must_be_over(host, epoch)?,
            Happening::Freeze(host, until) => self.freeze(host, until),
            Happening::Thaw(host, epoch) => self.thaw(host, epoch)?,
            Happening::Unplug(host, unplugged) => self.unplug(host, unplugged),
            Happening::Tick(host, epoch) => self.tick(host, epoch)?,
            Happening::Streams(what) => self.stream_happens(what)?,
            Happening::Relay(what) => self.relay_happens(what)?,
            Happening::Wires(what) => self.wire_happens(what),
            Happening::Walls(what) => self.wall_happens(what),
            Happening::Clock(what) => self.clock_happens(what),
            Happening::Call(host, epoch, call, request, token) => {
                self.call(host, epoch, call, &request, token.as_deref());
            }
            Happening::Reply(host, epoch, call, result) => {
                self.input(host, epoch, Work::Node(node::Input::Reply { call, result }))?;
            }
            Happening::Read(host, epoch, link, request, chunk) => {
                self.read(host, epoch, link, request, chunk)?;
            }
            Happening::Store(host, epoch, arrived) => self.store(host, epoch, arrived)?,
            Happening::Sync(host, epoch) => {
                if self.peer(host, epoch).is_some() {
                    for errand in &mut self.hosts[host].errands {
                        errand.disk.sync();
                    }
                    let clock = self.clock(host);
                    if self.ticks_early && self.hosts[host].frozen.is_none() {
                        self.with(host, |peer| peer.tick_early(clock))?;
                    }
                    let next = self.now + Duration::from_millis(700);
                    self.plan(next, Happening::Sync(host, epoch));
                }
            }
            Happening::Say(host, epoch, input) => self.input(host, epoch, Work::Node(input))?,
            Happening::Tracker(up) => self.tracker(up),
            Happening::Restart(what) => self.restart(what),
            Happening::Withdraw(host, errand) => self.withdraw(host, errand)?,
            Happening::TakeUp(host, errand) => self.take_up(host, errand)?,
            Happening::Mood(mood) => {
                if mood != Mood::Honest {
                    self.count("tracker in a mood");
                }
                self.directory.mood = mood;
            }
        }
        Ok(())
    }

    fn unplug(&mut self, host: usize, unplugged: bool) {
        self.hosts[host].unplugged = unplugged;
        if unplugged {
            self.count("unplugged");
            self.lose_host(host, false);
        }
    }

    fn tracker(&mut self, up: bool) {
        if self.tracker_up == up {
            return;
        }
        self.tracker_up = up;
        self.directory.restart();
        if up {
            self.start_hub();
        } else {
            self.count("tracker down");
            self.stop_hub();
        }
    }

    fn restart(&mut self, what: Restart) {
        match what {
            Restart::Directory => {
                self.count("directory restarted");
                self.directory.restart();
            }
            Restart::Hub if self.tracker_up => {
                self.count("hub restarted");
                self.stop_hub();
                self.start_hub();
            }
            Restart::Hub => {}
        }
    }

    /// What must hold when nobody wants anything: no link, no circuit, no byte held.
    ///
    /// # Errors
    /// What is left.
    pub fn check_calm(&self) -> Result<(), String> {
        for (number, host) in self.hosts.iter().enumerate() {
            let links = host.peer.as_ref().map_or(0, Peer::links);
            if links > 0 {
                let peer = host.peer.as_ref().map(Peer::describe_links);
                return Err(format!("host {number} has {links} links left: {peer:?}"));
            }
        }
        self.check_calm_hub()
    }

    /// Hosts whose downloads are not whole, of those that are wanted.
    #[must_use]
    pub fn unfinished(&self, wanted: &BTreeSet<usize>) -> Vec<usize> {
        wanted.iter().filter(|number| !self.hosts[**number].is_done()).copied().collect()
    }
}

/// Where a host listens.
///
/// # Panics
/// There are less than 250 hosts.
#[must_use]
pub fn address_of(number: usize) -> SocketAddr {
    let low = u8::try_from(number).expect("few hosts");
    SocketAddr::from(([10, 0, 0, low], 4_000))
}

fn short(what: &Happening) -> String {
    let mut text = format!("{what:?}");
    if let Some((end, _)) = text.char_indices().nth(160) {
        text.truncate(end);
    }
    text
}
