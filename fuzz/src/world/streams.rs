//! TCP between hosts: dialling, accepting, bytes, ends; and the firewalls between them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use towpath_core::id::LinkId;
use towpath_core::limits::MAX_SEND_BACKLOG_BYTES;
use towpath_core::node;
use towpath_core::path::DialError;
use towpath_core::session;

use super::wires::{Lane, Place};
use super::{Happening as Any, Plant, World, address_of};
use crate::peer::Work;
use crate::pipe::Pipe;

/// What happens to a connection to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firewall {
    /// It comes through.
    Open,
    /// It is never answered.
    Drop,
    /// It is refused.
    Refuse,
}

/// Number of a stream.
pub(super) type StreamId = u64;

/// Which end: 0 dialled, 1 was dialled.
pub(super) type Side = usize;

/// Bytes that a shredded stream hands over one by one: both sides' handshakes, and what follows.
const SHREDS: u32 = 2_500;

/// What a session says beside chunks, in this world of small shares.
pub(crate) const WORDS_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(super) enum Happening {
    /// A connection reaches the host that was dialled.
    Knock(usize, u32, LinkId, usize),
    /// The dialling side learns that it is open.
    Open(StreamId),
    /// It learns that it is refused.
    Refused(usize, u32, LinkId),
    /// Bytes may be read by this side.
    Arrive(StreamId, Side),
    /// So many bytes of this side have left it.
    Left(StreamId, Side, usize),
    /// This side learns that the stream broke.
    Broken(usize, u32, LinkId),
    /// All streams break.
    CutAll,
    /// All streams carry a wrong bit.
    DamageAll,
}

#[derive(Debug)]
struct End {
    host: usize,
    epoch: u32,
    link: Option<LinkId>,
    read: usize,
    /// Bytes that it still reads one by one.
    shreds: u32,
    /// Its process has closed it; what it has written still arrives.
    closed: bool,
}

#[derive(Debug)]
struct Stream {
    ends: [End; 2],
    /// `pipes[side]` carries what `side` sends.
    pipes: [Pipe; 2],
    /// An end has vanished without a word: nothing passes any more, and nobody is told.
    dead: bool,
}

/// Which stream a link of a host has.
type ByLink = BTreeMap<(usize, LinkId), (StreamId, Side)>;

/// A stream goes. Its link keeps another one: the next process of a host numbers its links anew.
fn unlink(by_link: &mut ByLink, link: (usize, LinkId), gone: StreamId) {
    if by_link.get(&link).is_some_and(|(id, _)| *id == gone) {
        by_link.remove(&link);
    }
}

/// All streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    all: BTreeMap<StreamId, Stream>,
    by_link: ByLink,
    dials: BTreeSet<(usize, u32, LinkId)>,
    next: StreamId,
}

impl World {
    pub(super) fn stream_happens(&mut self, what: Happening) -> Result<(), String> {
        match what {
            Happening::Knock(from, epoch, link, to) => self.knock(from, epoch, link, to)?,
            Happening::Open(id) => {
                let Some(stream) = self.streams.all.get(&id) else { return Ok(()) };
                let End { host, epoch, link, .. } = stream.ends[0];
                if let Some(link) = link {
                    self.input(host, epoch, Work::Dialled(link))?;
                }
            }
            Happening::Refused(host, epoch, link) => {
                let input = node::Input::DialFailed { link, error: DialError::Refused };
                self.input(host, epoch, Work::Node(input))?;
            }
            Happening::Arrive(id, side) => self.arrive(id, side)?,
            Happening::Left(id, side, bytes) => {
                let Some(stream) = self.streams.all.get(&id) else { return Ok(()) };
                let End { host, epoch, link, .. } = stream.ends[side];
                self.forget_if_over(id);
                if let Some(link) = link.filter(|_| self.plant != Some(Plant::NoSent)) {
                    let sent = session::Input::Sent { bytes };
                    self.input(host, epoch, Work::Session(link, sent))?;
                }
            }
            Happening::Broken(host, epoch, link) => {
                let ended = session::Input::Ended(Some("connection reset".into()));
                self.input(host, epoch, Work::Session(link, ended))?;
            }
            Happening::CutAll => {
                self.count("streams cut");
                for id in self.all_streams() {
                    self.break_stream(id, [true, true]);
                }
            }
            Happening::DamageAll => {
                for id in self.all_streams() {
                    self.damage(Lane::Stream(id, 0));
                    self.damage(Lane::Stream(id, 1));
                }
            }
        }
        Ok(())
    }

    pub(super) fn all_streams(&self) -> Vec<StreamId> {
        self.streams.all.keys().copied().collect()
    }

    pub(super) fn stream_lane(&mut self, id: StreamId, side: Side) -> Option<&mut Pipe> {
        let stream = self.streams.all.get_mut(&id).filter(|stream| !stream.dead)?;
        Some(&mut stream.pipes[side])
    }

    pub(super) fn stream_ends(&self, id: StreamId, side: Side) -> Option<(Place, Place)> {
        let stream = self.streams.all.get(&id)?;
        Some((Place::Host(stream.ends[side].host), Place::Host(stream.ends[1 - side].host)))
    }

    /// One way, from host to host.
    fn way(&self, from: usize, to: usize) -> Duration {
        self.latency(Place::Host(from)) + self.latency(Place::Host(to))
    }

    pub(super) fn dial(&mut self, host: usize, epoch: u32, link: LinkId, to: SocketAddr) {
        let target = (0..self.hosts.len()).find(|number| address_of(*number) == to);
        // Nobody has that address: the packets are lost, and the dialling side waits in vain.
        let Some(target) = target else { return self.count("dial to nobody") };
        self.streams.dials.insert((host, epoch, link));
        let there = self.now + self.way(host, target);
        self.plan(there, Any::Streams(Happening::Knock(host, epoch, link, target)));
    }

    fn knock(&mut self, from: usize, epoch: u32, link: LinkId, to: usize) -> Result<(), String> {
        if !self.streams.dials.remove(&(from, epoch, link)) {
            return Ok(());
        }
        let back = self.now + self.way(from, to);
        let firewall = self.hosts[to].firewall;
        let parted = self.walls.part(Place::Host(from), Place::Host(to));
        if firewall == Firewall::Drop
            || parted
            || self.hosts[to].unplugged
            || self.hosts[from].unplugged
        {
            self.count("dial dropped");
            return Ok(());
        }
        if firewall == Firewall::Refuse || !self.hosts[to].is_on() {
            self.count("dial refused");
            self.plan(back, Any::Streams(Happening::Refused(from, epoch, link)));
            return Ok(());
        }
        let id = self.streams.next;
        self.streams.next += 1;
        let shreds = if self.shreds { SHREDS } else { 0 };
        let end =
            |host: usize, epoch, link| End { host, epoch, link, read: 0, shreds, closed: false };
        let to_epoch = self.hosts[to].epoch();
        let ends = [end(from, epoch, Some(link)), end(to, to_epoch, None)];
        self.streams.all.insert(id, Stream { ends, pipes: Default::default(), dead: false });
        self.streams.by_link.insert((from, link), (id, 0));
        self.plan(back, Any::Streams(Happening::Open(id)));
        self.count("stream");
        self.input(to, to_epoch, Work::Incoming(id, address_of(from)))
    }

    pub(super) fn adopt(&mut self, host: usize, id: StreamId, link: LinkId) {
        if let Some(stream) = self.streams.all.get_mut(&id) {
            stream.ends[1].link = Some(link);
            self.streams.by_link.insert((host, link), (id, 1));
        }
    }

    pub(super) fn refuse(&mut self, id: StreamId) {
        self.count("stream refused");
        self.break_stream(id, [true, false]);
    }

    pub(super) fn write(&mut self, host: usize, link: LinkId, bytes: Bytes) -> Result<(), String> {
        self.trace.bytes(&bytes);
        let Some(&(id, side)) = self.streams.by_link.get(&(host, link)) else { return Ok(()) };
        let Some(stream) = self.streams.all.get_mut(&id) else { return Ok(()) };
        stream.pipes[side].put(bytes);
        let waiting = stream.pipes[side].waiting_bytes();
        let honest = self.hosts[host].adversary.is_none();
        if waiting > MAX_SEND_BACKLOG_BYTES + WORDS_BYTES && honest {
            return Err(format!("host {host}: {waiting} bytes wait for one stream"));
        }
        self.offer(Lane::Stream(id, side));
        Ok(())
    }

    pub(super) fn want_read(
        &mut self,
        host: usize,
        link: LinkId,
        max: usize,
    ) -> Result<(), String> {
        let Some(&(id, side)) = self.streams.by_link.get(&(host, link)) else { return Ok(()) };
        if let Some(stream) = self.streams.all.get_mut(&id) {
            stream.ends[side].read = max;
        }
        self.plan(self.now, Any::Streams(Happening::Arrive(id, side)));
        Ok(())
    }

    fn arrive(&mut self, id: StreamId, side: Side) -> Result<(), String> {
        let now = self.now;
        let Some(stream) = self.streams.all.get_mut(&id).filter(|stream| !stream.dead) else {
            return Ok(());
        };
        let End { host, epoch, link: Some(link), read, shreds, .. } = stream.ends[side] else {
            return Ok(());
        };
        let other = Place::Host(stream.ends[1 - side].host);
        let parted = self.walls.stand_between(other, Place::Host(host));
        let pipe = &mut stream.pipes[1 - side];
        // Now and then a socket has less than it could have.
        let few = read > 0 && self.rng.below(16) == 0;
        let most = if few { 1 + self.rng.below(read as u64) as usize } else { read };
        let most = if shreds > 0 { read.min(1) } else { most };
        if let Some(bytes) = pipe.take(now, most) {
            stream.ends[side].read = 0;
            if shreds > 0 {
                stream.ends[side].shreds -= 1;
                self.count("byte read alone");
            }
            self.offer(Lane::Stream(id, 1 - side));
            let received = session::Input::Received(BytesMut::from(&bytes[..]));
            return self.input(host, epoch, Work::Session(link, received));
        }
        if pipe.is_finished() && !parted {
            stream.ends[side].link = None;
            stream.ends[side].closed = true;
            unlink(&mut self.streams.by_link, (host, link), id);
            self.forget_if_over(id);
            self.input(host, epoch, Work::Session(link, session::Input::Ended(None)))?;
        }
        Ok(())
    }

    /// A side closes: what it has written still arrives, what comes to it does not any more.
    pub(super) fn close(&mut self, host: usize, link: LinkId) {
        let Some((id, side)) = self.streams.by_link.remove(&(host, link)) else { return };
        let Some(stream) = self.streams.all.get_mut(&id) else { return };
        stream.pipes[side].end();
        stream.ends[side].link = None;
        stream.ends[side].closed = true;
        let (other, drained_at) = (stream.ends[1 - side].host, stream.pipes[side].drained_at());
        let later = (self.now + self.way(host, other)).max(drained_at);
        self.plan(later, Any::Streams(Happening::Arrive(id, 1 - side)));
        self.forget_if_over(id);
    }

    /// A stream that nobody has any more goes when everything has left.
    fn forget_if_over(&mut self, id: StreamId) {
        let Some(stream) = self.streams.all.get(&id) else { return };
        let nobody = stream.ends.iter().all(|end| end.closed);
        if nobody && (stream.dead || stream.pipes.iter().any(Pipe::is_sent)) {
            self.remove_stream(id);
        }
    }

    fn remove_stream(&mut self, id: StreamId) -> Option<Stream> {
        let stream = self.streams.all.remove(&id)?;
        for end in &stream.ends {
            self.lane_is_gone(Place::Host(end.host));
        }
        Some(stream)
    }

    pub(super) fn cut(&mut self, host: usize, epoch: u32, link: LinkId) {
        self.streams.dials.remove(&(host, epoch, link));
        if let Some(&(id, side)) = self.streams.by_link.get(&(host, link)) {
            self.break_stream(id, [side == 1, side == 0]);
        }
    }

    /// Streams with an end at this host.
    fn streams_of(&self, host: usize) -> Vec<StreamId> {
        let is_his = |stream: &Stream| stream.ends.iter().any(|end| end.host == host);
        let all = self.streams.all.iter().filter(|(_, stream)| is_his(stream));
        all.map(|(id, _)| *id).collect()
    }

    /// All streams of a process that has died: its machine says so to the others.
    pub(super) fn cut_host(&mut self, host: usize) {
        for id in self.streams_of(host) {
            let Some(stream) = self.streams.all.get(&id) else { continue };
            if stream.ends.iter().all(|end| end.host != host || end.closed) {
                continue;
            }
            let tell = [stream.ends[0].host != host, stream.ends[1].host != host];
            self.break_stream(id, tell);
        }
    }

    /// A machine vanishes from the network: nobody is told. If it crashed, it has forgotten them
    /// itself.
    pub(super) fn lose_host(&mut self, host: usize, crashed: bool) {
        for id in self.streams_of(host) {
            let Some(stream) = self.streams.all.get_mut(&id) else { continue };
            stream.dead = true;
            for end in stream.ends.iter_mut().filter(|end| crashed && end.host == host) {
                end.closed = true;
                if let Some(link) = end.link.take() {
                    unlink(&mut self.streams.by_link, (host, link), id);
                }
            }
            for place in [0, 1].map(|side| Place::Host(stream.ends[side].host)) {
                self.lane_is_gone(place);
            }
            self.forget_if_over(id);
        }
        self.lose_host_at_hub(host, crashed);
    }

    /// Ends a stream at once; `tell` says which sides learn of it.
    fn break_stream(&mut self, id: StreamId, tell: [bool; 2]) {
        let Some(stream) = self.remove_stream(id) else { return };
        let latency = self.way(stream.ends[0].host, stream.ends[1].host);
        let places = [0, 1].map(|side| Place::Host(stream.ends[side].host));
        let ways = [(places[1], places[0]), (places[0], places[1])];
        let comes = ways.map(|(from, to)| !self.walls.stand_between(from, to));
        let tell = [tell[0] && comes[0], tell[1] && comes[1]];
        for (end, tell) in stream.ends.iter().zip(tell) {
            let Some(link) = end.link else { continue };
            unlink(&mut self.streams.by_link, (end.host, link), id);
            if tell && !stream.dead {
                let broken = Happening::Broken(end.host, end.epoch, link);
                self.plan(self.now + latency, Any::Streams(broken));
            }
        }
    }
}
