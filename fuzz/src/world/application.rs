//! What a peer wants of the machine around it: its disk, its pipe, and its application.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::BytesMut;
use towpath_core::download::ChunkSet;
use towpath_core::id::{ChunkRef, ContentKey, Hash, Kind, LinkId, Space};
use towpath_core::limits::{CHUNK_BYTES, MAX_OUTSTANDING_BYTES};
use towpath_core::node::{self, Event, StoreResult};
use towpath_core::session::{self, ChunkFrame};
use towpath_core::time::Instant;
use towpath_core::wire::{RequestId, Unavailable};

use super::errands::Wish;
use super::hosts::{Host, Manners};
use super::{Happening, Plant, World};
use crate::oracle::check_paths;
use crate::peer::{Effect, Who, Work};

impl Host {
    /// When the disk will have done one chunk more.
    fn disk_time(&mut self, now: Instant) -> Instant {
        self.disk_free_at = self.disk_free_at.max(now) + self.disk_latency;
        self.disk_free_at
    }

    fn read(
        &mut self,
        now: Instant,
        request: RequestId,
        content: ContentKey,
        chunk: ChunkRef,
    ) -> Result<ChunkFrame, Unavailable> {
        self.served += 1;
        let served = self.served;
        let manners = self.manners;
        let errand = self.errand(content).ok_or(Unavailable::NotHad)?;
        let data = match errand.wish {
            Wish::Share => errand.content.chunk(chunk),
            Wish::Get(_) | Wish::Pipe(..) => errand.disk.chunk(chunk),
        };
        let data = data.ok_or(Unavailable::NotHad)?;
        errand.seen.served_bytes += data.len() as u64;
        let mut data = data.to_vec();
        let mut false_proof = false;
        match manners {
            Manners::FalseEvery(n) if served.is_multiple_of(n) => data[0] ^= 1,
            Manners::FalseProof(n) => false_proof = served.is_multiple_of(n),
            Manners::Refuses => return Err(Unavailable::NotHad),
            Manners::ChangedAt(at) if at <= now => return Err(Unavailable::SourceChanged),
            Manners::Honest | Manners::FalseEvery(_) | Manners::Mute | Manners::ChangedAt(_) => {}
        }
        let frame = errand.content.frame(request, chunk, &data);
        let mut frame = frame.ok_or(Unavailable::NotHad)?;
        if false_proof && let Some(byte) = frame.proof_mut().first_mut() {
            *byte ^= 1;
        }
        Ok(frame)
    }
}

/// A chunk that came, to be stored.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) content: ContentKey,
    pub(super) chunk: ChunkRef,
    pub(super) link: LinkId,
    pub(super) proof: Vec<Hash>,
    pub(super) data: BytesMut,
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
            Effect::ReadChunk(link, request, content, chunk) => {
                if self.hosts[host].manners == Manners::Mute {
                    self.count("request left unanswered");
                    return Ok(());
                }
                let errand = self.hosts[host].errand(content);
                if errand.is_some_and(|errand| !errand.may_serve(chunk)) {
                    return Err(format!("host {host} would serve {chunk:?}, which it has not"));
                }
                let at = self.hosts[host].disk_time(self.now);
                self.plan(at, Happening::Read(host, epoch, link, request, (content, chunk)));
            }
            Effect::StoreChunk(content, chunk, link, proof, data) => {
                let owner = &mut self.hosts[host];
                let Some(errand) = owner.errand(content) else {
                    return Err(format!("host {host} stores what it has withdrawn"));
                };
                errand.storing_bytes += data.len() as u64;
                if errand.storing_bytes > MAX_OUTSTANDING_BYTES {
                    return Err(format!("host {host} holds {} bytes", errand.storing_bytes));
                }
                let at = owner.disk_time(self.now);
                let arrived = Arrived { content, chunk, link, proof, data };
                self.plan(at, Happening::Store(host, epoch, arrived));
            }
            Effect::Deliver(content, chunk, data) => {
                self.deliver(host, epoch, content, chunk, data)?;
            }
            Effect::Tell(event) => self.tell(host, epoch, event)?,
            Effect::Tale(machine, what) => self.write_down(host, machine, &what),
            Effect::Accuse(rule, who) => self.accuse(host, rule, who)?,
            Effect::GiveUp => self.hosts[host].gave_up += 1,
        }
        Ok(())
    }

    pub(super) fn read(
        &mut self,
        number: usize,
        epoch: u32,
        link: LinkId,
        request: RequestId,
        (content, chunk): (ContentKey, ChunkRef),
    ) -> Result<(), String> {
        if self.peer(number, epoch).is_none() {
            return Ok(());
        }
        let host = &mut self.hosts[number];
        let result = host.read(self.now, request, content, chunk);
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
        arrived: Arrived,
    ) -> Result<(), String> {
        let Arrived { content, chunk, link, proof, data } = arrived;
        let host = &mut self.hosts[number];
        let is_gone = host.epoch != epoch || host.peer.is_none();
        let Some(errand) = host.errand(content).filter(|_| !is_gone) else {
            host.old_errand(content).seen.lost_bytes += data.len() as u64;
            return Ok(());
        };
        errand.storing_bytes -= data.len() as u64;
        let trusting = self.plant == Some(Plant::TrustingDisk);
        let result = errand.disk.store(chunk, &proof, &data, trusting);
        let result = result.map_err(|error| format!("host {number}: {error}"))?;
        let named_before = errand.seen.liars();
        match result {
            StoreResult::Written => self.bow_out(),
            StoreResult::False => self.count("false chunk refused"),
            StoreResult::Failed(_) => self.count("disk full"),
        }
        let is_false = result == StoreResult::False;
        let input = node::Input::ChunkStored { content, chunk, link, result, buffer: data };
        self.input(number, epoch, Work::Node(input))?;
        let seen = &self.hosts[number].old_errand(content).seen;
        if is_false && seen.finished_at.is_none() && seen.liars() == 0 && named_before == 0 {
            return Err(format!("host {number} refused a false chunk and named nobody"));
        }
        Ok(())
    }

    /// A chunk was written: whoever waits for the others to have everything may go now.
    fn bow_out(&mut self) {
        for number in 0..self.hosts.len() {
            let host = &self.hosts[number];
            let Some(ending) = host.bows_out else { continue };
            let content = &host.errands[0].content;
            let others = self.hosts.iter().flat_map(|host| &host.errands);
            let disks = others.filter(|errand| matches!(errand.wish, Wish::Get(_)));
            let had: BTreeSet<_> = disks.flat_map(|errand| errand.disk.chunks()).collect();
            let chunks = content.shape(Space::Root).chunks + content.shape(Space::Contents).chunks;
            if had.len() as u64 == chunks {
                self.hosts[number].bows_out = None;
                self.count("sharer left, others inherit");
                self.inherited_at = self.now;
                self.plan(self.now, Happening::BowOut(number, ending));
            }
        }
    }

    /// A host says that another one broke the protocol. All but adversaries speak it well, so that
    /// this is a fault, unless bits were changed on the way.
    fn accuse(&mut self, number: usize, rule: &'static str, who: Who) -> Result<(), String> {
        let errands = &self.hosts[number].errands;
        let lied_to = errands.iter().any(|errand| errand.disk.false_bytes > 0);
        if self.accuses_adversary(who) {
            self.count("adversary accused");
            return Ok(());
        }
        if self.damaged || (rule == "false_chunk" && lied_to) {
            return Ok(());
        }
        Err(format!("host {number} says that {who:?} broke the protocol: {rule}"))
    }

    fn deliver(
        &mut self,
        number: usize,
        epoch: u32,
        content: ContentKey,
        chunk: ChunkRef,
        data: BytesMut,
    ) -> Result<(), String> {
        let Some(errand) = self.hosts[number].errand(content) else { return Ok(()) };
        let expected = errand.piped_bytes / CHUNK_BYTES as u64;
        if chunk.index != expected {
            return Err(format!("host {number}: chunk {} out of order", chunk.index));
        }
        if errand.content.chunk(chunk) != Some(&data[..]) {
            return Err(format!("host {number}: a wrong byte went to the pipe"));
        }
        errand.piped_bytes += data.len() as u64;
        if let Wish::Pipe(_, Some(pause)) = errand.wish {
            let at = self.now + pause;
            let delivered = node::Input::Delivered { content, chunk, buffer: data };
            self.plan(at, Happening::Say(number, epoch, delivered));
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
        match event {
            Event::Stopped => {
                self.count("stopped");
                self.end(number);
                Ok(())
            }
            Event::TrackerTrouble(_) => Ok(()),
            Event::Described { content, .. }
            | Event::SpaceComplete(content, _)
            | Event::Failed(content, _)
            | Event::Path { content, .. }
            | Event::PeerDropped { content, .. }
            | Event::Receiver { content, .. }
            | Event::Announced(content)
            | Event::Waiting(content)
            | Event::Unreachable { content, .. } => {
                if self.hosts[number].errand(content).is_none() {
                    return Err(format!("host {number} speaks of what is over: {event:?}"));
                }
                self.tell_of(number, epoch, content, event)
            }
        }
    }

    fn tell_of(
        &mut self,
        number: usize,
        epoch: u32,
        content: ContentKey,
        event: Event,
    ) -> Result<(), String> {
        let errand = self.hosts[number].old_errand(content);
        match event {
            Event::Described { descriptor, .. } => {
                if descriptor != errand.content.descriptor {
                    return Err(format!("host {number} believes another descriptor"));
                }
                self.begin(number, epoch, content, Space::Root)?;
            }
            Event::SpaceComplete(_, space) => self.space_complete(number, epoch, content, space)?,
            Event::Failed(_, failure) => {
                errand.seen.failed.note(failure);
                self.count("failed, and tried again later");
                self.end(number);
                self.start_at(self.now + Duration::from_secs(3), number);
            }
            Event::Path { path, reason, .. } => errand.seen.paths.note((path, reason.to_string())),
            Event::PeerDropped { peer, reason, .. } => errand.seen.dropped.note((peer, reason)),
            Event::Receiver { done, peer, sent_bytes, .. } => {
                errand.seen.done += u64::from(done);
                errand.seen.sent_bytes.insert(peer, sent_bytes);
                let told: u64 = errand.seen.sent_bytes.values().sum();
                if told > errand.seen.served_bytes {
                    let served = errand.seen.served_bytes;
                    return Err(format!("host {number} sent {told} bytes, and served {served}"));
                }
            }
            Event::Stopped
            | Event::Announced(_)
            | Event::TrackerTrouble(_)
            | Event::Waiting(_)
            | Event::Unreachable { .. } => {}
        }
        Ok(())
    }

    fn begin(
        &mut self,
        number: usize,
        epoch: u32,
        content: ContentKey,
        space: Space,
    ) -> Result<(), String> {
        let plant = self.plant;
        let errand = self.hosts[number].old_errand(content);
        let have = match errand.wish {
            Wish::Share => return Err("a sharer asked what it shares".into()),
            Wish::Get(_) => errand.disk.resume(space, plant),
            Wish::Pipe(..) => ChunkSet::empty(errand.content.shape(space).chunks),
        };
        let shape = errand.content.shape(space);
        self.say(number, epoch, node::Input::Begin { content, space, shape, have });
        Ok(())
    }

    /// Tells the peer something after what is under way.
    pub(super) fn say(&mut self, number: usize, epoch: u32, input: node::Input) {
        self.plan(self.now, Happening::Say(number, epoch, input));
    }

    fn space_complete(
        &mut self,
        number: usize,
        epoch: u32,
        content: ContentKey,
        space: Space,
    ) -> Result<(), String> {
        let errand = self.hosts[number].old_errand(content);
        let is_whole = match errand.wish {
            Wish::Pipe(..) => errand.piped_bytes == errand.content.descriptor.length_bytes,
            Wish::Share | Wish::Get(_) => errand.disk.is_whole(space),
        };
        if !is_whole {
            return Err(format!("host {number} says complete, and is not whole"));
        }
        errand.disk.sync();
        let is_folder = errand.content.descriptor.kind == Kind::Manifest;
        if is_folder && space == Space::Root && !matches!(errand.wish, Wish::Pipe(..)) {
            match errand.content.entries() {
                Ok(entries) => {
                    check_paths(&entries).map_err(|why| format!("host {number}: {why}"))?;
                }
                Err(_) => {
                    self.count("manifest refused");
                    self.hosts[number].is_over = true;
                    self.quit(number);
                    return Ok(());
                }
            }
            self.count("folder described");
            return self.begin(number, epoch, content, Space::Contents);
        }
        let now = self.now;
        self.hosts[number].old_errand(content).seen.finished_at.get_or_insert(now);
        let host = &self.hosts[number];
        let leaves = host.leaves && host.is_done();
        self.count("finished");
        self.say(number, epoch, node::Input::Finished(content));
        if leaves {
            self.quit(number);
        }
        Ok(())
    }
}
