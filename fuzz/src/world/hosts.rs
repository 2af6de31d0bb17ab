//! A machine with one user and one command: its settings and its life.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use towpath_core::id::{ContentKey, PeerId};
use towpath_core::limits::SHUTDOWN_TIMEOUT;
use towpath_core::node::{self, Failure, Sink};
use towpath_core::path::Policy;
use towpath_core::time::Instant;

use super::seen::Seen;
use super::streams::Firewall;
use super::{Ending, Happening, World, address_of};
use crate::content::Content;
use crate::disk::Disk;
use crate::peer::{Config, Peer, Work};
use crate::pipe::Quality;

/// Each host has one thing that it shares or fetches.
pub const CONTENT: ContentKey = ContentKey(0);

/// How long a user waits who has learned to.
const LONG_PATIENCE: Duration = Duration::from_secs(100);

/// What may be received ahead of a pipe's reader.
const MAX_AHEAD_BYTES: u64 = 16 << 20;

/// What a host's user wants.
#[derive(Debug, Clone, Copy)]
pub enum Wish {
    /// Share the content.
    Share,
    /// Fetch it into the store.
    Get(Policy),
    /// Fetch it into a pipe whose reader takes one chunk in this time; `None`: it stops after the
    /// first.
    Pipe(Policy, Option<Duration>),
}

impl Wish {
    /// The path policy of a getter.
    #[must_use]
    pub const fn policy(&self) -> Option<Policy> {
        match self {
            Self::Share => None,
            Self::Get(policy) | Self::Pipe(policy, _) => Some(*policy),
        }
    }
}

/// How a sharer serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    /// As it should.
    Honest,
    /// Every n-th chunk has a wrong byte.
    FalseEvery(u64),
    /// Every n-th chunk has a wrong proof.
    FalseProof(u64),
    /// It says that it has everything, and then that it has not.
    Refuses,
    /// It never answers a request.
    Mute,
    /// From this moment on its source is another one than was shared.
    ChangedAt(Instant),
}

/// A machine with one user and one command.
#[derive(Debug)]
pub struct Host {
    /// What the command is.
    pub wish: Wish,
    /// Its network.
    pub quality: Quality,
    /// What stands before it.
    pub firewall: Firewall,
    /// Whether its network is down.
    pub unplugged: bool,
    /// Addresses that it announces besides its own, before it: of nobody, or of somebody else.
    pub other_addresses: Vec<SocketAddr>,
    /// Time to read or write a chunk.
    pub disk_latency: Duration,
    /// How it serves.
    pub manners: Manners,
    /// Whether it ends when its download is whole, as `get` does, or goes on to serve.
    pub leaves: bool,
    /// How long its user waits for somebody to be online, until that failed a few times.
    pub patience: Option<Duration>,
    /// Its settings.
    pub config: Config,
    /// Its disk, which survives its crashes.
    pub disk: Disk,
    /// What it has seen of its download.
    pub seen: Seen,
    pub(super) content: Arc<Content>,
    pub(super) peer: Option<Peer>,
    pub(super) epoch: u32,
    pub(super) tick_at: Instant,
    pub(super) served: u64,
    pub(super) disk_free_at: Instant,
    /// Bytes of chunks that are being stored.
    pub(super) storing_bytes: u64,
    /// Bytes that the pipe's reader was given.
    pub(super) piped_bytes: u64,
    /// Whether it does not start again.
    pub(super) is_over: bool,
    /// Whether the figures of this run were taken down.
    settled: bool,
    /// While it is frozen: until when, and what waits for it.
    pub(super) frozen: Option<(Instant, VecDeque<Work>)>,
}

impl Host {
    pub(super) fn new(
        wish: Wish,
        quality: Quality,
        config: Config,
        content: &Arc<Content>,
    ) -> Self {
        Self {
            wish,
            quality,
            firewall: Firewall::Open,
            unplugged: false,
            other_addresses: Vec::new(),
            disk_latency: Duration::from_micros(100),
            manners: Manners::Honest,
            leaves: false,
            patience: None,
            config,
            disk: Disk::new(Arc::clone(content)),
            seen: Seen::default(),
            content: Arc::clone(content),
            peer: None,
            epoch: 0,
            tick_at: Instant::NEVER,
            served: 0,
            disk_free_at: Instant::ZERO,
            storing_bytes: 0,
            piped_bytes: 0,
            is_over: false,
            settled: false,
            frozen: None,
        }
    }

    /// What is shared or fetched.
    #[must_use]
    pub const fn content(&self) -> &Arc<Content> {
        &self.content
    }

    /// Whether its command runs.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.peer.is_some()
    }

    /// Who it is, while its command runs or ran.
    #[must_use]
    pub fn peer_id(&self) -> PeerId {
        towpath_core::crypto::public_key(&self.config.secret_key)
    }

    pub(super) const fn epoch(&self) -> u32 {
        self.epoch
    }
}

impl World {
    pub(super) fn start(&mut self, number: usize) -> Result<(), String> {
        let now = self.now;
        let rng = self.rng.fork_numbered("peer", self.numbers);
        let host = &mut self.hosts[number];
        let over = host.is_over || (host.seen.finished_at.is_some() && host.leaves);
        if host.peer.is_some() || over {
            return Ok(());
        }
        host.epoch += 1;
        host.tick_at = Instant::NEVER;
        host.piped_bytes = 0;
        host.storing_bytes = 0;
        host.settled = false;
        host.seen.runs += 1;
        host.seen.started_at.get_or_insert(now);
        for (failure, times) in &host.seen.failed.0 {
            match failure {
                // Somebody has made room.
                Failure::Store(_) => host.disk.room_bytes = u64::MAX,
                // The user has learned to wait.
                Failure::NobodyOnline if *times > 2 => host.patience = Some(LONG_PATIENCE),
                Failure::NobodyOnline | Failure::Unknown => {}
            }
        }
        let epoch = host.epoch;
        host.config.number = host.config.number.wrapping_add(1);
        let mut peer = Peer::new(now, rng, &host.config);
        let mut addresses = host.other_addresses.clone();
        addresses.push(address_of(number));
        peer.input(now, Work::Node(node::Input::Listening { addresses }));
        peer.input(now, Work::Node(host.command()));
        host.peer = Some(peer);
        self.count("start");
        self.plan(now, Happening::Sync(number, epoch));
        // What the peer wanted while it started is carried out now.
        self.with(number, |_| {})
    }

    /// The command ends without a word.
    pub(super) fn stop(&mut self, number: usize, ending: Ending) {
        if self.hosts[number].peer.is_none() {
            return;
        }
        match ending {
            Ending::Killed => {
                self.count("kill");
                self.end(number);
            }
            Ending::Crashed => {
                self.count("crash");
                self.lose_host(number, true);
                self.hosts[number].disk.crash(&mut self.rng);
                self.end(number);
            }
            Ending::Quit => self.quit(number),
        }
    }

    /// The user ends the command: it says goodbye, and must have done so within its time.
    pub(super) fn quit(&mut self, number: usize) {
        self.count("quit");
        self.settle(number);
        let epoch = self.hosts[number].epoch;
        let late = self.now + SHUTDOWN_TIMEOUT + Duration::from_millis(100);
        self.plan(late, Happening::MustBeOver(number, epoch));
        self.say(number, epoch, node::Input::Shutdown);
    }

    /// The process is gone.
    pub(super) fn end(&mut self, number: usize) {
        self.settle(number);
        let host = &mut self.hosts[number];
        host.peer = None;
        host.frozen = None;
        host.epoch += 1;
        self.cut_host(number);
        self.disconnect_relay(number);
    }

    /// It was told to stop, and must have.
    pub(super) fn must_be_over(&mut self, number: usize, epoch: u32) -> Result<(), String> {
        if self.peer(number, epoch).is_none() {
            return Ok(());
        }
        let Some((until, _)) = self.hosts[number].frozen else {
            return Err(format!("host {number} was told to stop, and has not"));
        };
        let late = until + SHUTDOWN_TIMEOUT + Duration::from_millis(100);
        self.plan(late, Happening::MustBeOver(number, epoch));
        Ok(())
    }

    /// The machine sleeps; its disk, its network and the others go on.
    pub(super) fn freeze(&mut self, number: usize, until: Instant) {
        let host = &mut self.hosts[number];
        if host.peer.is_some() && host.frozen.is_none() {
            host.frozen = Some((until, VecDeque::new()));
            self.count("frozen");
            let epoch = self.hosts[number].epoch;
            self.plan(until, Happening::Thaw(number, epoch));
        }
    }

    /// It wakes up, and finds the clock far ahead and everything that came.
    pub(super) fn thaw(&mut self, number: usize, epoch: u32) -> Result<(), String> {
        if self.peer(number, epoch).is_none() {
            return Ok(());
        }
        let Some((_, waiting)) = self.hosts[number].frozen.take() else { return Ok(()) };
        for work in waiting {
            self.input(number, epoch, work)?;
        }
        let now = self.now;
        self.with(number, |peer| peer.tick(now))
    }

    /// Adds the figures of a run that ends to those of the host.
    fn settle(&mut self, number: usize) {
        let host = &mut self.hosts[number];
        if let Some(peer) = &host.peer
            && !std::mem::replace(&mut host.settled, true)
        {
            host.seen.add(&peer.progress(CONTENT));
        }
    }

    /// Figures of a host over all its runs.
    #[must_use]
    pub fn figures(&self, number: usize) -> Seen {
        let host = &self.hosts[number];
        let mut seen = host.seen.clone();
        if let Some(peer) = host.peer.as_ref().filter(|_| !host.settled) {
            seen.add(&peer.progress(CONTENT));
        }
        seen
    }

    /// What must always hold of a host.
    pub(super) fn check(&self, number: usize) -> Result<(), String> {
        let host = &self.hosts[number];
        let Some(peer) = &host.peer else { return Ok(()) };
        let progress = peer.progress(CONTENT);
        if progress.verified_bytes > host.content.length_bytes() {
            return Err(format!("host {number} counts more verified bytes than there are"));
        }
        if let Wish::Pipe(..) = host.wish {
            let ahead = progress.received_bytes.saturating_sub(host.piped_bytes);
            if ahead > MAX_AHEAD_BYTES + host.disk.false_bytes {
                return Err(format!("host {number} received {ahead} bytes ahead of its reader"));
            }
        }
        Ok(())
    }
}

impl Host {
    /// What its user types.
    fn command(&self) -> node::Input {
        let content = &self.content;
        let secret = content.secret.clone();
        let (policy, sink) = match self.wish {
            Wish::Share => {
                return node::Input::Share {
                    content: CONTENT,
                    descriptor: content.descriptor,
                    secret,
                    name: "world".into(),
                    contents: content.contents(),
                };
            }
            Wish::Get(policy) => (policy, Sink::Store),
            Wish::Pipe(policy, _) => (policy, Sink::Ordered),
        };
        node::Input::Get {
            content: CONTENT,
            locator: content.descriptor.locator(secret.as_ref()),
            secret,
            policy,
            sink,
            serve: sink == Sink::Store,
            timeout: self.patience,
        }
    }
}
