//! Seeds become scenarios: who is there, how good the networks are, what goes wrong, what must come
//! true.
//!
//! Whatever goes wrong is mended within the first minute, so that everybody who can finish must do
//! so: a getter can if some honest sharer that it may reach (directly, or by the relay) is up at
//! the end.
//!
//! | module | its story |
//! |---|---|
//! | `draw` | dice become hosts, networks, contents |
//! | `faults` | what goes wrong, and when it is mended |
//! | `judge` | what must hold at the end |

mod draw;
mod faults;
mod judge;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use towpath_core::rng::Rng;
use towpath_core::time::Instant;

use crate::pipe::Quality;
use crate::world::{Plant, World};

/// Everything is mended by then.
const MENDED_AFTER: Duration = Duration::from_secs(60);
/// Time to finish after that: reconnects have backed off to a minute, a vanished host is given up
/// after one, and a slow wire carries 200 kB/s.
const PATIENCE: Duration = Duration::from_secs(400);

/// Whoever vanished is given up by then: the relay waits longest, 70 s.
const CALM_AFTER: Duration = Duration::from_secs(80);

/// What must have happened at least once in 200 seeds; otherwise the dice are loaded.
pub const EXPECTED: &[&str] = &[
    "crash",
    "crowd",
    "dead or wrong addresses",
    "dial dropped",
    "dial refused",
    "dial to nobody",
    "direct",
    "disk full",
    "failed, and tried again later",
    "false chunk refused",
    "finished",
    "frozen",
    "folder described",
    "hub closed a connection",
    "kill",
    "liar named",
    "limited rate",
    "piece damaged",
    "piece lost",
    "pipe stopped",
    "public share",
    "quit",
    "relay",
    "relay connection",
    "relay cut",
    "request left unanswered",
    "request refused",
    "slow disk",
    "slow reader",
    "source changed",
    "same key",
    "small budget of the hub",
    "start",
    "stopped",
    "stream",
    "streams cut",
    "tracker down",
    "tracker in a mood",
    "unplugged",
];

/// What a run showed.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How often each thing happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// Everything that happened, hashed.
    pub trace: u64,
}

/// What kind of scenario it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// Anything.
    Mixed,
    /// One sharer, ten getters that also serve each other.
    Crowd,
    /// One sharer and one getter on good networks, one of them with a limit.
    Limited,
}

/// What was drawn.
#[derive(Debug)]
struct Scenario {
    sort: Sort,
    sharers: usize,
    must_finish: BTreeSet<usize>,
    faults: Vec<String>,
}

/// Plays the scenario of `seed`.
///
/// # Errors
/// What did not hold.
pub fn play(seed: u64, verbose: bool) -> Result<Outcome, String> {
    play_with(seed, verbose, None)
}

/// Plays the scenario of `seed` with a planted fault, which should be found.
///
/// # Errors
/// What did not hold.
pub fn play_with(seed: u64, verbose: bool, plant: Option<Plant>) -> Result<Outcome, String> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let mut rng = Rng::new(bytes);
    let mut dice = rng.fork("scenario", 0);
    let mut world = World::new(rng.fork("world", 0), hub_budget(&mut rng.fork("hub", 0)));
    world.verbose = verbose;
    world.plant = plant;
    if world.hub_budget_bytes < ROOMY {
        *world.counts.entry("small budget of the hub").or_default() += 1;
    }
    let scenario = Scenario::draw(&mut dice, &mut world);
    if verbose {
        eprintln!("{}", scenario.describe(&world));
    }
    match scenario.play(&mut world) {
        Ok(()) => {
            let counts = std::mem::take(&mut world.counts);
            Ok(Outcome { counts, trace: world.trace.value() })
        }
        Err(message) => Err(format!("{message}\n{}", scenario.describe(&world))),
    }
}

/// What a hub has in a world where that is not the matter.
const ROOMY: usize = 64 << 20;

fn hub_budget(dice: &mut Rng) -> usize {
    if dice.below(4) > 0 {
        return ROOMY;
    }
    usize::try_from(400_000 + dice.below(2_000_000)).expect("small")
}

impl Scenario {
    fn play(&self, world: &mut World) -> Result<(), String> {
        let end = Instant::ZERO + MENDED_AFTER + PATIENCE;
        let wanted = &self.must_finish;
        if !self.faults.is_empty() || wanted.is_empty() {
            world.run(Instant::ZERO + MENDED_AFTER, |_| false)?;
        }
        world.run(end, |world| world.unfinished(wanted).is_empty())?;
        // Last words are heard, and who should be gone is gone.
        let a_little = world.now + Duration::from_secs(4);
        world.run(a_little, |_| false)?;
        self.judge(world)?;
        self.calm_down(world)
    }

    /// Everybody who fetches goes; then nothing may be left at the sharers and the hub. Then they
    /// go.
    fn calm_down(&self, world: &mut World) -> Result<(), String> {
        for host in self.sharers..world.hosts.len() {
            world.quit_now(host);
        }
        world.run(world.now + CALM_AFTER, |_| false)?;
        world.check_calm()?;
        for host in 0..self.sharers {
            world.quit_now(host);
        }
        world.run(world.now + Duration::from_secs(4), |_| false)?;
        world.check_calm()
    }

    fn describe(&self, world: &World) -> String {
        let mut text = format!("  {:?} at {:?}\n", self.sort, world.now);
        for (number, host) in world.hosts.iter().enumerate() {
            let Quality { latency, bytes_per_second, losses_per_thousand } = host.quality;
            let _ = writeln!(
                text,
                "  host {number} {:?}: {:?} {:?}; {latency:?}, {bytes_per_second} B/s, \
                 {losses_per_thousand} losses, disk {:?}, limits {:?} {:?}",
                host.peer_id(),
                host.firewall,
                host.manners,
                host.disk_latency,
                host.config.limit_up,
                host.config.limit_down,
            );
            for (index, errand) in host.errands.iter().enumerate() {
                let length = errand.content().length_bytes();
                let _ = writeln!(text, "    {:?} {length} bytes", errand.wish);
                let _ = writeln!(text, "    {:?}", world.figures(number, index));
            }
        }
        let _ = write!(text, "  must finish: {:?}; faults: {:#?}", self.must_finish, self.faults);
        text
    }
}
