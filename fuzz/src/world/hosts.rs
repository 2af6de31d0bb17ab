//! A machine with one user and one command: its settings, its disk, and the application around its
//! peer.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use towpath_core::download::{ChunkSet, DropReason};
use towpath_core::id::{ChunkRef, ContentKey, Hash, Kind, LinkId, PeerId, Space};
use towpath_core::limits::{CHUNK_BYTES, MAX_OUTSTANDING_BYTES};
use towpath_core::node::{self, Event, Failure, PeerDropReason, Progress, Sink, StoreResult};
use towpath_core::path::{PathKind, Policy};
use towpath_core::session::{self, ChunkFrame};
use towpath_core::time::Instant;
use towpath_core::wire::{RequestId, Unavailable};

use super::streams::Firewall;
use super::{Ending, Happening, World, address_of};
use crate::content::Content;
use crate::disk::Disk;
use crate::peer::{Config, Effect, Peer, Work};
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
    served: u64,
    disk_free_at: Instant,
    /// Bytes of chunks that are being stored.
    storing_bytes: u64,
    /// Bytes that the pipe's reader was given.
    piped_bytes: u64,
    /// Whether the figures of this run were taken down.
    settled: bool,
}

/// What a host's application has seen.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// When its first run started.
    pub started_at: Option<Instant>,
    /// When its download was whole.
    pub finished_at: Option<Instant>,
    /// How often it was started.
    pub runs: u64,
    /// How often it failed for good.
    pub failed: Tally<Failure>,
    /// Paths that were chosen, why, and how often.
    pub paths: Tally<(PathKind, String)>,
    /// Peers that were dropped, why, and how often.
    pub dropped: Tally<(PeerId, PeerDropReason)>,
    /// Chunk bytes that it received, over all its runs.
    pub received_bytes: u64,
    /// The same by path.
    pub by_path_bytes: [u64; 3],
    /// Bytes that were received and not yet stored when a run ended.
    pub lost_bytes: u64,
    /// Chunk bytes that its disk gave to others.
    pub served_bytes: u64,
    /// Receivers that said they were done.
    pub done: u64,
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
            settled: false,
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

    /// When the disk will have done one chunk more.
    fn disk_time(&mut self, now: Instant) -> Instant {
        self.disk_free_at = self.disk_free_at.max(now) + self.disk_latency;
        self.disk_free_at
    }

    fn read(
        &mut self,
        now: Instant,
        request: RequestId,
        chunk: ChunkRef,
    ) -> Result<ChunkFrame, Unavailable> {
        self.served += 1;
        let data = match self.wish {
            Wish::Share => self.content.chunk(chunk),
            Wish::Get(_) | Wish::Pipe(..) => self.disk.chunk(chunk),
        };
        let data = data.ok_or(Unavailable::NotHad)?;
        self.seen.served_bytes += data.len() as u64;
        let mut data = data.to_vec();
        let mut false_proof = false;
        match self.manners {
            Manners::FalseEvery(n) if self.served.is_multiple_of(n) => data[0] ^= 1,
            Manners::FalseProof(n) => false_proof = self.served.is_multiple_of(n),
            Manners::Refuses => return Err(Unavailable::NotHad),
            Manners::ChangedAt(at) if at <= now => return Err(Unavailable::SourceChanged),
            Manners::Honest | Manners::FalseEvery(_) | Manners::Mute | Manners::ChangedAt(_) => {}
        }
        let frame = self.content.frame(request, chunk, &data);
        let mut frame = frame.ok_or(Unavailable::NotHad)?;
        if false_proof && let Some(byte) = frame.proof_mut().first_mut() {
            *byte ^= 1;
        }
        Ok(frame)
    }
}

impl World {
    pub(super) fn effect(&mut self, host: usize, epoch: u32, effect: Effect) -> Result<(), String> {
        match effect {
            Effect::Dial(link, to) => self.dial(host, epoch, link, to),
            Effect::Cut(link) => self.cut(host, epoch, link),
            Effect::Adopt(number, link) => self.adopt(host, number, link),
            Effect::Refuse(number) => self.refuse(number),
            Effect::Write(link, bytes) => self.write(host, link, bytes)?,
            Effect::Read(link, max) => self.want_read(host, link, max)?,
            Effect::Close(link) => self.close(host, link),
            Effect::Call(call, request, token) => {
                let there = self.now + self.hosts[host].quality.latency;
                self.plan(there, Happening::Call(host, epoch, call, request, token));
            }
            Effect::Connect => self.connect_relay(host, epoch),
            Effect::Message(message) => self.send_to_relay(host, message)?,
            Effect::Disconnect => self.disconnect_relay(host),
            Effect::ReadChunk(link, request, _, chunk) => {
                if self.hosts[host].manners == Manners::Mute {
                    self.count("request left unanswered");
                    return Ok(());
                }
                let at = self.hosts[host].disk_time(self.now);
                self.plan(at, Happening::Read(host, epoch, link, request, chunk));
            }
            Effect::StoreChunk(_, chunk, link, proof, data) => {
                let owner = &mut self.hosts[host];
                owner.storing_bytes += data.len() as u64;
                if owner.storing_bytes > MAX_OUTSTANDING_BYTES {
                    return Err(format!("host {host} holds {} bytes", owner.storing_bytes));
                }
                let at = owner.disk_time(self.now);
                self.plan(at, Happening::Store(host, epoch, chunk, link, proof, data));
            }
            Effect::Deliver(_, chunk, data) => self.deliver(host, epoch, chunk, data)?,
            Effect::Tell(event) => self.tell(host, epoch, event)?,
        }
        Ok(())
    }

    pub(super) fn read(
        &mut self,
        number: usize,
        epoch: u32,
        link: LinkId,
        request: RequestId,
        chunk: ChunkRef,
    ) -> Result<(), String> {
        let host = &mut self.hosts[number];
        let result = host.read(self.now, request, chunk);
        match (host.manners, &result) {
            (Manners::ChangedAt(_), Err(Unavailable::SourceChanged)) => {
                self.count("source changed");
            }
            (Manners::Refuses, _) => self.count("request refused"),
            _ => {}
        }
        let input = session::Input::ChunkRead { request, result };
        self.input(number, epoch, Work::Session(link, input))
    }

    pub(super) fn store(
        &mut self,
        number: usize,
        epoch: u32,
        chunk: ChunkRef,
        link: LinkId,
        proof: &[Hash],
        data: BytesMut,
    ) -> Result<(), String> {
        let host = &mut self.hosts[number];
        if host.epoch != epoch || host.peer.is_none() {
            host.seen.lost_bytes += data.len() as u64;
            return Ok(());
        }
        host.storing_bytes -= data.len() as u64;
        let result = host.disk.store(chunk, proof, &data);
        let result = result.map_err(|error| format!("host {number}: {error}"))?;
        let named_before = host.seen.liars();
        match result {
            StoreResult::Written => {}
            StoreResult::False => self.count("false chunk refused"),
            StoreResult::Failed(_) => self.count("disk full"),
        }
        let is_false = result == StoreResult::False;
        let content = CONTENT;
        let input = node::Input::ChunkStored { content, chunk, link, result, buffer: data };
        self.input(number, epoch, Work::Node(input))?;
        if is_false && self.hosts[number].seen.liars() == 0 && named_before == 0 {
            return Err(format!("host {number} refused a false chunk and named nobody"));
        }
        Ok(())
    }

    fn deliver(
        &mut self,
        number: usize,
        epoch: u32,
        chunk: ChunkRef,
        data: BytesMut,
    ) -> Result<(), String> {
        let host = &mut self.hosts[number];
        let expected = host.piped_bytes / CHUNK_BYTES as u64;
        if chunk.index != expected {
            return Err(format!("host {number}: chunk {} out of order", chunk.index));
        }
        if host.content.chunk(chunk) != Some(&data[..]) {
            return Err(format!("host {number}: a wrong byte went to the pipe"));
        }
        host.piped_bytes += data.len() as u64;
        if let Wish::Pipe(_, Some(pause)) = host.wish {
            let at = self.now + pause;
            self.plan(at, Happening::Delivered(number, epoch, chunk, data));
        } else {
            self.count("pipe stopped");
        }
        Ok(())
    }

    /// The application of a host.
    fn tell(&mut self, number: usize, epoch: u32, event: Event) -> Result<(), String> {
        if self.verbose {
            eprintln!("{:?}   host {number}: {event:?}", self.now);
        }
        let host = &mut self.hosts[number];
        match event {
            Event::Described { descriptor, .. } => {
                if descriptor != host.content.descriptor {
                    return Err(format!("host {number} believes another descriptor"));
                }
                self.begin(number, epoch, Space::Root)?;
            }
            Event::SpaceComplete(_, space) => self.space_complete(number, epoch, space)?,
            Event::Failed(_, failure) => {
                host.seen.failed.note(failure);
                self.count("failed, and tried again later");
                self.end(number);
                self.start_at(self.now + Duration::from_secs(3), number);
            }
            Event::Path { path, reason, .. } => host.seen.paths.note((path, reason.to_string())),
            Event::PeerDropped { peer, reason, .. } => host.seen.dropped.note((peer, reason)),
            Event::Receiver { done, .. } => host.seen.done += u64::from(done),
            Event::Stopped => {
                self.count("stopped");
                self.end(number);
            }
            Event::Announced(_)
            | Event::TrackerTrouble(_)
            | Event::Waiting(_)
            | Event::Unreachable { .. } => {}
        }
        Ok(())
    }

    fn begin(&mut self, number: usize, epoch: u32, space: Space) -> Result<(), String> {
        let host = &mut self.hosts[number];
        let have = match host.wish {
            Wish::Share => return Err("a sharer asked what it shares".into()),
            Wish::Get(_) => host.disk.resume(space),
            Wish::Pipe(..) => ChunkSet::empty(host.content.shape(space).chunks),
        };
        let shape = host.content.shape(space);
        let input = node::Input::Begin { content: CONTENT, space, shape, have };
        self.say(number, epoch, input);
        Ok(())
    }

    /// Tells the peer something after what is under way.
    fn say(&mut self, number: usize, epoch: u32, input: node::Input) {
        self.plan(self.now, Happening::Say(number, epoch, input));
    }

    fn space_complete(&mut self, number: usize, epoch: u32, space: Space) -> Result<(), String> {
        let host = &mut self.hosts[number];
        let is_whole = match host.wish {
            Wish::Pipe(..) => host.piped_bytes == host.content.descriptor.length_bytes,
            Wish::Share | Wish::Get(_) => host.disk.is_whole(space),
        };
        if !is_whole {
            return Err(format!("host {number} says complete, and is not whole"));
        }
        host.disk.sync();
        let is_folder = host.content.descriptor.kind == Kind::Manifest;
        if is_folder && space == Space::Root && !matches!(host.wish, Wish::Pipe(..)) {
            self.count("folder described");
            return self.begin(number, epoch, Space::Contents);
        }
        if host.seen.finished_at.is_none() {
            host.seen.finished_at = Some(self.now);
        }
        let leaves = host.leaves;
        self.count("finished");
        self.say(number, epoch, node::Input::Finished(CONTENT));
        if leaves {
            self.quit(number);
        }
        Ok(())
    }

    pub(super) fn start(&mut self, number: usize) -> Result<(), String> {
        let now = self.now;
        let rng = self.rng.fork_numbered("peer", self.numbers);
        let host = &mut self.hosts[number];
        let over = host.seen.finished_at.is_some() && host.leaves;
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
        let addresses = vec![address_of(number)];
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
    fn quit(&mut self, number: usize) {
        self.count("quit");
        self.settle(number);
        let epoch = self.hosts[number].epoch;
        let late = self.now + towpath_core::limits::SHUTDOWN_TIMEOUT + Duration::from_millis(100);
        self.plan(late, Happening::MustBeOver(number, epoch));
        self.say(number, epoch, node::Input::Shutdown);
    }

    /// The process is gone.
    fn end(&mut self, number: usize) {
        self.settle(number);
        let host = &mut self.hosts[number];
        host.peer = None;
        host.epoch += 1;
        self.cut_host(number);
        self.disconnect_relay(number);
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

impl Seen {
    fn add(&mut self, progress: &Progress) {
        self.received_bytes += progress.received_bytes;
        for (sum, bytes) in self.by_path_bytes.iter_mut().zip(progress.by_path_bytes) {
            *sum += bytes;
        }
    }

    /// How often somebody was named a liar.
    #[must_use]
    pub fn liars(&self) -> u64 {
        let lied = PeerDropReason::Download(DropReason::FalseChunk);
        let named = self.dropped.0.iter().filter(|((_, reason), _)| *reason == lied);
        named.map(|(_, times)| times).sum()
    }
}

/// What was seen, and how often.
#[derive(Debug, Clone)]
pub struct Tally<T>(pub Vec<(T, u64)>);

impl<T> Default for Tally<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: PartialEq> Tally<T> {
    fn note(&mut self, what: T) {
        match self.0.iter_mut().find(|(seen, _)| *seen == what) {
            Some((_, times)) => *times += 1,
            None => self.0.push((what, 1)),
        }
    }

    /// How often anything was seen.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, times)| times).sum()
    }
}
