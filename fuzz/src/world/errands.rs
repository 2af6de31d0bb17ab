//! Errands: what a host's command shares and fetches, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use towpath_core::id::{ChunkRef, ContentKey};
use towpath_core::node::{self, Failure, Sink};
use towpath_core::path::Policy;
use towpath_core::time::Instant;

use super::World;
use super::hosts::Host;
use super::seen::Seen;
use crate::content::Content;
use crate::disk::Disk;
use crate::peer::Work;

/// How long a user waits who has learned to.
const LONG_PATIENCE: Duration = Duration::from_secs(100);

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

/// One thing that a host's command shares or fetches.
#[derive(Debug)]
pub struct Errand {
    /// What is wanted.
    pub wish: Wish,
    /// How long its user waits for somebody to be online, until that failed a few times.
    pub patience: Option<Duration>,
    /// The store, which survives crashes.
    pub disk: Disk,
    /// What was seen of it.
    pub seen: Seen,
    pub(super) content: Arc<Content>,
    /// Its number at the node, another one for each time that it is begun; `None` while it is
    /// withdrawn.
    pub(super) key: Option<ContentKey>,
    /// Bytes of chunks that are being stored.
    pub(super) storing_bytes: u64,
    /// Bytes that the pipe's reader was given.
    pub(super) piped_bytes: u64,
    /// Whether the figures of this run were taken down.
    settled: bool,
}

/// Numbers of errands at the node are apart by so much, so that a number tells whose it is.
const KEYS: u32 = 64;

impl Errand {
    pub(super) fn new(wish: Wish, content: &Arc<Content>) -> Self {
        Self {
            wish,
            patience: None,
            disk: Disk::new(Arc::clone(content)),
            seen: Seen::default(),
            content: Arc::clone(content),
            key: None,
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

    /// Whether its bytes are there and verified.
    pub(super) fn may_serve(&self, chunk: ChunkRef) -> bool {
        match self.wish {
            Wish::Share => self.content.chunk(chunk).is_some(),
            Wish::Get(_) => self.disk.has(chunk),
            Wish::Pipe(..) => false,
        }
    }

    /// Whether it is a download that is whole.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.seen.finished_at.is_some()
    }

    /// Whether nothing is left to fetch.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self.wish, Wish::Share) || self.is_whole()
    }
}

impl Host {
    /// The errand with this number, if it is still under way.
    pub(super) fn errand(&mut self, key: ContentKey) -> Option<&mut Errand> {
        let index = usize::try_from(key.0 % KEYS).expect("small");
        self.errands.get_mut(index).filter(|errand| errand.key == Some(key))
    }

    /// The errand that had this number, which may be over.
    pub(super) fn old_errand(&mut self, key: ContentKey) -> &mut Errand {
        let index = usize::try_from(key.0 % KEYS).expect("small");
        &mut self.errands[index]
    }

    /// Begins an errand, for the first time or again: what its user types.
    pub(super) fn begin_errand(&mut self, now: Instant, index: usize) -> node::Input {
        let number = u32::try_from(index).expect("few errands") + KEYS * self.runs;
        self.runs += 1;
        let errand = &mut self.errands[index];
        errand.key = Some(ContentKey(number));
        errand.piped_bytes = 0;
        errand.storing_bytes = 0;
        errand.settled = false;
        errand.seen.runs += 1;
        errand.seen.started_at.get_or_insert(now);
        for (failure, times) in &errand.seen.failed.0 {
            match failure {
                // Somebody has made room.
                Failure::Store(_) => errand.disk.room_bytes = u64::MAX,
                // The user has learned to wait.
                Failure::NobodyOnline if *times > 2 => errand.patience = Some(LONG_PATIENCE),
                Failure::NobodyOnline | Failure::Unknown => {}
            }
        }
        errand.command(ContentKey(number))
    }
}

impl Errand {
    fn command(&self, key: ContentKey) -> node::Input {
        let content = &self.content;
        let secret = content.secret.clone();
        let (policy, sink) = match self.wish {
            Wish::Share => {
                return node::Input::Share {
                    content: key,
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
            content: key,
            locator: content.descriptor.locator(secret.as_ref()),
            secret,
            policy,
            sink,
            serve: sink == Sink::Store,
            timeout: self.patience,
        }
    }
}

impl World {
    /// The user withdraws an errand; the command goes on with the others.
    pub(super) fn withdraw(&mut self, number: usize, errand: usize) -> Result<(), String> {
        let epoch = self.hosts[number].epoch;
        let is_on = self.peer(number, epoch).is_some() && self.hosts[number].frozen.is_none();
        let Some(key) = self.hosts[number].errands[errand].key.filter(|_| is_on) else {
            return Ok(());
        };
        let is_whole = self.hosts[number].errands[errand].is_done();
        self.count(if is_whole { "share withdrawn" } else { "download withdrawn" });
        self.settle_errand(number, errand);
        self.hosts[number].errands[errand].key = None;
        self.input(number, epoch, Work::Node(node::Input::Stop(key)))
    }

    /// And begins it again.
    pub(super) fn take_up(&mut self, number: usize, errand: usize) -> Result<(), String> {
        let epoch = self.hosts[number].epoch;
        let host = &self.hosts[number];
        let is_free = host.errands[errand].key.is_none() && !host.errands[errand].is_whole();
        if self.peer(number, epoch).is_none() || !is_free {
            return Ok(());
        }
        let now = self.now;
        self.count("taken up again");
        let input = self.hosts[number].begin_errand(now, errand);
        self.input(number, epoch, Work::Node(input))
    }

    /// Adds the figures of a run that ends to those of the host.
    pub(super) fn settle(&mut self, number: usize) {
        for errand in 0..self.hosts[number].errands.len() {
            self.settle_errand(number, errand);
        }
    }

    fn settle_errand(&mut self, number: usize, errand: usize) {
        let host = &mut self.hosts[number];
        let errand = &mut host.errands[errand];
        if let (Some(peer), Some(key)) = (&host.peer, errand.key)
            && !std::mem::replace(&mut errand.settled, true)
        {
            errand.seen.add(&peer.progress(key));
        }
    }

    /// Figures of an errand over all its runs.
    #[must_use]
    pub fn figures(&self, number: usize, errand: usize) -> Seen {
        let host = &self.hosts[number];
        let errand = &host.errands[errand];
        let mut seen = errand.seen.clone();
        if let (Some(peer), Some(key), false) = (&host.peer, errand.key, errand.settled) {
            seen.add(&peer.progress(key));
        }
        seen
    }
}
