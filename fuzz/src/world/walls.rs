//! Partitions: walls that nothing passes, in one direction.
//!
//! A wall stands between some places and others. What waits to be sent through it waits on, as a
//! TCP connection's bytes are sent again and again; when the wall falls, it comes through. Nobody
//! is told of anything. A wall in both directions is two walls.

use std::collections::BTreeSet;
use std::time::Duration;

use towpath_core::time::Instant;

use super::wires::Lane;
use super::{Happening as Any, Place, World, relay, streams};

/// A wall: nothing passes from any of the first places to any of the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wall {
    /// Where it is sent.
    pub from: BTreeSet<Place>,
    /// Where it does not arrive.
    pub to: BTreeSet<Place>,
}

#[derive(Debug)]
pub(super) enum Happening {
    Rises(Wall),
    Falls(Wall),
    /// What was held up is sent again.
    Retry,
}

/// All walls that stand.
#[derive(Debug, Default)]
pub(super) struct Walls(Vec<Wall>);

impl Walls {
    /// Whether nothing passes from one place to the other.
    pub(super) fn stand_between(&self, from: Place, to: Place) -> bool {
        self.0.iter().any(|wall| wall.from.contains(&from) && wall.to.contains(&to))
    }

    /// Whether no answer would come.
    pub(super) fn part(&self, one: Place, other: Place) -> bool {
        self.stand_between(one, other) || self.stand_between(other, one)
    }
}

impl World {
    /// Plans that a wall stands for a while.
    pub fn wall_at(&mut self, at: Instant, until: Instant, wall: Wall) {
        self.plan(at, Any::Walls(Happening::Rises(wall.clone())));
        self.plan(until.max(at), Any::Walls(Happening::Falls(wall)));
    }

    pub(super) fn wall_happens(&mut self, what: Happening) {
        match what {
            Happening::Rises(wall) => {
                let hub = |places: &BTreeSet<Place>| places.contains(&Place::Hub);
                let hides_hub = hub(&wall.from) || hub(&wall.to);
                self.count(if hides_hub { "partition with tracker" } else { "partition of hosts" });
                self.walls.0.push(wall);
            }
            Happening::Falls(wall) => {
                if let Some(at) = self.walls.0.iter().position(|standing| *standing == wall) {
                    self.walls.0.swap_remove(at);
                }
                // Senders try again now and then, less and less often.
                let pause = Duration::from_micros(self.rng.below(3_000_000));
                self.plan(self.now + pause, Any::Walls(Happening::Retry));
            }
            Happening::Retry => {
                for id in self.all_streams() {
                    for side in [0, 1] {
                        self.offer(Lane::Stream(id, side));
                        self.plan(self.now, Any::Streams(streams::Happening::Arrive(id, side)));
                    }
                }
                for conn in self.all_sockets() {
                    for to_hub in [true, false] {
                        self.offer(Lane::Socket(conn, to_hub));
                        let arrive = relay::Happening::Arrive(conn, to_hub);
                        self.plan(self.now, Any::Relay(arrive));
                    }
                }
            }
        }
    }
}
