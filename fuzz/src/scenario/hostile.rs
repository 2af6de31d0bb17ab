//! Dice become adversaries: honest sharers and getters among hosts that obey nobody.
//!
//! Everybody holds the same link, adversaries included. What must come true is what always must:
//! an honest getter finishes if an honest sharer can be reached, and no wrong byte is written.

use std::collections::BTreeSet;
use std::time::Duration;

use towpath_core::limits::{HEARTBEAT_MAX, MAX_RETRY_AFTER_SECONDS};
use towpath_core::time::Instant;

use super::draw::{can_finish, content, firewall, quality, small, wish, within};
use super::faults::{self, Faults};
use super::{Scenario, Sort};
use crate::adversary::Vice;
use crate::dice::Dice;
use crate::tracker::Mood;
use crate::world::{Wish, World};

/// Adversaries are watched for so long at least.
const WATCHED: Duration = Duration::from_secs(25);

impl Scenario {
    pub(super) fn hostile(dice: &mut Dice, world: &mut World) -> Self {
        let content = content(dice, world, 0);
        let is_folder = content.contents().is_some();
        let sharers = 1 + small(dice, 2);
        for _ in 0..sharers {
            let network = quality(dice, world);
            let host = world.add(Wish::Share, network, &content);
            world.hosts[host].firewall = firewall(dice);
            world.start_at(within(dice, 2_000), host);
        }
        let mut must_finish = BTreeSet::new();
        for _ in 0..1 + small(dice, 3) {
            let network = quality(dice, world);
            let host = world.add(wish(dice, is_folder), network, &content);
            world.hosts[host].firewall = firewall(dice);
            world.hosts[host].leaves = dice.below(4) == 0;
            world.start_at(within(dice, 5_000), host);
            if can_finish(world, host, sharers) {
                must_finish.insert(host);
            }
        }
        // Before adversaries come, because they are nobody's fault.
        let more =
            if dice.below(2) == 0 { faults::draw(dice, world, sharers) } else { Faults::default() };
        let mended_at = more.mended_at.max(Instant::ZERO + WATCHED);
        let mut told = more.told;
        let mended_at = mended_at.max(tracker_and_relay(dice, world, &mut told));
        // Who sleeps or is cut off shows nobody the door; whoever is found by a lie may be anybody.
        let doors = told.is_empty();
        for _ in 0..1 + small(dice, 4) {
            let vices = vices(dice);
            let sybils = if vices.contains(&Vice::Sybils) { 8 + small(dice, 24) } else { 0 };
            told.push(format!("adversary: {vices:?}"));
            let network = quality(dice, world);
            let host = world.add_adversary(network, &content, vices, sybils);
            if let Some(config) = &mut world.hosts[host].adversary {
                config.knows_the_door = doors;
            }
            world.start_at(within(dice, 3_000), host);
        }
        let begun = Instant::ZERO + Duration::from_secs(5);
        Self { sort: Sort::Hostile, sharers, must_finish, faults: told, begun, mended_at }
    }
}

/// The tracker may lie for a while, and the relay obey nobody; when all of it is forgotten.
fn tracker_and_relay(dice: &mut Dice, world: &mut World, told: &mut Vec<String>) -> Instant {
    let mut mended_at = Instant::ZERO;
    if dice.below(4) == 0 {
        let (from, until) = (within(dice, 5_000), Instant::ZERO + WATCHED);
        world.mood_at(from, Mood::Hostile);
        world.mood_at(until, Mood::Honest);
        told.push(format!("{from:?}: the tracker lies"));
        // It may have sent us away, or told us to come rarely.
        mended_at = until + HEARTBEAT_MAX.max(Duration::from_secs(MAX_RETRY_AFTER_SECONDS.into()));
    }
    if dice.below(4) == 0 {
        let (from, until) = (within(dice, 8_000), Instant::ZERO + WATCHED);
        world.hostile_relay_at(from, true);
        world.hostile_relay_at(until, false);
        told.push(format!("{from:?}: the relay obeys nobody"));
        mended_at = mended_at.max(until);
    }
    mended_at
}

/// A few ways to misbehave: of a seeder, of a requester, or of both.
fn vices(dice: &mut Dice) -> Vec<Vice> {
    let (seeders, requesters) = [(1, 0), (2, 0), (3, 0), (0, 7), (3, 3)][small(dice, 5)];
    let mut vices = Vec::new();
    for (all, few) in [(Vice::SEEDERS, seeders), (Vice::REQUESTERS, requesters)] {
        for _ in 0..few {
            vices.push(all[small(dice, all.len() as u64)]);
        }
    }
    vices
}
