//! Plays a scenario in the simulated world: its peers are wired as a driver wires them, its
//! network, disks and tracker are made up. It judges every byte itself.

use std::sync::Arc;
use std::time::Duration;

use towpath_conformance::{Content, End, Scenario, TROUBLED_RATE, Trouble, Verdict, Way};
use towpath_core::node::Failure;
use towpath_core::path::{PathKind, Policy};
use towpath_core::rng::Rng;
use towpath_core::time::Instant;
use towpath_fuzz::content::Content as Made;
use towpath_fuzz::pipe::Quality;
use towpath_fuzz::world::{Ending, Firewall, Manners, Wish, World, address_of};

const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn play(scenario: &Scenario) -> Verdict {
    if scenario.trouble == Trouble::WrongSecret {
        return Verdict::NotApplicable("a link of the world has one secret for tracker and sharer");
    }
    match try_play(scenario) {
        Ok(()) => Verdict::Ok,
        Err(why) => Verdict::Failed(why),
    }
}

fn try_play(scenario: &Scenario) -> Result<(), String> {
    let content = content(scenario, 1);
    let mut world = World::new(Rng::new([7; 32]), 64 << 20);
    let quality = Quality::even(Duration::from_millis(2), 100_000_000);
    let sharer = world.add(Wish::Share, quality, &content);
    let limit_up = (scenario.trouble != Trouble::None).then_some(TROUBLED_RATE);
    world.hosts[sharer].config.limit_up = limit_up;
    let policy = match scenario.way {
        Way::Direct | Way::AfterAStranger => Policy::Direct,
        Way::Refused => Policy::Auto,
        Way::Relay => Policy::Relay,
    };
    if scenario.way == Way::Refused {
        world.hosts[sharer].firewall = Firewall::Refuse;
    }
    let mut getters = Vec::new();
    for _ in 0..scenario.getters {
        let wanted = match scenario.trouble {
            Trouble::WrongLocator => self::content(scenario, 2),
            _ => content.clone(),
        };
        let wish = match scenario.piped {
            true => Wish::Pipe(policy, Some(Duration::from_millis(1))),
            false => Wish::Get(policy),
        };
        let getter = world.add(wish, quality, &wanted);
        let lonely = scenario.end == End::NobodyOnline;
        world.hosts[getter].errands[0].patience = lonely.then_some(Duration::from_secs(2));
        world.hosts[getter].leaves = true;
        world.start_at(Instant::ZERO + Duration::from_secs(1), getter);
        getters.push(getter);
    }
    if scenario.way == Way::AfterAStranger {
        let stranger = world.add(Wish::Share, quality, &self::content(scenario, 3));
        world.hosts[sharer].other_addresses = vec![address_of(stranger)];
        world.start_at(Instant::ZERO, stranger);
    }
    world.start_at(Instant::ZERO, sharer);
    trouble(scenario, &mut world, sharer, getters[0])?;
    let end = world.now + PATIENCE;
    let is_over = |world: &World| getters.iter().all(|getter| has_ended(scenario, world, *getter));
    world.run(end, is_over)?;
    for getter in &getters {
        judge(scenario, &world, *getter)?;
    }
    Ok(())
}

fn content(scenario: &Scenario, seed: u8) -> Arc<Made> {
    let mut rng = Rng::new([seed; 32]);
    let mut made = match scenario.content {
        Content::File(length) => Made::file(&mut rng, length),
        Content::Folder(files) => {
            let lengths: Vec<usize> = files.iter().map(|(_, length)| *length).collect();
            Made::folder(&mut rng, &lengths)
        }
    };
    if !scenario.private {
        made.secret = None;
    }
    Arc::new(made)
}

/// Lets happen what the scenario wants, as soon as the first chunks are through.
fn trouble(
    scenario: &Scenario,
    world: &mut World,
    sharer: usize,
    getter: usize,
) -> Result<(), String> {
    if matches!(scenario.trouble, Trouble::None | Trouble::WrongLocator | Trouble::WrongSecret) {
        return Ok(());
    }
    let has_some = |world: &World| world.figures(getter, 0).received_bytes > 300_000;
    world.run(world.now + PATIENCE, has_some)?;
    let now = world.now;
    let later = now + Duration::from_secs(3);
    match scenario.trouble {
        Trouble::GetterDies => {
            world.stop_at(now, getter, Ending::Killed);
            world.start_at(later, getter);
        }
        Trouble::SharerDies => {
            world.stop_at(now, sharer, Ending::Killed);
            world.start_at(later, sharer);
        }
        Trouble::SharerQuits => world.stop_at(now, sharer, Ending::Quit),
        Trouble::SourceChanges => world.hosts[sharer].manners = Manners::ChangedAt(now),
        Trouble::RelayBreaks => {
            world.tracker_at(now, false);
            world.tracker_at(later, true);
        }
        Trouble::None | Trouble::WrongLocator | Trouble::WrongSecret => {}
    }
    Ok(())
}

fn has_ended(scenario: &Scenario, world: &World, getter: usize) -> bool {
    match scenario.end {
        End::Arrives => world.hosts[getter].finished_at().is_some(),
        _ => judge(scenario, world, getter).is_ok(),
    }
}

fn judge(scenario: &Scenario, world: &World, getter: usize) -> Result<(), String> {
    let seen = world.figures(getter, 0);
    let failed = |failure| seen.failed.0.iter().any(|(seen, _)| *seen == failure);
    let is_good = match scenario.end {
        End::Arrives => {
            let path = if scenario.needs_relay() { PathKind::Relay } else { PathKind::Direct };
            let other = (0..3).filter(|other| *other != path as usize);
            seen.finished_at.is_some()
                && other.map(|other| seen.by_path_bytes[other]).sum::<u64>() == 0
        }
        End::NobodyOnline => failed(Failure::NobodyOnline),
        // The world's sharer ends its command then, so that the getter may hear only of its end.
        End::SourceChanged => {
            seen.finished_at.is_none() && world.counts.contains_key("source changed")
        }
        End::NotTheShare => false,
    };
    if is_good { Ok(()) } else { Err(format!("{seen:?}")) }
}
