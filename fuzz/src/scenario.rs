//! Seeds become scenarios: who is there, how good the networks are, what goes wrong, what must come
//! true.
//!
//! Whatever goes wrong is mended within the first minute, so that everybody who can finish must do
//! so in time: a getter can if some honest sharer that it may reach (directly, or by the relay) is
//! up at the end, or if the others have all of it together.
//!
//! | module | its story |
//! |---|---|
//! | `draw` | dice become hosts, networks, contents |
//! | `special` | scenarios with a story of their own |
//! | `hostile` | dice become adversaries |
//! | `faults` | what goes wrong, and when it is mended |
//! | `judge` | what must hold at the end |
//! | `time` | how long it may take |

mod draw;
mod faults;
mod hostile;
mod judge;
mod special;
mod time;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use towpath_core::rng::Rng;
use towpath_core::time::Instant;

use crate::adversary::{Vice, relay, tracker};
use crate::dice::Dice;
use crate::world::{Plant, World};

/// Whoever vanished is given up by then: the relay waits longest, 70 s.
const CALM_AFTER: Duration = Duration::from_secs(80);

/// What must have happened at least once in 200 seeds; otherwise the dice are loaded.
pub const EXPECTED: &[&str] = &[
    "byte read alone",
    "clock jumped",
    "clock of the hub jumped",
    "clock went back a little",
    "crash",
    "crowd",
    "dead or wrong addresses",
    "dial dropped",
    "dial refused",
    "dial to nobody",
    "direct",
    "directory restarted",
    "disk full",
    "download withdrawn",
    "failed, and tried again later",
    "false chunk refused",
    "finished",
    "folder described",
    "frozen",
    "hub closed a connection",
    "hub restarted",
    "kill",
    "late getter",
    "liar named",
    "limited rate",
    "manifest refused",
    "message cut in two",
    "message in pieces",
    "one-way partition",
    "partition of hosts",
    "partition with tracker",
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
    "same key",
    "several contents",
    "share withdrawn",
    "sharer left, others inherit",
    "slow disk",
    "slow reader",
    "slow wires",
    "small budget of the hub",
    "source changed",
    "start",
    "stopped",
    "stream",
    "streams cut",
    "taken up again",
    "token expired",
    "torn chunk",
    "torn journal",
    "tracker down",
    "tracker in a mood",
    "trickle",
    "twenty crashes",
    "twenty kills",
    "uneven wires",
    "unplugged",
    "wall clock set",
];

/// All that must have happened: [`EXPECTED`], and whatever adversaries can do.
#[must_use]
pub fn expected() -> Vec<&'static str> {
    let vices = Vice::SEEDERS.iter().chain(Vice::REQUESTERS).map(|vice| vice.name());
    let hostile = tracker::LIES.iter().chain(relay::TRICKS).copied();
    let answers =
        ["adversary accused", "adversary shown the door", "split at every byte, and served"];
    EXPECTED.iter().copied().chain(vices).chain(hostile).chain(answers).collect()
}

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
    /// One getter that is killed twenty times.
    Kills,
    /// A sharer that leaves when the others have everything together.
    Inherited,
    /// Wires of a few kB/s.
    Slow,
    /// A folder whose manifest leads out of it.
    Escaping,
    /// Honest hosts among adversaries.
    Hostile,
}

/// What was drawn.
#[derive(Debug)]
struct Scenario {
    sort: Sort,
    sharers: usize,
    must_finish: BTreeSet<usize>,
    faults: Vec<String>,
    /// When the last of those who must finish was started.
    begun: Instant,
    /// When everything is mended.
    mended_at: Instant,
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
    let dice = Dice::new(rng.fork("scenario", 0));
    play_thrown(rng, dice, verbose, plant)
}

/// Plays the scenario that these bytes choose, the first one the world's own randomness.
///
/// # Errors
/// What did not hold.
pub fn play_bytes(bytes: &[u8], verbose: bool) -> Result<Outcome, String> {
    let (seed, bytes) = bytes.split_first().unwrap_or((&0, &[]));
    let mut rng = Rng::new([*seed; 32]);
    let dice = Dice::loaded(bytes, rng.fork("scenario", 0));
    play_thrown(rng, dice, verbose, None)
}

fn play_thrown(
    mut rng: Rng,
    mut dice: Dice,
    verbose: bool,
    plant: Option<Plant>,
) -> Result<Outcome, String> {
    let mut world = World::new(rng.fork("world", 0), hub_budget(&mut rng.fork("hub", 0)));
    world.verbose = verbose;
    world.plant = plant;
    world.jitters = dice.below(4) == 0;
    world.shreds = dice.below(16) == 0;
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
        let wanted = &self.must_finish;
        world.run(self.mended_at, |_| false)?;
        // The deadline moves when somebody fails, or leaves.
        while world.now < self.deadline(world) && !world.unfinished(wanted).is_empty() {
            world.run(self.deadline(world), |world| world.unfinished(wanted).is_empty())?;
        }
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
        self.judge_life(world)?;
        for host in 0..self.sharers {
            world.quit_now(host);
        }
        world.run(world.now + Duration::from_secs(4), |_| false)?;
        world.check_calm()
    }

    fn describe(&self, world: &World) -> String {
        let mut text = format!("  {:?} at {:?}\n", self.sort, world.now);
        for (number, host) in world.hosts.iter().enumerate() {
            let quality = host.quality;
            let _ = writeln!(
                text,
                "  host {number} {:?}: {:?} {:?}; {quality:?}, disk {:?}, \
                 limits {:?} {:?}",
                host.peer_id(),
                host.firewall,
                host.manners,
                host.disk_latency,
                host.config.limit_up,
                host.config.limit_down,
            );
            if let Some(config) = &host.adversary {
                let _ = writeln!(text, "    adversary: {:?}", config.vices);
            }
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
