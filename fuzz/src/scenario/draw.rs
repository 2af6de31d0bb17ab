//! Dice become hosts, networks and contents.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use towpath_core::path::Policy;
use towpath_core::time::Instant;

use super::faults::{self, Faults};
use super::{Scenario, Sort, special};
use crate::content::Content;
use crate::dice::Dice;
use crate::pipe::Quality;
use crate::world::{Firewall, Manners, Wish, World, address_of};

const CHUNK: u64 = 256 * 1024;

impl Scenario {
    pub(super) fn draw(dice: &mut Dice, world: &mut World) -> Self {
        match dice.below(30) {
            0 => Self::crowd(dice, world),
            1 if dice.below(2) == 0 => special::trickle(dice, world),
            2 if dice.below(2) == 0 => special::escaping(dice, world),
            1 | 2 => Self::limited(dice, world),
            3 => special::kills(dice, world),
            4 | 16 => special::inherited(dice, world),
            5 => special::slow(dice, world),
            6..=15 => Self::hostile(dice, world),
            _ => Self::mixed(dice, world),
        }
    }

    /// Anything: sharers of all manners, getters of all wishes, all networks, all faults.
    fn mixed(dice: &mut Dice, world: &mut World) -> Self {
        let contents = contents(dice, world);
        let sharers = 1 + small(dice, 3);
        let getters = 1 + small(dice, 4);
        for number in 0..sharers {
            let network = quality(dice, world);
            let host = world.add(Wish::Share, network, &contents[0]);
            world.hosts[host].firewall = firewall(dice);
            for content in &contents[1..] {
                // The first one has everything, and is honest.
                if number == 0 || dice.below(2) == 0 {
                    world.add_errand(host, Wish::Share, content);
                }
            }
            if number > 0 {
                world.hosts[host].manners = manners(dice);
            }
            person(dice, world, host);
            world.start_at(within(dice, 2_000), host);
        }
        let mut must_finish = BTreeSet::new();
        let mut begun = Instant::ZERO;
        for _ in 0..getters {
            let content = &contents[small(dice, contents.len() as u64)];
            let wish = wish(dice, content.contents().is_some());
            let network = quality(dice, world);
            let host = world.add(wish, network, content);
            world.hosts[host].firewall = firewall(dice);
            world.hosts[host].leaves = dice.below(2) == 0;
            for other in contents.iter().filter(|other| !Arc::ptr_eq(other, content)) {
                if dice.below(2) == 0 {
                    let policy = wish.policy().unwrap_or(Policy::Auto);
                    world.add_errand(host, Wish::Get(policy), other);
                }
            }
            quirk(dice, world, host, content);
            person(dice, world, host);
            let mut start = within(dice, 5_000);
            if dice.below(12) == 0 {
                *world.counts.entry("late getter").or_default() += 1;
                start = start + Duration::from_secs(30 + dice.below(60));
            }
            world.start_at(start, host);
            if can_finish(world, host, sharers) {
                must_finish.insert(host);
                begun = begun.max(start);
            }
        }
        let Faults { told: faults, mended_at } = faults::draw(dice, world, sharers);
        Self { sort: Sort::Mixed, sharers, must_finish, faults, begun, mended_at }
    }

    /// One sharer with a thin wire, ten getters that must help each other.
    fn crowd(dice: &mut Dice, world: &mut World) -> Self {
        *world.counts.entry("crowd").or_default() += 1;
        let length = 3_000_000 + dice.below(3_000_000);
        let content = file(dice, length);
        let latency = Duration::from_millis(1 + dice.below(30));
        let thin = Quality::even(latency, 1_000_000);
        let seeder = world.add(Wish::Share, thin, &content);
        world.start_at(Instant::ZERO, seeder);
        let mut must_finish = BTreeSet::new();
        let policy = if dice.below(3) == 0 { Policy::Relay } else { Policy::Auto };
        for _ in 0..10 {
            let rate = 12_500_000;
            let quality = Quality {
                up_bytes_per_second: rate,
                down_bytes_per_second: rate,
                ..quality(dice, world)
            };
            let host = world.add(Wish::Get(policy), quality, &content);
            must_finish.insert(host);
            world.start_at(within(dice, 2_000), host);
        }
        Self::without_faults(Sort::Crowd, must_finish)
    }

    /// One sharer, one getter, good networks, and a limit on one of them.
    fn limited(dice: &mut Dice, world: &mut World) -> Self {
        *world.counts.entry("limited rate").or_default() += 1;
        let length = 2_000_000 + dice.below(6_000_000);
        let content = file(dice, length);
        let latency = Duration::from_millis(1 + dice.below(50));
        let good = Quality::even(latency, 125_000_000);
        let limit = Some(200_000 + dice.below(2_000_000));
        let sharer = world.add(Wish::Share, good, &content);
        let policy = if dice.below(3) == 0 { Policy::Relay } else { Policy::Auto };
        let getter = world.add(Wish::Get(policy), good, &content);
        let limited = if dice.below(2) == 0 {
            &mut world.hosts[sharer].config.limit_up
        } else {
            &mut world.hosts[getter].config.limit_down
        };
        *limited = limit;
        world.start_at(Instant::ZERO, sharer);
        world.start_at(Instant::ZERO + Duration::from_secs(1), getter);
        Self::without_faults(Sort::Limited, BTreeSet::from([getter]))
    }

    /// One sharer; who gets is started within two seconds.
    pub(super) fn without_faults(sort: Sort, must_finish: BTreeSet<usize>) -> Self {
        let begun = Instant::ZERO + Duration::from_secs(2);
        let mended_at = Instant::ZERO;
        Self { sort, sharers: 1, must_finish, faults: Vec::new(), begun, mended_at }
    }
}

/// A file of so many bytes.
pub(super) fn file(dice: &mut Dice, length: u64) -> Arc<Content> {
    let length = usize::try_from(length).expect("small");
    Arc::new(Content::file(&mut dice.fork("content", 0), length))
}

pub(super) fn within(dice: &mut Dice, millis: u64) -> Instant {
    Instant::ZERO + Duration::from_micros(dice.below(millis * 1_000))
}

pub(super) fn small(dice: &mut Dice, bound: u64) -> usize {
    usize::try_from(dice.below(bound)).expect("small")
}

/// What is shared: one thing, or a few by the same people.
fn contents(dice: &mut Dice, world: &mut World) -> Vec<Arc<Content>> {
    let several = if dice.below(6) == 0 { 1 + dice.below(3) } else { 0 };
    if several > 0 {
        *world.counts.entry("several contents").or_default() += 1;
    }
    (0..=several).map(|number| content(dice, world, number)).collect()
}

pub(super) fn content(dice: &mut Dice, world: &mut World, number: u64) -> Arc<Content> {
    let mut rng = dice.fork("content", number);
    let mut content = if dice.below(4) == 0 {
        let lengths: Vec<usize> = (0..2 + dice.below(30)).map(|_| file_length(dice) / 4).collect();
        Content::folder(&mut rng, &lengths)
    } else {
        Content::file(&mut rng, file_length(dice))
    };
    if dice.below(6) == 0 {
        content.secret = None;
        *world.counts.entry("public share").or_default() += 1;
    }
    Arc::new(content)
}

fn file_length(dice: &mut Dice) -> usize {
    let length = match dice.below(6) {
        0 => dice.below(3),
        1 => CHUNK * dice.below(4) + dice.below(3),
        2 => CHUNK * (1 + dice.below(4)) - 1,
        3 => dice.below(CHUNK),
        _ => dice.below(6 * 1024 * 1024),
    };
    usize::try_from(length).expect("small")
}

pub(super) fn quality(dice: &mut Dice, world: &mut World) -> Quality {
    let latency = match dice.below(3) {
        0 => Duration::from_micros(50 + dice.below(1_000)),
        1 => Duration::from_millis(1 + dice.below(30)),
        _ => Duration::from_millis(20 + dice.below(130)),
    };
    let up_bytes_per_second = rate(dice);
    // Some wires carry much more one way than the other.
    let uneven = dice.below(3) == 0;
    *world.counts.entry("uneven wires").or_default() += u64::from(uneven);
    let down_bytes_per_second = if uneven { rate(dice) } else { up_bytes_per_second };
    let losses_per_thousand = if dice.below(3) == 0 { 1 + dice.below(20) } else { 0 };
    Quality { latency, up_bytes_per_second, down_bytes_per_second, losses_per_thousand }
}

fn rate(dice: &mut Dice) -> u64 {
    match dice.below(3) {
        0 => 200_000 + dice.below(2_000_000),
        1 => 2_000_000 + dice.below(20_000_000),
        _ => 125_000_000,
    }
}

pub(super) fn firewall(dice: &mut Dice) -> Firewall {
    match dice.below(5) {
        0 => Firewall::Drop,
        1 => Firewall::Refuse,
        _ => Firewall::Open,
    }
}

fn manners(dice: &mut Dice) -> Manners {
    match dice.below(16) {
        0 | 1 => Manners::FalseEvery(1 + dice.below(8)),
        2 => Manners::FalseProof(1 + dice.below(4)),
        3 => Manners::Refuses,
        4 => Manners::Mute,
        5 => Manners::ChangedAt(within(dice, 10_000)),
        _ => Manners::Honest,
    }
}

pub(super) fn wish(dice: &mut Dice, is_folder: bool) -> Wish {
    let policy = match dice.below(8) {
        0 => Policy::Direct,
        1 => Policy::Relay,
        2 => Policy::Sequential,
        _ => Policy::Auto,
    };
    match dice.below(6) {
        0 | 1 if is_folder => Wish::Get(policy),
        0 => Wish::Pipe(policy, Some(Duration::from_micros(dice.below(20_000)))),
        1 if dice.below(2) == 0 => Wish::Pipe(policy, None),
        _ => Wish::Get(policy),
    }
}

/// A host may belong to a user who has another one, and announce addresses that are not its own.
fn person(dice: &mut Dice, world: &mut World, host: usize) {
    if host > 0 && dice.below(10) == 0 {
        let twin = small(dice, host as u64);
        world.hosts[host].config.secret_key = world.hosts[twin].config.secret_key;
        *world.counts.entry("same key").or_default() += 1;
    }
    if dice.below(5) > 0 {
        return;
    }
    *world.counts.entry("dead or wrong addresses").or_default() += 1;
    for _ in 0..1 + dice.below(3) {
        let address = if host == 0 || dice.below(2) == 0 {
            SocketAddr::from(([192, 0, 2, 1], 1 + small(dice, 60_000) as u16))
        } else {
            address_of(small(dice, host as u64))
        };
        world.hosts[host].other_addresses.push(address);
    }
}

/// What may be odd about a getter's machine or user.
fn quirk(dice: &mut Dice, world: &mut World, host: usize, content: &Content) {
    let getter = &mut world.hosts[host];
    let counted = match dice.below(16) {
        0 | 1 => {
            getter.disk_latency = Duration::from_millis(1 + dice.below(40));
            "slow disk"
        }
        2 => {
            getter.errands[0].disk.room_bytes = dice.below(content.length_bytes() + 1);
            "small disk"
        }
        3 => {
            getter.errands[0].patience = Some(Duration::from_millis(500 + dice.below(5_000)));
            "impatient"
        }
        _ if matches!(getter.errands[0].wish, Wish::Pipe(_, Some(_))) => "slow reader",
        _ => return,
    };
    *world.counts.entry(counted).or_default() += 1;
}

/// Whether there is somebody honest who has what it wants and whom it may reach.
pub(super) fn can_finish(world: &World, host: usize, sharers: usize) -> bool {
    let honest = |number: &usize| world.hosts[*number].manners == Manners::Honest;
    let open = |number: &usize| world.hosts[*number].firewall == Firewall::Open;
    world.hosts[host].errands.iter().all(|errand| {
        let policy = match errand.wish {
            Wish::Share => return true,
            Wish::Pipe(_, None) => return false,
            Wish::Get(policy) | Wish::Pipe(policy, Some(_)) => policy,
        };
        let has_it = |number: &usize| {
            let mut theirs = world.hosts[*number].errands.iter();
            theirs.any(|theirs| Arc::ptr_eq(theirs.content(), errand.content()))
        };
        let mut having = (0..sharers).filter(honest).filter(has_it);
        having.any(|number| policy != Policy::Direct || open(&number))
    })
}
