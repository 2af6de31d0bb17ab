//! What goes wrong, and when it is mended.

use std::time::Duration;

use towpath_core::rng::Rng;
use towpath_core::time::Instant;

use super::draw::within;
use crate::tracker::Mood;
use crate::world::{Ending, World};

/// Plans what goes wrong, all of it mended within the first minute; says what.
pub(super) fn draw(dice: &mut Rng, world: &mut World, sharers: usize) -> Vec<String> {
    let mut told = Vec::new();
    if dice.below(3) == 0 {
        return told;
    }
    // Most downloads are over soon: early faults hit more.
    let span = [2_000, 10_000, 40_000][usize::try_from(dice.below(3)).expect("small")];
    for _ in 0..1 + dice.below(5) {
        let at = within(dice, span);
        let back = at + Duration::from_millis(dice.below(15_000));
        told.push(fault(dice, world, sharers, at, back));
    }
    // Two faults may overlap; in the end everything runs.
    let last = Instant::ZERO + Duration::from_secs(56);
    world.tracker_at(last, true);
    world.mood_at(last, Mood::Honest);
    for host in 0..world.hosts.len() {
        world.unplug_at(last, host, false);
        world.start_at(last, host);
    }
    told
}

fn fault(dice: &mut Rng, world: &mut World, sharers: usize, at: Instant, back: Instant) -> String {
    let host = usize::try_from(dice.below(world.hosts.len() as u64)).expect("small");
    match dice.below(11) {
        0..=2 => {
            let endings = [Ending::Killed, Ending::Crashed, Ending::Quit];
            let ending = endings[usize::try_from(dice.below(3)).expect("small")];
            world.stop_at(at, host, ending);
            world.start_at(back, host);
            let who = if host < sharers { "sharer" } else { "getter" };
            format!("{at:?}: {who} {host} {ending:?}, back {back:?}")
        }
        3 => {
            world.tracker_at(at, false);
            world.tracker_at(back, true);
            format!("{at:?}: tracker down, back {back:?}")
        }
        4 => {
            world.cut_streams_at(at);
            format!("{at:?}: all streams cut")
        }
        5 => {
            world.cut_relay_at(at);
            format!("{at:?}: all relay connections cut")
        }
        6 => {
            world.unplug_at(at, host, true);
            world.unplug_at(back, host, false);
            format!("{at:?}: {host} unplugged, back {back:?}")
        }
        7 => {
            world.damage_at(at);
            format!("{at:?}: wrong bits")
        }
        8 => {
            world.mood_at(at, Mood::Liar);
            world.mood_at(back, Mood::Honest);
            format!("{at:?}: the tracker lies, until {back:?}")
        }
        9 => {
            let until = at + Duration::from_millis(dice.below(16_000));
            world.freeze_at(at, host, until);
            format!("{at:?}: {host} frozen, until {until:?}")
        }
        _ => {
            world.mood_at(at, Mood::Broken);
            world.mood_at(back, Mood::Honest);
            format!("{at:?}: the tracker is broken, until {back:?}")
        }
    }
}
