//! What is planned: the queue's order, and what scenarios may plan.

use std::cmp::Ordering;

use towpath_core::time::Instant;

use super::{Ending, Happening, Restart, World, relay, streams};
use crate::tracker::Mood;

/// One happening in the queue.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) at: Instant,
    pub(super) number: u64,
    pub(super) what: Happening,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}
impl Eq for Planned {}
impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first; the earliest is wanted.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl World {
    /// Plans that the command of a host starts.
    pub fn start_at(&mut self, at: Instant, host: usize) {
        self.plan(at, Happening::Start(host));
    }

    /// Plans that it ends.
    pub fn stop_at(&mut self, at: Instant, host: usize, ending: Ending) {
        self.plan(at, Happening::Stop(host, ending));
    }

    /// Plans that the network of a host is cut off without a word, or comes back.
    pub fn unplug_at(&mut self, at: Instant, host: usize, unplugged: bool) {
        self.plan(at, Happening::Unplug(host, unplugged));
    }

    /// Plans that a host is frozen until a moment.
    pub fn freeze_at(&mut self, at: Instant, host: usize, until: Instant) {
        self.plan(at, Happening::Freeze(host, until));
    }

    /// Plans that the tracker (and its relay) goes down or comes back.
    pub fn tracker_at(&mut self, at: Instant, up: bool) {
        self.plan(at, Happening::Tracker(up));
    }

    /// Plans that the tracker or its hub starts again.
    pub fn restart_at(&mut self, at: Instant, what: Restart) {
        self.plan(at, Happening::Restart(what));
    }

    /// Plans that a host withdraws an errand while it runs.
    pub fn withdraw_at(&mut self, at: Instant, host: usize, errand: usize) {
        self.plan(at, Happening::Withdraw(host, errand));
    }

    /// Plans that it takes it up again.
    pub fn take_up_at(&mut self, at: Instant, host: usize, errand: usize) {
        self.plan(at, Happening::TakeUp(host, errand));
    }

    /// Plans that the tracker's answers are of another mood.
    pub fn mood_at(&mut self, at: Instant, mood: Mood) {
        self.plan(at, Happening::Mood(mood));
    }

    /// Plans that the relay obeys nobody, or is the real one again.
    pub fn hostile_relay_at(&mut self, at: Instant, hostile: bool) {
        self.plan(at, Happening::Relay(relay::Happening::Hostile(hostile)));
    }

    /// Plans that all TCP streams between peers break.
    pub fn cut_streams_at(&mut self, at: Instant) {
        self.plan(at, Happening::Streams(streams::Happening::CutAll));
    }

    /// Plans that all WebSockets to the relay break.
    pub fn cut_relay_at(&mut self, at: Instant) {
        self.plan(at, Happening::Relay(relay::Happening::CutAll(0)));
    }

    /// The same, as soon as a message is half-way, but a second later at most.
    pub fn cut_relay_half_way(&mut self, at: Instant) {
        self.plan(at, Happening::Relay(relay::Happening::CutAll(relay::CUT_PATIENCE)));
    }

    /// Plans that the next piece on every stream and WebSocket has a wrong bit.
    pub fn damage_at(&mut self, at: Instant) {
        self.damaged = true;
        self.plan(at, Happening::Streams(streams::Happening::DamageAll));
        self.plan(at, Happening::Relay(relay::Happening::DamageAll));
    }

    pub(super) fn plan(&mut self, at: Instant, what: Happening) {
        self.numbers += 1;
        self.queue.push(Planned { at: at.max(self.now), number: self.numbers, what });
    }
}
