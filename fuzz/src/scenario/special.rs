//! Scenarios with a story of their own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use towpath_core::limits::CHUNK_BYTES;
use towpath_core::path::Policy;
use towpath_core::time::Instant;

use super::draw::{file, firewall, quality, within};
use super::faults::mend;
use super::{Scenario, Sort};
use crate::content::Content;
use crate::dice::Dice;
use crate::pipe::Quality;
use crate::world::{Ending, Wish, World};

/// How often the getter of [`kills`] is killed.
const KILLS: u64 = 20;

/// One sharer, and one getter that is killed, or whose machine crashes, twenty times while it gets.
pub(super) fn kills(dice: &mut Dice, world: &mut World) -> Scenario {
    let crashes = dice.below(2) == 0;
    let name = if crashes { "twenty crashes" } else { "twenty kills" };
    *world.counts.entry(name).or_default() += 1;
    let length = 8_000_000 + dice.below(8_000_000);
    let content = file(dice, length);
    let latency = Duration::from_millis(1 + dice.below(30));
    let wire = Quality::even(latency, 1_000_000 + dice.below(1_000_000));
    let sharer = world.add(Wish::Share, wire, &content);
    let policy = if dice.below(3) == 0 { Policy::Relay } else { Policy::Auto };
    let getter = world.add(Wish::Get(policy), wire, &content);
    world.start_at(Instant::ZERO, sharer);
    let mut at = Instant::ZERO + Duration::from_secs(1);
    world.start_at(at, getter);
    for _ in 0..KILLS {
        at = at + Duration::from_millis(200 + dice.below(1_000));
        world.stop_at(at, getter, if crashes { Ending::Crashed } else { Ending::Killed });
        at = at + Duration::from_millis(10 + dice.below(200));
        world.start_at(at, getter);
    }
    let faults = vec![format!("the getter has {name}")];
    let must_finish = BTreeSet::from([getter]);
    let (begun, mended_at) = (at, at);
    Scenario { sort: Sort::Kills, sharers: 1, must_finish, faults, begun, mended_at }
}

/// One sharer that leaves for good as soon as the others have everything together; a getter that
/// comes later finds only them.
pub(super) fn inherited(dice: &mut Dice, world: &mut World) -> Scenario {
    let length = 1_000_000 + dice.below(5_000_000);
    let content = file(dice, length);
    let latency = Duration::from_millis(1 + dice.below(30));
    let thin = Quality::even(latency, 300_000 + dice.below(1_000_000));
    let sharer = world.add(Wish::Share, thin, &content);
    let endings = [Ending::Killed, Ending::Crashed, Ending::Quit];
    let ending = endings[usize::try_from(dice.below(3)).expect("small")];
    world.hosts[sharer].bows_out = Some(ending);
    world.start_at(Instant::ZERO, sharer);
    let policy = if dice.below(3) == 0 { Policy::Relay } else { Policy::Auto };
    let mut must_finish = BTreeSet::new();
    let mut begun = Instant::ZERO;
    for number in 0..2 + dice.below(3) {
        let network = quality(dice, world);
        let host = world.add(Wish::Get(policy), network, &content);
        world.hosts[host].firewall = firewall(dice);
        let mut start = within(dice, 2_000);
        if number > 1 {
            *world.counts.entry("late getter").or_default() += 1;
            start = start + Duration::from_secs(30);
        }
        begun = begun.max(start);
        world.start_at(start, host);
        must_finish.insert(host);
    }
    let faults = vec![format!("the sharer will have {ending:?}")];
    let mended_at = begun;
    Scenario { sort: Sort::Inherited, sharers: 1, must_finish, faults, begun, mended_at }
}

/// The slowest wires that carry links through the relay. What waits before a socket is 4 KiB at
/// least, once at the host and once at the hub, so that the two round trips of a handshake take
/// longer than its 5 s on wires below this while others use them.
const SLOWEST_RELAYED: u64 = 2_000;

/// One sharer and a getter or two with wires of 2 to 34 kB/s, as of modems and bad radio.
pub(super) fn slow(dice: &mut Dice, world: &mut World) -> Scenario {
    *world.counts.entry("slow wires").or_default() += 1;
    let length = 1 + dice.below(600_000);
    let content = file(dice, length);
    let policy = if dice.below(2) == 0 { Policy::Relay } else { Policy::Direct };
    let slowest = if policy == Policy::Relay { SLOWEST_RELAYED } else { 4_000 };
    let wire = |dice: &mut Dice| Quality {
        latency: Duration::from_millis(20 + dice.below(300)),
        up_bytes_per_second: slowest + dice.below(34_000 - slowest),
        down_bytes_per_second: slowest + dice.below(34_000 - slowest),
        losses_per_thousand: dice.below(3),
    };
    let sharer = world.add(Wish::Share, wire(dice), &content);
    world.start_at(Instant::ZERO, sharer);
    let mut must_finish = BTreeSet::new();
    for _ in 0..1 + dice.below(2) {
        let host = world.add(Wish::Get(policy), wire(dice), &content);
        world.start_at(within(dice, 2_000), host);
        must_finish.insert(host);
    }
    let mut scenario = Scenario::without_faults(Sort::Slow, must_finish);
    if dice.below(3) > 0 {
        let at = within(dice, 20_000);
        world.cut_streams_at(at);
        world.cut_relay_half_way(at);
        scenario.faults.push(format!("{at:?}: everything cut"));
        scenario.mended_at = at;
        mend(world, at);
    }
    scenario
}

/// Three chunks at so low a rate that the link says nothing for a minute between them.
pub(super) fn trickle(dice: &mut Dice, world: &mut World) -> Scenario {
    *world.counts.entry("trickle").or_default() += 1;
    let length = 2 * CHUNK_BYTES as u64 + 1 + dice.below(CHUNK_BYTES as u64);
    let content = file(dice, length);
    let good = Quality::even(Duration::from_millis(1 + dice.below(50)), 125_000_000);
    let sharer = world.add(Wish::Share, good, &content);
    let policy = if dice.below(2) == 0 { Policy::Relay } else { Policy::Auto };
    let getter = world.add(Wish::Get(policy), good, &content);
    world.hosts[getter].config.limit_down = Some(3_000 + dice.below(3_000));
    world.start_at(Instant::ZERO, sharer);
    world.start_at(Instant::ZERO + Duration::from_secs(1), getter);
    Scenario::without_faults(Sort::Limited, BTreeSet::from([getter]))
}

/// A folder whose manifest leads out of it: everybody who gets it refuses it.
pub(super) fn escaping(dice: &mut Dice, world: &mut World) -> Scenario {
    let by_link = dice.below(2) == 0;
    let content = Arc::new(Content::escaping(&mut dice.fork("content", 0), by_link));
    let good = Quality::even(Duration::from_millis(1 + dice.below(50)), 125_000_000);
    let sharer = world.add(Wish::Share, good, &content);
    world.start_at(Instant::ZERO, sharer);
    for _ in 0..1 + dice.below(2) {
        let getter = world.add(Wish::Get(Policy::Auto), good, &content);
        world.start_at(within(dice, 2_000), getter);
    }
    let mut scenario = Scenario::without_faults(Sort::Escaping, BTreeSet::new());
    scenario.mended_at = Instant::ZERO + Duration::from_secs(20);
    scenario
}
