//! Who may send when: every host has one wire out and one wire in, and all its streams share them.
//!
//! A *lane* is one direction of a stream. A lane with something to send queues for the wire out of
//! its sender; when that is free, the first lane whose receiver's wire in is free too sends one
//! piece. A lane that found the wire in busy queues there as well, so that several senders share a
//! receiver fairly. The hub's wires are never busy.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use towpath_core::relay::hub::ConnId;
use towpath_core::time::Instant;

use super::{Happening as Any, Plant, World, relay, streams};
use crate::pipe::Pipe;

/// Where wires are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// At a host.
    Host(usize),
    /// At the tracker, which is the hub too.
    Hub,
}

/// The most bytes that go over a wire at once, so that streams take turns.
const PIECE_BYTES: u64 = 64 * 1024;

/// The fewest, however slow the wire is: a packet.
const PACKET_BYTES: u64 = 1_400;

/// A piece takes a wire for a tenth of a second at most.
const PIECES_PER_SECOND: u64 = 10;

/// One direction of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lane {
    /// What this side of a TCP stream sends.
    Stream(streams::StreamId, streams::Side),
    /// What is sent to the hub (`true`) or by it.
    Socket(ConnId, bool),
}

#[derive(Debug)]
pub(super) enum Happening {
    /// A wire out may be free.
    Out(Place),
    /// A wire in may be free.
    In(Place),
}

#[derive(Debug, Default)]
struct Wire {
    free_at: Instant,
    queue: VecDeque<Lane>,
}

/// All wires.
#[derive(Debug, Default)]
pub(super) struct Wires {
    out: BTreeMap<Place, Wire>,
    into: BTreeMap<Place, Wire>,
    /// Lanes whose next piece is damaged on its way.
    damaged: Vec<Lane>,
}

impl World {
    pub(super) fn wire_happens(&mut self, what: Happening) {
        match what {
            Happening::Out(place) => self.serve(place),
            Happening::In(place) => {
                if let Some((from, _)) = self.first_waiting(place).and_then(|lane| self.ends(lane))
                {
                    self.serve(from);
                }
            }
        }
    }

    /// The next piece of this lane is damaged.
    pub(super) fn damage(&mut self, lane: Lane) {
        self.wires.damaged.push(lane);
    }

    /// A lane may have something to send.
    pub(super) fn offer(&mut self, lane: Lane) {
        if !self.wants(lane) {
            return;
        }
        let Some((from, _)) = self.ends(lane) else { return };
        let out = self.wires.out.entry(from).or_default();
        if !out.queue.contains(&lane) {
            out.queue.push_back(lane);
        }
        self.serve(from);
    }

    /// A lane is gone: whoever waits behind it has his turn.
    pub(super) fn lane_is_gone(&mut self, to: Place) {
        self.plan(self.now, Any::Wires(Happening::In(to)));
    }

    fn lane(&mut self, lane: Lane) -> Option<&mut Pipe> {
        match lane {
            Lane::Stream(id, side) => self.stream_lane(id, side),
            Lane::Socket(conn, to_hub) => self.socket_lane(conn, to_hub),
        }
    }

    /// Sender and receiver.
    fn ends(&self, lane: Lane) -> Option<(Place, Place)> {
        match lane {
            Lane::Stream(id, side) => self.stream_ends(id, side),
            Lane::Socket(conn, to_hub) => {
                let host = Place::Host(self.socket_host(conn)?);
                Some(if to_hub { (host, Place::Hub) } else { (Place::Hub, host) })
            }
        }
    }

    /// Whether it has something to send, and something would come through.
    fn wants(&mut self, lane: Lane) -> bool {
        let Some((from, to)) = self.ends(lane) else { return false };
        let is_open = !self.walls.stand_between(from, to);
        is_open && self.lane(lane).is_some_and(|pipe| pipe.next_piece(1).is_some())
    }

    /// The most bytes that go from one place to another at once.
    fn piece_bytes(&self, from: Place, to: Place) -> usize {
        let rate = |place, up| match place {
            Place::Host(host) => {
                let quality = self.hosts[host].quality;
                if up { quality.up_bytes_per_second } else { quality.down_bytes_per_second }
            }
            Place::Hub => u64::MAX,
        };
        let slower = rate(from, true).min(rate(to, false));
        let bytes = (slower / PIECES_PER_SECOND).clamp(PACKET_BYTES, PIECE_BYTES);
        usize::try_from(bytes).expect("small")
    }

    /// The lane whose turn it is at a wire in.
    fn first_waiting(&mut self, place: Place) -> Option<Lane> {
        loop {
            let lane = *self.wires.into.entry(place).or_default().queue.front()?;
            if self.wants(lane) {
                return Some(lane);
            }
            self.wires.into.entry(place).or_default().queue.pop_front();
        }
    }

    /// Lets the wire out of a place take the next piece, if it is free.
    fn serve(&mut self, from: Place) {
        let mut at = 0;
        loop {
            let out = self.wires.out.entry(from).or_default();
            if out.free_at > self.now {
                return;
            }
            let Some(lane) = out.queue.get(at).copied() else { return };
            if !self.wants(lane) {
                self.wires.out.entry(from).or_default().queue.remove(at);
            } else if self.may_enter(lane) {
                self.wires.out.entry(from).or_default().queue.remove(at);
                self.transmit(lane);
                at = 0;
            } else {
                at += 1;
            }
        }
    }

    /// Whether the wire in is free for this lane; if not, it waits there.
    fn may_enter(&mut self, lane: Lane) -> bool {
        let Some((_, to)) = self.ends(lane) else { return false };
        let now = self.now;
        let first = self.first_waiting(to);
        let into = self.wires.into.entry(to).or_default();
        if into.free_at <= now && first.is_none_or(|first| first == lane) {
            return true;
        }
        if !into.queue.contains(&lane) {
            into.queue.push_back(lane);
        }
        false
    }

    fn transmit(&mut self, lane: Lane) {
        let Some((from, to)) = self.ends(lane) else { return };
        let most = self.piece_bytes(from, to);
        let next = self.lane(lane).and_then(|pipe| pipe.next_piece(most));
        let Some(bytes) = next else { return };
        let (time_out, time_in) = (self.time_up(from, bytes), self.time_down(to, bytes));
        let now = self.now;
        if let Place::Host(host) = from {
            self.hosts[host].sent_bytes += bytes as u64;
        }
        let out = self.wires.out.entry(from).or_default();
        out.free_at = now + time_out;
        let into = self.wires.into.entry(to).or_default();
        into.free_at = now + time_in;
        into.queue.retain(|waiting| *waiting != lane);
        let left_at = now + time_out.max(time_in);
        let arrives_at = left_at + self.latency(from) + self.latency(to) + self.loss(from, to);
        let is_damaged = self.wires.damaged.iter().position(|damaged| *damaged == lane);
        if let Some(place) = is_damaged {
            self.wires.damaged.swap_remove(place);
            self.count("piece damaged");
        }
        if self.plant == Some(Plant::LostPieces) && self.rng.below(500) == 0 {
            self.lane(lane).map(Pipe::lose);
            return self.plan(left_at, Any::Wires(Happening::Out(from)));
        }
        let Some(pipe) = self.lane(lane) else { return };
        let damage = |piece| if is_damaged.is_some() { flip(piece) } else { piece };
        let (arrives_at, is_last) = pipe.send(bytes, arrives_at, damage);
        if !is_last && matches!(lane, Lane::Socket(..)) {
            self.count("message in pieces");
        }
        let left = match lane {
            Lane::Stream(id, side) => Any::Streams(streams::Happening::Left(id, side, bytes)),
            Lane::Socket(conn, to_hub) => Any::Relay(relay::Happening::Left(conn, to_hub, bytes)),
        };
        self.plan(left_at, left);
        self.plan(
            arrives_at,
            match lane {
                Lane::Stream(id, side) => Any::Streams(streams::Happening::Arrive(id, 1 - side)),
                Lane::Socket(conn, to_hub) => Any::Relay(relay::Happening::Arrive(conn, to_hub)),
            },
        );
        self.plan(now + time_in, Any::Wires(Happening::In(to)));
        self.plan(now + time_out, Any::Wires(Happening::Out(from)));
        if self.wants(lane) {
            self.wires.out.entry(from).or_default().queue.push_back(lane);
        }
    }

    fn time_up(&self, place: Place, bytes: usize) -> Duration {
        match place {
            Place::Host(host) => self.hosts[host].quality.time_up(bytes),
            Place::Hub => Duration::ZERO,
        }
    }

    fn time_down(&self, place: Place, bytes: usize) -> Duration {
        match place {
            Place::Host(host) => self.hosts[host].quality.time_down(bytes),
            Place::Hub => Duration::ZERO,
        }
    }

    pub(super) fn latency(&self, place: Place) -> Duration {
        match place {
            Place::Host(host) => self.hosts[host].quality.latency,
            Place::Hub => Duration::ZERO,
        }
    }

    /// How much later a piece comes because it was lost first.
    fn loss(&mut self, from: Place, to: Place) -> Duration {
        let losses = |place| match place {
            Place::Host(host) => self.hosts[host].quality.losses_per_thousand,
            Place::Hub => 0,
        };
        let losses = losses(from) + losses(to);
        if losses == 0 || self.rng.below(1_000) >= losses {
            return Duration::ZERO;
        }
        self.count("piece lost");
        Duration::from_millis(200) + (self.latency(from) + self.latency(to)) * 2
    }
}

/// The piece with one bit changed.
fn flip(piece: Bytes) -> Bytes {
    let mut bytes = BytesMut::from(&piece[..]);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    bytes.freeze()
}
