//! Runs the simulated world: `towpath-fuzz world --seeds 200`, `towpath-fuzz world --seed 17`.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::{Args, Parser, Subcommand};
use towpath_core::path::Policy;
use towpath_fuzz::{scenario, speed};

/// Finds faults in the core, and replays them.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plays scenarios in the simulated world
    World(World),
    /// Measures what one peer carries in the simulated world, at 1 Gbit/s and 100 ms round trip
    Speed,
}

#[derive(Debug, Args)]
struct World {
    /// Plays so many seeds
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// Beginning with this one
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Plays this one alone, and tells everything that happens
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
}

/// The seed that is being played, for the words of a failed assertion.
static SEED: AtomicU64 = AtomicU64::new(0);

fn replay_command(seed: u64) -> String {
    format!("cargo run --release -p towpath-fuzz -- world --seed {seed}")
}

fn main() -> ExitCode {
    // An assertion that fails ends the search, as it would end a peer: say first how to replay it.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        hook(panic);
        eprintln!("replay: {}", replay_command(SEED.load(Ordering::Relaxed)));
    }));
    match Cli::parse().command {
        Command::World(World { seed: Some(seed), .. }) => replay(seed),
        Command::World(args) => search(args.from, args.seeds),
        Command::Speed => speed(),
    }
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn speed() -> ExitCode {
    for (name, policy) in [("direct", Policy::Direct), ("relay", Policy::Relay)] {
        match speed::measure(policy, 1 << 30) {
            Ok(speed) => println!("{name}: {speed}"),
            Err(message) => {
                println!("{name} FAILS: {message}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn replay(seed: u64) -> ExitCode {
    SEED.store(seed, Ordering::Relaxed);
    match scenario::play(seed, true) {
        Ok(outcome) => {
            println!("seed {seed} holds, trace {:016x}: {:?}", outcome.trace, outcome.counts);
            ExitCode::SUCCESS
        }
        Err(message) => {
            println!("seed {seed} FAILS: {message}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn search(from: u64, seeds: u64) -> ExitCode {
    let started = std::time::Instant::now();
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut failed = 0;
    for seed in from..from.saturating_add(seeds) {
        SEED.store(seed, Ordering::Relaxed);
        match scenario::play(seed, false) {
            Ok(outcome) => {
                for (what, n) in outcome.counts {
                    *counts.entry(what).or_default() += n;
                }
            }
            Err(message) => {
                failed += 1;
                println!("seed {seed} FAILS: {message}");
                println!("  replay: {}", replay_command(seed));
            }
        }
    }
    for (what, n) in &counts {
        println!("{n:8} {what}");
    }
    for what in scenario::EXPECTED.iter().filter(|what| !counts.contains_key(*what)) {
        println!("   never {what}");
    }
    println!("{:.1} s", started.elapsed().as_secs_f64());
    println!("{} passed, {failed} failed", seeds - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
