//! Shares and downloads, from their beginning to their end.
//!
//! A content is something that we have or want. A share has all of it from the start. A download
//! goes through its stages: nobody has told what it is (`Locating`), told and not begun
//! (`Described`), a space on its way (`Fetching`), a space complete and the application at work
//! (`Between`), over.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::fetch::{Ordered, Storing};
use super::have::{self, Holding};
use super::peers::{Lookup, Peer};
use super::serve::Receiver;
use super::turns::Host;
use super::{ContentsShape, Event, Failure, Node, Progress, Sink, Timer, Work};
use crate::close::{CloseReason, LocalClose};
use crate::download::{self, ChunkSet, Download, Order};
use crate::id::{ChunkRef, ContentKey, Descriptor, Instance, Kind, LinkId, Locator, Secret, Space};
use crate::limits::{CHUNK_BYTES, MAX_CONTENTS, MAX_ORDERED_BYTES};
use crate::merkle;
use crate::path::Policy;
use crate::wire::{Handle, Message};

/// A share or a download.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) locator: Locator,
    pub(super) secret: Option<Secret>,
    /// Known from the start for a share, from the first seeder's proof on for a download.
    pub(super) about: Option<About>,
    /// Whether others may open it.
    pub(super) serve: bool,
    pub(super) root: Holding,
    pub(super) contents: Holding,
    /// Chunks and bytes of the contents of a manifest, once known.
    pub(super) contents_shape: Option<ContentsShape>,
    /// Where others have opened it.
    pub(super) opened_by: BTreeSet<(LinkId, Handle)>,
    /// Chunks that those have not been told of.
    pub(super) untold: Vec<ChunkRef>,
    pub(super) receivers: BTreeMap<Instance, Receiver>,
    /// Chunks of each space that somebody was sent, since the last time that all were.
    sent: [Sent; 2],
    /// Whether the application heard that the source cannot be read any more.
    pub(super) trouble_told: bool,
    pub(super) fetch: Option<Fetch>,
}

/// Chunks of a space that somebody was sent, and how many they are.
#[derive(Debug, Default)]
struct Sent {
    chunks: ChunkSet,
    number: u64,
}

/// What a content is.
#[derive(Debug, Clone)]
pub(super) struct About {
    pub(super) descriptor: Descriptor,
    pub(super) name: String,
}

/// How somebody wants something fetched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    pub(super) policy: Policy,
    pub(super) sink: Sink,
    pub(super) serve: bool,
    pub(super) timeout: Option<Duration>,
}

/// The part of a download that a share does not have.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) wish: Wish,
    pub(super) stage: Stage,
    /// The scheduler of the space on its way.
    pub(super) download: Option<Download>,
    pub(super) shape: ContentsShape,
    pub(super) peers: BTreeMap<Instance, Peer>,
    /// Links over which a seeder has opened it.
    pub(super) joined: BTreeSet<LinkId>,
    pub(super) lookup: Lookup,
    /// Chunks that are being verified and written.
    pub(super) storing: BTreeMap<(ChunkRef, LinkId), Storing>,
    pub(super) ordered: Ordered,
    pub(super) progress: Progress,
    /// False chunks of peers that came by themselves, and the hosts that they came from.
    pub(super) lies_in_return: u32,
    pub(super) hosts_of_lies: BTreeSet<Host>,
}

/// How far a download is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Locating,
    Described,
    Fetching(Space),
    /// This space is complete; the application begins the next one or finishes.
    Between(Space),
    Finished,
    Failed,
}

impl Content {
    pub(super) fn holding(&self, space: Space) -> &Holding {
        match space {
            Space::Root => &self.root,
            Space::Contents => &self.contents,
        }
    }

    pub(super) fn holding_mut(&mut self, space: Space) -> &mut Holding {
        match space {
            Space::Root => &mut self.root,
            Space::Contents => &mut self.contents,
        }
    }

    /// The length of a chunk, for the limits: exact for files, the mean for the contents of
    /// folders.
    pub(super) fn chunk_bytes(&self, chunk: ChunkRef) -> u64 {
        match (chunk.space, &self.about, self.contents_shape) {
            (Space::Root, Some(about), _) => {
                let length = about.descriptor.length_bytes;
                if chunk.index < merkle::chunk_count(length) {
                    merkle::chunk_length(length, chunk.index) as u64
                } else {
                    0
                }
            }
            (Space::Contents, _, Some(shape)) => mean_chunk_bytes(shape),
            (Space::Root, None, _) | (Space::Contents, _, None) => CHUNK_BYTES as u64,
        }
    }

    pub(super) fn was_sent(&self, chunk: ChunkRef) -> bool {
        self.sent[chunk.space as usize].chunks.contains(chunk.index)
    }

    pub(super) fn note_sent(&mut self, chunk: ChunkRef) {
        let chunks = self.holding(chunk.space).chunks();
        let sent = &mut self.sent[chunk.space as usize];
        if sent.chunks.len != chunks || sent.number == chunks {
            *sent = Sent { chunks: ChunkSet::empty(chunks), number: 0 };
        }
        sent.number += u64::from(sent.chunks.insert(chunk.index));
    }

    /// Whether somebody who proves the secret may open it now: also before we have any of it, so
    /// that those of whom we ask it can ask us in return.
    // spec P24
    pub(super) fn is_open(&self) -> bool {
        self.serve && self.about.is_some()
    }
}

impl Fetch {
    /// Whether there is anything left to be got from peers.
    pub(super) fn is_running(&self) -> bool {
        match self.stage {
            Stage::Locating | Stage::Described | Stage::Fetching(_) => true,
            // Links stay for the contents, and for saying `Complete`; nobody new is needed.
            Stage::Between(_) => true,
            Stage::Finished | Stage::Failed => false,
        }
    }

    fn new(wish: Wish) -> Self {
        Self {
            wish,
            stage: Stage::Locating,
            download: None,
            shape: ContentsShape { chunks: 0, bytes: 0 },
            peers: BTreeMap::new(),
            joined: BTreeSet::new(),
            lookup: Lookup::default(),
            storing: BTreeMap::new(),
            ordered: Ordered::default(),
            progress: Progress::default(),
            lies_in_return: 0,
            hosts_of_lies: BTreeSet::new(),
        }
    }
}

fn mean_chunk_bytes(shape: ContentsShape) -> u64 {
    (shape.bytes / shape.chunks.max(1)).clamp(1, CHUNK_BYTES as u64)
}

impl Node {
    /// Makes room for a content, or says why there is none.
    fn admit(&mut self, key: ContentKey) -> bool {
        if self.contents.contains_key(&key) {
            self.counters.count("content_key_used_twice");
            return false;
        }
        if self.contents.len() >= MAX_CONTENTS {
            let why = format!("one process shares and fetches at most {MAX_CONTENTS} things");
            self.event(Event::Failed(key, Failure::Store(why)));
            return false;
        }
        true
    }

    pub(super) fn on_share(
        &mut self,
        key: ContentKey,
        descriptor: Descriptor,
        secret: Option<Secret>,
        name: String,
        contents_shape: Option<ContentsShape>,
    ) {
        if !self.admit(key) {
            return;
        }
        let content = Content {
            locator: descriptor.locator(secret.as_ref()),
            secret,
            about: Some(About { descriptor, name }),
            serve: true,
            root: Holding::All(merkle::chunk_count(descriptor.length_bytes)),
            contents: contents_shape.map_or(Holding::Nothing, |shape| Holding::All(shape.chunks)),
            contents_shape,
            opened_by: BTreeSet::new(),
            untold: Vec::new(),
            receivers: BTreeMap::new(),
            sent: Default::default(),
            trouble_told: false,
            fetch: None,
        };
        self.by_locator.entry(content.locator).or_default().insert(key);
        self.contents.insert(key, content);
        self.announce(key, true, true);
    }

    pub(super) fn on_get(
        &mut self,
        key: ContentKey,
        locator: Locator,
        secret: Option<Secret>,
        wish: Wish,
    ) {
        if !self.admit(key) {
            return;
        }
        let content = Content {
            locator,
            secret,
            about: None,
            serve: wish.serve && wish.sink == Sink::Store,
            root: Holding::Nothing,
            contents: Holding::Nothing,
            contents_shape: None,
            opened_by: BTreeSet::new(),
            untold: Vec::new(),
            receivers: BTreeMap::new(),
            sent: Default::default(),
            trouble_told: false,
            fetch: Some(Fetch::new(wish)),
        };
        self.by_locator.entry(locator).or_default().insert(key);
        self.contents.insert(key, content);
        self.update_want_relay();
        self.set_give_up(key);
        self.send_lookup(key);
    }

    /// Starts the clock of `--timeout`: it runs while no seeder is there.
    pub(super) fn set_give_up(&mut self, key: ContentKey) {
        let fetch = self.contents.get(&key).and_then(|content| content.fetch.as_ref());
        if let Some(timeout) = fetch.and_then(|fetch| fetch.wish.timeout) {
            self.set_timer(Timer::GiveUp(key), timeout);
        }
    }

    pub(super) fn on_nobody_came(&mut self, key: ContentKey) {
        match self.fetch_mut(key).map(|fetch| fetch.stage) {
            Some(Stage::Locating | Stage::Fetching(_)) => self.fail(key, Failure::NobodyOnline),
            // The application is at work and needs nobody now.
            Some(Stage::Described | Stage::Between(_)) => self.set_give_up(key),
            Some(Stage::Finished | Stage::Failed) | None => {}
        }
    }

    pub(super) fn on_begin(
        &mut self,
        key: ContentKey,
        space: Space,
        shape: ContentsShape,
        have: ChunkSet,
    ) {
        let rng = self.child_rng("download");
        let now = self.now;
        let Some(content) = self.contents.get_mut(&key) else { return };
        let Some(fetch) = content.fetch.as_mut() else { return };
        let expected = match (fetch.stage, space) {
            (Stage::Described, Space::Root) | (Stage::Between(Space::Root), Space::Contents) => {
                true
            }
            (
                Stage::Locating
                | Stage::Described
                | Stage::Fetching(_)
                | Stage::Between(_)
                | Stage::Finished
                | Stage::Failed,
                _,
            ) => false,
        };
        if !expected {
            return self.counters.count("begin_out_of_turn");
        }
        let have = have::fitted(have, shape.chunks);
        let had = have::count(&have);
        fetch.stage = Stage::Fetching(space);
        fetch.shape = shape;
        fetch.ordered = Ordered::default();
        fetch.progress.verified_bytes = had_bytes(&have, had, shape, space);
        let order = match fetch.wish.sink {
            Sink::Store => Order::Rarest,
            Sink::Ordered => Order::Sequential { window: MAX_ORDERED_BYTES / CHUNK_BYTES as u64 },
        };
        let config = download::Config { chunks: shape.chunks, have: have.clone(), order };
        fetch.download = (had < shape.chunks).then(|| Download::new(now, rng, config));
        let begun = fetch.download.is_some();
        if space == Space::Contents {
            content.contents_shape = Some(shape);
        }
        *content.holding_mut(space) = Holding::Some(have);
        if content.serve && space == Space::Root {
            self.announce(key, false, false);
        }
        if begun {
            self.begin_with_peers(key, space, mean_chunk_bytes(shape));
        } else {
            self.on_space_complete(key, space);
        }
        self.tell_new_space(key, space);
    }

    fn begin_with_peers(&mut self, key: ContentKey, space: Space, mean_bytes: u64) {
        self.work.push_back(Work::Download(key, download::Input::MeanChunkBytes(mean_bytes)));
        if !self.allowance.allowed {
            self.work.push_back(Work::Download(key, download::Input::Allowed(false)));
        }
        let joined: Vec<LinkId> = self
            .contents
            .get(&key)
            .and_then(|content| content.fetch.as_ref())
            .map(|fetch| fetch.joined.iter().copied().collect())
            .unwrap_or_default();
        for link in joined {
            self.join_download(key, space, link);
        }
    }

    /// The last chunk of a space is there, and has left us in order where order was asked for.
    pub(super) fn on_space_complete(&mut self, key: ContentKey, space: Space) {
        let Some(content) = self.contents.get_mut(&key) else { return };
        let Some(fetch) = content.fetch.as_mut() else { return };
        fetch.stage = Stage::Between(space);
        fetch.download = None;
        fetch.progress.verified_bytes = fetch.shape.bytes;
        let chunks = fetch.shape.chunks;
        *content.holding_mut(space) = Holding::All(chunks);
        self.timers.clear(&Timer::Download(key));
        self.event(Event::SpaceComplete(key, space));
    }

    pub(super) fn on_finished(&mut self, key: ContentKey) {
        let Some(content) = self.contents.get_mut(&key) else { return };
        let Some(fetch) = content.fetch.as_mut() else { return };
        if !matches!(fetch.stage, Stage::Between(_)) {
            return self.counters.count("finished_out_of_turn");
        }
        fetch.stage = Stage::Finished;
        let joined: Vec<LinkId> = fetch.joined.iter().copied().collect();
        for link in joined {
            if let Some(handle) = self.links.handle_of(link, key)
                && !planted!(NoComplete)
            {
                self.say(link, Message::Complete { handle });
            }
        }
        self.end_fetch(key, LocalClose::Done);
        let serve = self.contents.get(&key).is_some_and(|content| content.serve);
        if serve {
            self.announce(key, true, false);
        } else {
            self.update_want_relay();
        }
    }

    pub(super) fn fail(&mut self, key: ContentKey, why: Failure) {
        let Some(content) = self.contents.get_mut(&key) else { return };
        let Some(fetch) = content.fetch.as_mut() else { return };
        if !fetch.is_running() {
            return;
        }
        fetch.stage = Stage::Failed;
        content.serve = false;
        self.end_fetch(key, LocalClose::Stopped);
        self.withdraw(key);
        self.retract(key);
        self.event(Event::Failed(key, why));
    }

    pub(super) fn on_stop(&mut self, key: ContentKey) {
        if !self.contents.contains_key(&key) {
            return;
        }
        self.end_fetch(key, LocalClose::Stopped);
        self.withdraw(key);
        if let Some(content) = self.contents.remove(&key)
            && let Some(keys) = self.by_locator.get_mut(&content.locator)
        {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_locator.remove(&content.locator);
            }
        }
        self.timers.clear(&Timer::Haves(key));
        self.timers.clear(&Timer::Receivers(key));
        self.retract(key);
    }

    /// Nothing more is wanted of peers: choosers end, links that served only this are closed.
    fn end_fetch(&mut self, key: ContentKey, why: LocalClose) {
        for timer in [Timer::Lookup(key), Timer::GiveUp(key), Timer::Download(key)] {
            self.timers.clear(&timer);
        }
        let Some(fetch) = self.contents.get_mut(&key).and_then(|content| content.fetch.as_mut())
        else {
            return;
        };
        fetch.download = None;
        fetch.storing.clear();
        fetch.ordered = Ordered::default();
        let peers: Vec<Instance> = fetch.peers.keys().copied().collect();
        let joined = core::mem::take(&mut fetch.joined);
        for instance in peers {
            self.end_peer(key, instance);
        }
        for link in joined {
            self.drop_ask(link, key);
            self.close_if_unused(link, CloseReason::Local(why));
        }
    }
}

/// Bytes of the chunks in `have`: exact for a space of even chunks, in proportion for a folder's.
fn had_bytes(have: &ChunkSet, had: u64, shape: ContentsShape, space: Space) -> u64 {
    if had >= shape.chunks {
        return shape.bytes;
    }
    match space {
        Space::Root => {
            let last = shape.chunks - 1;
            let whole = had - u64::from(have::bit(&have.bits, last));
            let rest = shape.bytes.saturating_sub(last.saturating_mul(CHUNK_BYTES as u64));
            whole * CHUNK_BYTES as u64 + if whole < had { rest } else { 0 }
        }
        Space::Contents => {
            let share = u128::from(shape.bytes) * u128::from(had) / u128::from(shape.chunks);
            u64::try_from(share).unwrap_or(u64::MAX)
        }
    }
}

/// Whether a descriptor is within our limits.
pub(super) const fn is_fetchable(descriptor: &Descriptor) -> bool {
    use crate::limits::{MAX_FILE_BYTES, MAX_MANIFEST_BYTES, MAX_SHARE_CHUNKS};
    let longest = match descriptor.kind {
        Kind::File => MAX_FILE_BYTES,
        Kind::Manifest => MAX_MANIFEST_BYTES,
    };
    descriptor.length_bytes <= longest
        && merkle::chunk_count(descriptor.length_bytes) <= MAX_SHARE_CHUNKS
}

#[cfg(test)]
pub(super) mod tests;
