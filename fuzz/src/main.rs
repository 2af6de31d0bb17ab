//! Runs the simulated world: `towpath-fuzz world --seeds 200`, `towpath-fuzz world --seed 17`; and
//! feeds the fuzz targets: `towpath-fuzz replay`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use towpath_core::path::Policy;
use towpath_fuzz::search::{current_seed, one, search};
use towpath_fuzz::{corpus, scenario, speed, targets};

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
    /// Feeds fuzz targets with everything that is kept for them, or with files
    Replay {
        /// This target alone
        target: Option<String>,
        /// These files instead of what is kept
        files: Vec<PathBuf>,
    },
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
    #[arg(long, conflicts_with_all = ["seeds", "from", "jobs"])]
    seed: Option<u64>,
    /// Threads; as many as there are cores, unless told otherwise
    #[arg(long)]
    jobs: Option<usize>,
    /// Plants a known fault and looks for the first seed that finds it; `list` names all faults
    #[arg(long = "break", value_name = "NAME")]
    fault: Option<String>,
}

/// With so many seeds everything that is expected must have happened.
const SEEDS_FOR_ALL: u64 = 200;

fn replay_command(seed: u64) -> String {
    format!("cargo run --release -p towpath-fuzz -- world --seed {seed}")
}

fn main() -> ExitCode {
    // An assertion that fails would end a peer: say how to replay it where it is said.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        hook(panic);
        eprintln!("replay: {}", replay_command(current_seed()));
    }));
    match Cli::parse().command {
        Command::World(World { fault: Some(name), seed, from, seeds, .. }) => {
            break_world(&name, seed, from, seeds)
        }
        Command::World(World { seed: Some(seed), .. }) => replay(seed),
        Command::World(args) => play_many(&args),
        Command::Speed => speed(),
        Command::Replay { target, files } => match feed_targets(target.as_deref(), &files) {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                eprintln!("{message}");
                ExitCode::FAILURE
            }
        },
    }
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn feed_targets(name: Option<&str>, files: &[PathBuf]) -> Result<(), String> {
    let names = || targets::ALL.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
    let find = |name| targets::find(name).ok_or_else(|| format!("the targets are: {}", names()));
    let one = name.map(find).transpose()?;
    if let Some(target) = one
        && !files.is_empty()
    {
        for file in files {
            let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
            corpus::feed(target, &file.display().to_string(), &bytes);
        }
        println!("{}: {} inputs hold", target.name, files.len());
        return Ok(());
    }
    for target in one.map_or(targets::ALL, std::slice::from_ref) {
        let inputs = corpus::replay(target).map_err(|error| error.to_string())?;
        println!("{}: {inputs} inputs hold", target.name);
    }
    Ok(())
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

#[cfg(not(feature = "planted"))]
fn break_world(_: &str, _: Option<u64>, _: u64, _: u64) -> ExitCode {
    eprintln!("this build cannot plant faults; build with --features planted");
    ExitCode::FAILURE
}

/// Plays seeds with a fault until one finds it, or one seed alone.
#[cfg(feature = "planted")]
#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn break_world(name: &str, seed: Option<u64>, from: u64, seeds: u64) -> ExitCode {
    use towpath_fuzz::planted;
    // What fails is told below, with its seed.
    std::panic::set_hook(Box::new(|_| ()));
    if name == "list" {
        for planted in planted::ALL {
            println!("{:18} {}", planted.name, planted.about);
        }
        return ExitCode::SUCCESS;
    }
    let Some(planted) = planted::find(name) else {
        eprintln!("there is no fault {name}; --break list names all");
        return ExitCode::FAILURE;
    };
    if let Some(seed) = seed {
        let played = planted.play(seed, true);
        match &played {
            Ok(_) => println!("seed {seed} does not find {name}"),
            Err(message) => println!("seed {seed} FAILS: {message}"),
        }
        return if played.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    for seed in from..from.saturating_add(seeds) {
        if let Err(message) = planted.play(seed, false) {
            let first = message.lines().next().unwrap_or_default();
            println!("{name}: seed {seed} finds it: {first}");
            println!(
                "  replay: cargo run --profile quick -p towpath-fuzz --features planted -- \
                 world --break {name} --seed {seed}"
            );
            return ExitCode::SUCCESS;
        }
    }
    println!("{name}: not found in {seeds} seeds from {from} on");
    ExitCode::FAILURE
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn replay(seed: u64) -> ExitCode {
    match one(seed, |seed| scenario::play(seed, true)) {
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
fn play_many(args: &World) -> ExitCode {
    let started = std::time::Instant::now();
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = args.jobs.unwrap_or_else(cores);
    let report = search(args.from, args.seeds, jobs, |seed| {
        let result = scenario::play(seed, false);
        if result.is_err() {
            // At once, because a long search ends late; the report follows in order.
            eprintln!("seed {seed} fails");
        }
        result
    });
    for (seed, message) in &report.failures {
        println!("seed {seed} FAILS: {message}");
        println!("  replay: {}", replay_command(*seed));
    }
    for (what, n) in &report.counts {
        println!("{n:8} {what}");
    }
    let never = report.never(&scenario::expected());
    for what in &never {
        println!("   never {what}");
    }
    println!("{:.1} s on {jobs} threads", started.elapsed().as_secs_f64());
    println!("{} passed, {} failed", report.passed, report.failures.len());
    let all_happened = never.is_empty() || args.seeds < SEEDS_FOR_ALL;
    if report.failures.is_empty() && all_happened { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
