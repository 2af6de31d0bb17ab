//! A peer: what it shares and fetches, with whom, over which path.
//!
//! The root machine of a peer process. It owns a [`crate::path::PathChooser`] for each peer of each
//! download, a [`crate::download::Download`] for each download, and the protocol state of each
//! session (which shares are opened, which requests are open). Sessions, the relay client and the
//! store are outside; they talk to it through inputs and outputs, so that each can run in a task of
//! its own.
//!
//! # How a download goes
//! 1. `Input::Get` → the tracker is asked who has the locator; nobody: `Event::Waiting`, asked
//!    again.
//! 2. For each peer a path chooser; `Transmit::Dial` / `Transmit::OpenCircuit` open links; each
//!    link's session reports `Established`; the node sends `Open` with its proof.
//! 3. `Opened` whose descriptor gives the locator → `Event::Described`. The application checks
//!    space and opens its store, and answers `Input::Begin { space: Root, .. }` with what it has
//!    already.
//! 4. Chunks are requested, come, are stored (`Transmit::StoreChunk` → `Input::ChunkStored`), until
//!    `Event::SpaceComplete`. For a manifest the application then reads it and answers
//!    `Input::Begin { space: Contents, .. }`.
//! 5. After the last space the application finishes the target and says `Input::Finished`; the node
//!    sends `Complete` to the seeders.
//!
//! # How it is made
//! A *content* is a share, or a download (which may serve what it has: then it is both). A *link*
//! is one session; it serves any number of contents, in both directions. A download's *peers* are
//! instances that the tracker named; an active peer has a chooser until a link carries it.
//!
//! Children are never called from within the drain of a child: what they must be told is put on a
//! list of
//! `Work` and done after it, one input and one whole drain at a time, until the list is empty. So
//! an input costs what it touches, and no machine is entered twice.
//!
//! | module | its story |
//! |---|---|
//! | `types` | inputs, transmits, events |
//! | `announce` | token, register, announce, heartbeat, remove; trouble with the tracker |
//! | `contents` | shares and downloads from their beginning to their end |
//! | `fetch` | requests, chunks, blame, order, the limit on downloads |
//! | `peers` | lookups, candidates, path choosers |
//! | `links` | links from stream to end; two links to one instance; limits on strangers |
//! | `opens` | the proof that opens a share, from both sides |
//! | `returns` | asking those who fetch from us |
//! | `serve` | requests of others, the limit on uploads, receivers, telling of new chunks |
//! | `turns` | whose turn it is to be sent a chunk |
//! | `have` | sets of chunks |
//! | `waste` | what others made us receive for nothing |

mod announce;
mod contents;
mod fetch;
mod have;
mod links;
mod opens;
mod peers;
mod returns;
mod serve;
#[cfg(test)]
mod tests;
mod turns;
mod types;
mod waste;

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::time::Duration;

use self::announce::Tracker;
use self::contents::Content;
use self::fetch::Allowance;
use self::links::Links;
use self::serve::Upload;
pub use self::types::{
    CallId, Config, ContentsShape, Event, Failure, IncomingFrom, Input, PeerDropReason, Progress,
    Sink, StoreResult, Transmit,
};
use self::waste::Waste;
use crate::close::{CloseReason, LocalClose};
use crate::counters::Counters;
use crate::deadlines::Deadlines;
use crate::id::{ContentKey, Instance, LinkId, Locator};
use crate::limits::SHUTDOWN_TIMEOUT;
use crate::output::Output;
use crate::rng::Rng;
use crate::session;
use crate::time::Instant;
use crate::{download, path};

/// A peer.
#[derive(Debug)]
pub struct Node {
    now: Instant,
    config: Config,
    /// Draws jitter; children are forked from it by `children`, which only grows.
    rng: Rng,
    children: u64,
    phase: Phase,
    out: VecDeque<Output<Transmit, Event>>,
    work: VecDeque<Work>,
    timers: Deadlines<Timer>,
    counters: Counters,
    contents: BTreeMap<ContentKey, Content>,
    by_locator: BTreeMap<Locator, BTreeSet<ContentKey>>,
    links: Links,
    tracker: Tracker,
    upload: Upload,
    allowance: Allowance,
    /// Instances that sent a false chunk.
    banned: BTreeSet<Instance>,
    waste: Waste,
}

/// How far the node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    /// Goodbyes are on their way.
    Stopping,
    /// Finished: swallows everything.
    Stopped,
}

/// What a child is to be told; see the head of this file.
#[derive(Debug)]
enum Work {
    Path(ContentKey, Instance, path::Input),
    Download(ContentKey, download::Input),
}

/// Why a deadline stands in the queue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// When to try the tracker again after an error.
    Announce,
    /// When to tell the tracker that we are still here.
    Heartbeat,
    /// When to worry that the relay has not let us in.
    Login,
    /// When to ask again who has it.
    Lookup(ContentKey),
    /// When to give up because nobody is online.
    GiveUp(ContentKey),
    /// When a peer may be tried again.
    Rest(ContentKey, Instance),
    /// When a path chooser wants a tick.
    Chooser(ContentKey, Instance),
    /// When a download wants a tick.
    Download(ContentKey),
    /// When to tell receivers of new chunks.
    Haves(ContentKey),
    /// When to report the progress of receivers.
    Receivers(ContentKey),
    /// When an `Open` must have been answered.
    Answer(LinkId),
    /// When to close a link that is used for nothing.
    Idle(LinkId),
    /// When to close a superseded link, used or not.
    Retire(LinkId),
    /// When the upload limit lets the next chunk pass.
    Upload,
    /// When the download limit lets more requests go out.
    Allow,
    /// When to stop without having heard from everybody.
    Stop,
}

impl Node {
    /// A node that shares and fetches nothing yet.
    #[must_use]
    pub fn new(now: Instant, rng: Rng, config: Config) -> Self {
        Self {
            now,
            rng,
            children: 0,
            phase: Phase::Running,
            out: VecDeque::new(),
            work: VecDeque::new(),
            timers: Deadlines::default(),
            counters: Counters::default(),
            contents: BTreeMap::new(),
            by_locator: BTreeMap::new(),
            links: Links::default(),
            tracker: Tracker::default(),
            upload: Upload::new(now, config.limit_up_bytes_per_second),
            allowance: Allowance::new(now, config.limit_down_bytes_per_second),
            banned: BTreeSet::new(),
            waste: Waste::default(),
            config,
        }
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Instant, input: Input) {
        if self.phase == Phase::Stopped {
            return;
        }
        self.now = self.now.max(now);
        while let Some(timer) = self.timers.pop_due(self.now) {
            self.on_timer(timer);
            self.settle();
        }
        match self.phase {
            Phase::Running => self.on_input(input),
            Phase::Stopping => self.on_last_input(input),
            Phase::Stopped => {}
        }
        self.settle();
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Output<Transmit, Event> {
        match self.out.pop_front() {
            Some(output) => output,
            None => Output::Timeout(self.timers.next()),
        }
    }

    /// How far a download is; all zero for what is not one.
    #[must_use]
    pub fn progress(&self, content: ContentKey) -> Progress {
        self.contents
            .get(&content)
            .and_then(|content| content.fetch.as_ref())
            .map(|fetch| Progress { peers: fetch.joined.len(), ..fetch.progress.clone() })
            .unwrap_or_default()
    }

    /// Links that it knows: those that are being opened or closed included.
    #[must_use]
    pub fn link_count(&self) -> usize {
        self.links.table.len()
    }

    /// What was dropped without an answer, by reason.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    fn on_input(&mut self, input: Input) {
        match input {
            Input::Tick => {}
            Input::Share { content, descriptor, secret, name, contents } => {
                self.on_share(content, descriptor, secret, name, contents);
            }
            Input::Get { content, locator, secret, policy, sink, serve, timeout } => {
                let wish = contents::Wish { policy, sink, serve, timeout };
                self.on_get(content, locator, secret, wish);
            }
            Input::Begin { content, space, shape, have } => {
                self.on_begin(content, space, shape, have);
            }
            Input::Finished(content) => self.on_finished(content),
            Input::Stop(content) => self.on_stop(content),
            Input::Shutdown => self.on_shutdown(),
            Input::Listening { addresses } => self.on_listening(addresses),
            Input::Incoming { incoming, from } => self.on_incoming(incoming, from),
            Input::DialFailed { link, error } => self.on_dial_failed(link, error),
            Input::Session { link, event } => self.on_session(link, event),
            Input::Relay { token } => self.on_relay(token),
            Input::Reply { call, result } => self.on_reply(call, result),
            Input::ChunkStored { content, chunk, link, result, buffer } => {
                self.on_chunk_stored(content, chunk, link, result, buffer);
            }
            Input::StoreBroke { content, why } => self.fail(content, Failure::Store(why)),
            Input::Delivered { content, chunk, buffer } => {
                self.on_delivered(content, chunk, buffer);
            }
        }
    }

    /// While goodbyes are on their way only the ends of links, calls and the login matter.
    fn on_last_input(&mut self, input: Input) {
        match input {
            Input::Incoming { incoming, .. } => self.transmit(Transmit::Refuse { incoming }),
            Input::DialFailed { link, .. }
            | Input::Session { link, event: session::Event::Closed(_) } => {
                self.forget_link(link);
            }
            Input::Reply { call, result } => self.on_reply(call, result),
            Input::Relay { token } => self.tracker.token = token,
            Input::Tick
            | Input::Share { .. }
            | Input::Get { .. }
            | Input::Begin { .. }
            | Input::Finished(_)
            | Input::Stop(_)
            | Input::Shutdown
            | Input::Listening { .. }
            | Input::Session { .. }
            | Input::ChunkStored { .. }
            | Input::StoreBroke { .. }
            | Input::Delivered { .. } => {}
        }
        self.stop_if_all_is_said();
    }

    fn on_timer(&mut self, timer: Timer) {
        match timer {
            Timer::Announce => self.advance_tracker(),
            Timer::Heartbeat => self.send_heartbeat(),
            Timer::Login => self.on_no_login(),
            Timer::Lookup(content) => self.send_lookup(content),
            Timer::GiveUp(content) => self.on_nobody_came(content),
            Timer::Rest(content, instance) => self.on_rested(content, instance),
            Timer::Chooser(content, instance) => {
                self.work.push_back(Work::Path(content, instance, path::Input::Tick));
            }
            Timer::Download(content) => {
                self.work.push_back(Work::Download(content, download::Input::Tick));
            }
            Timer::Haves(content) => self.tell_haves(content),
            Timer::Receivers(content) => self.tell_receivers(content),
            Timer::Answer(link) => self.on_no_answer(link),
            Timer::Idle(link) => self.on_idle(link),
            Timer::Retire(link) => self.on_retire(link),
            Timer::Upload => {}
            Timer::Allow => self.pay_allowance(),
            Timer::Stop => self.stop(),
        }
    }

    /// Does what is left to do for children, until nothing is.
    fn settle(&mut self) {
        while let Some(work) = self.work.pop_front() {
            match work {
                Work::Path(content, instance, input) => self.drive_path(content, instance, input),
                Work::Download(content, input) => self.drive_download(content, input),
            }
        }
        self.pump_upload();
    }

    fn on_shutdown(&mut self) {
        self.phase = Phase::Stopping;
        self.work.clear();
        for content in self.contents.values_mut() {
            content.fetch = None;
        }
        let links: alloc::vec::Vec<LinkId> = self.links.table.keys().copied().collect();
        for link in links {
            self.say_goodbye(link);
        }
        self.upload.clear();
        self.timers = Deadlines::default();
        self.set_timer(Timer::Stop, SHUTDOWN_TIMEOUT);
        self.send_remove();
        self.stop_if_all_is_said();
    }

    fn say_goodbye(&mut self, link: LinkId) {
        let reason = CloseReason::Local(LocalClose::Stopped);
        match self.links.table.get(&link).map(|link| &link.state) {
            Some(links::State::Up { .. }) => {
                self.command(link, session::Command::Close(reason));
            }
            Some(links::State::Connecting) => {
                self.transmit(Transmit::Abandon { link });
                self.forget_link(link);
            }
            Some(links::State::Closing) | None => {}
        }
    }

    /// The relay client leaves when everything that was said through it is out, and says so.
    fn stop_if_all_is_said(&mut self) {
        let said = self.links.table.is_empty() && !self.tracker.is_removing();
        if self.phase == Phase::Stopping && said {
            self.want_relay(false);
            if self.tracker.token.is_none() {
                self.stop();
            }
        }
    }

    fn stop(&mut self) {
        let left: alloc::vec::Vec<LinkId> = self.links.table.keys().copied().collect();
        for link in left {
            self.transmit(Transmit::Abandon { link });
            self.forget_link(link);
        }
        self.want_relay(false);
        self.timers = Deadlines::default();
        self.contents.clear();
        self.by_locator.clear();
        self.event(Event::Stopped);
        self.phase = Phase::Stopped;
    }

    // What every story uses.

    fn transmit(&mut self, transmit: Transmit) {
        self.out.push_back(Output::Transmit(transmit));
    }

    fn event(&mut self, event: Event) {
        self.out.push_back(Output::Event(event));
    }

    fn command(&mut self, link: LinkId, command: session::Command) {
        self.transmit(Transmit::Session { link, command });
    }

    fn say(&mut self, link: LinkId, message: crate::wire::Message) {
        self.command(link, session::Command::Send(message));
    }

    fn set_timer(&mut self, timer: Timer, after: Duration) {
        let at = self.now + after;
        self.set_timer_at(timer, at);
    }

    /// A deadline that is always later than now, whatever a child says: drivers must not spin.
    fn set_timer_at(&mut self, timer: Timer, at: Instant) {
        let soonest = self.now + Duration::from_nanos(1);
        self.timers.set(timer, at.max(soonest));
    }

    /// `duration`, shortened by up to a quarter, so that peers do not knock in step.
    fn jitter(&mut self, duration: Duration) -> Duration {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(nanos - self.rng.below(nanos / 4 + 1))
    }

    fn child_rng(&mut self, label: &'static str) -> Rng {
        self.children += 1;
        self.rng.fork_numbered(label, self.children)
    }
}
