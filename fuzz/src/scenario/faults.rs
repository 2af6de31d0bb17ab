//! What goes wrong, and when it is mended.

use std::collections::BTreeSet;
use std::time::Duration;

use towpath_core::time::Instant;

use super::draw::within;
use crate::dice::Dice;
use crate::tracker::Mood;
use crate::world::{Ending, Place, Restart, Wall, World};

/// What was planned.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// In words.
    pub(super) told: Vec<String>,
    /// When everything is mended.
    pub(super) mended_at: Instant,
}

/// Plans what goes wrong, all of it mended within the first minute.
pub(super) fn draw(dice: &mut Dice, world: &mut World, sharers: usize) -> Faults {
    let mut faults = Faults::default();
    if dice.below(3) == 0 {
        return faults;
    }
    // Most downloads are over soon: early faults hit more.
    let span = [2_000, 10_000, 40_000][usize::try_from(dice.below(3)).expect("small")];
    for _ in 0..1 + dice.below(5) {
        let at = within(dice, span);
        let back = at + Duration::from_millis(dice.below(15_000));
        let told = match dice.below(22) {
            0..=11 => machine_fault(dice, world, sharers, at, back),
            _ => network_fault(dice, world, at, back),
        };
        faults.told.push(told);
        faults.mended_at = faults.mended_at.max(back);
    }
    mend(world, faults.mended_at);
    faults
}

/// Two faults may overlap; in the end everything runs.
pub(super) fn mend(world: &mut World, at: Instant) {
    world.tracker_at(at, true);
    world.mood_at(at, Mood::Honest);
    for host in 0..world.hosts.len() {
        world.unplug_at(at, host, false);
        world.start_at(at, host);
        for errand in 0..world.hosts[host].errands.len() {
            world.take_up_at(at, host, errand);
        }
    }
}

/// A host, its process, its disk or its clock.
fn machine_fault(
    dice: &mut Dice,
    world: &mut World,
    sharers: usize,
    at: Instant,
    back: Instant,
) -> String {
    let host = any_host(dice, world);
    match dice.below(12) {
        0..=4 => {
            let endings = [Ending::Killed, Ending::Crashed, Ending::Crashed, Ending::Quit];
            let ending = endings[usize::try_from(dice.below(4)).expect("small")];
            world.stop_at(at, host, ending);
            world.start_at(back, host);
            let who = if host < sharers { "sharer" } else { "getter" };
            format!("{at:?}: {who} {host} {ending:?}, back {back:?}")
        }
        5 | 6 => {
            world.freeze_at(at, host, back);
            format!("{at:?}: {host} frozen, until {back:?}")
        }
        7 | 8 => {
            let scale = 10 + dice.below(16);
            let by = Duration::from_millis(1 + dice.below(1 << scale));
            world.jump_at(at, Place::Host(host), by);
            format!("{at:?}: the clock of {host} jumps by {by:?}")
        }
        _ => {
            let errands = world.hosts[host].errands.len() as u64;
            let errand = usize::try_from(dice.below(errands)).expect("small");
            world.withdraw_at(at, host, errand);
            world.take_up_at(back, host, errand);
            format!("{at:?}: {host} withdraws {errand}, until {back:?}")
        }
    }
}

/// The network, the tracker or the hub.
fn network_fault(dice: &mut Dice, world: &mut World, at: Instant, back: Instant) -> String {
    let host = any_host(dice, world);
    match dice.below(16) {
        0 => {
            world.tracker_at(at, false);
            world.tracker_at(back, true);
            format!("{at:?}: tracker down, back {back:?}")
        }
        1 => {
            world.cut_streams_at(at);
            format!("{at:?}: all streams cut")
        }
        2 | 3 => {
            world.cut_relay_half_way(at);
            format!("{at:?}: all relay connections cut")
        }
        4 => {
            world.unplug_at(at, host, true);
            world.unplug_at(back, host, false);
            format!("{at:?}: {host} unplugged, back {back:?}")
        }
        5 => {
            world.damage_at(at);
            format!("{at:?}: wrong bits")
        }
        6 | 7 => {
            let mood = if dice.below(2) == 0 { Mood::Liar } else { Mood::Broken };
            world.mood_at(at, mood);
            world.mood_at(back, Mood::Honest);
            format!("{at:?}: the tracker is a {mood:?}, until {back:?}")
        }
        8..=11 => partition(dice, world, at, back),
        12 => {
            world.restart_at(at, Restart::Directory);
            format!("{at:?}: the directory restarts")
        }
        13 => {
            world.restart_at(at, Restart::Hub);
            format!("{at:?}: the hub restarts")
        }
        14 => {
            let by = Duration::from_secs(1 + dice.below(3_600));
            world.jump_at(at, Place::Hub, by);
            format!("{at:?}: the clock of the hub jumps by {by:?}")
        }
        _ => {
            let days = if dice.below(4) == 0 { -30 } else { 8 + dice.below(30).cast_signed() };
            world.wall_clock_at(at, days * 24 * 3_600);
            format!("{at:?}: the tracker's wall clock is set by {days} days")
        }
    }
}

/// Some hosts, the tracker among them or not, cannot reach the others, or be reached by them.
fn partition(dice: &mut Dice, world: &mut World, at: Instant, back: Instant) -> String {
    let mut sides = [BTreeSet::new(), BTreeSet::new()];
    for host in 0..world.hosts.len() {
        sides[usize::from(dice.below(2) == 0)].insert(Place::Host(host));
    }
    match dice.below(3) {
        // Everybody still reaches the tracker.
        0 => {}
        1 => drop(sides[0].insert(Place::Hub)),
        // Hosts reach one another, and one side cannot reach the tracker.
        _ => sides[0] = BTreeSet::from([Place::Hub]),
    }
    let [one, other] = sides;
    let wall = Wall { from: one.clone(), to: other.clone() };
    world.wall_at(at, back, wall.clone());
    let one_way = dice.below(2) == 0;
    if one_way {
        *world.counts.entry("one-way partition").or_default() += 1;
    } else {
        world.wall_at(at, back, Wall { from: other, to: one });
    }
    format!("{at:?}: {wall:?}, one way: {one_way}, until {back:?}")
}

fn any_host(dice: &mut Dice, world: &World) -> usize {
    usize::try_from(dice.below(world.hosts.len() as u64)).expect("small")
}
