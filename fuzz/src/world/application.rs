//! What a peer wants of the machine around it: its disk, its pipe, and its application.

use std::time::Duration;

use bytes::BytesMut;
use towpath_core::download::ChunkSet;
use towpath_core::id::{ChunkRef, Hash, Kind, LinkId, Space};
use towpath_core::limits::{CHUNK_BYTES, MAX_OUTSTANDING_BYTES};
use towpath_core::node::{self, Event, StoreResult};
use towpath_core::session::{self, ChunkFrame};
use towpath_core::time::Instant;
use towpath_core::wire::{RequestId, Unavailable};

use super::hosts::{CONTENT, Host, Manners, Wish};
use super::{Happening, Plant, World};
use crate::peer::{Effect, Work};

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
            Effect::Accuse(rule) => self.accuse(host, rule)?,
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
        let trusting = self.plant == Some(Plant::TrustingDisk);
        let result = host.disk.store(chunk, proof, &data, trusting);
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
        let seen = &self.hosts[number].seen;
        if is_false && seen.finished_at.is_none() && seen.liars() == 0 && named_before == 0 {
            return Err(format!("host {number} refused a false chunk and named nobody"));
        }
        Ok(())
    }

    /// A host says that another one broke the protocol. All speak it well, so that this is a fault,
    /// unless bits were changed on the way.
    fn accuse(&self, number: usize, rule: &'static str) -> Result<(), String> {
        let lied_to = self.hosts[number].disk.false_bytes > 0;
        if self.damaged || (rule == "false_chunk" && lied_to) {
            return Ok(());
        }
        Err(format!("host {number} says that somebody broke the protocol: {rule}"))
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
    pub(super) fn say(&mut self, number: usize, epoch: u32, input: node::Input) {
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
}
