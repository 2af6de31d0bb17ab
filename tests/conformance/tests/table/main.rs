//! Plays every scenario on every driver, lets drivers meet each other, and prints both tables.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod drivers;
mod real;
mod simulated;

use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;

use towpath_conformance::{MEETINGS, SCENARIOS, Scenario, Table, Verdict};

use drivers::{Driver, SMOL, THREADS, TOKIO};

/// Scenarios at once: most of the time each waits for a rate, a timer or a disk.
const AT_ONCE: usize = 6;

fn main() -> ExitCode {
    // `cargo test -- NAME` plays what has this in its name.
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let wanted = |scenario: &&Scenario| scenario.name.contains(&filter);
    let scenarios: Vec<&Scenario> = SCENARIOS.iter().filter(wanted).collect();
    let alone = [TOKIO, SMOL, THREADS].map(|driver| (driver.name, driver, driver));
    let mut table = play("scenario", &scenarios, &alone);
    table.columns.push("world");
    for ((_, verdicts), scenario) in table.rows.iter_mut().zip(&scenarios) {
        verdicts.push(simulated::play(scenario));
    }
    let pairs = [
        ("tokio > smol", TOKIO, SMOL),
        ("smol > tokio", SMOL, TOKIO),
        ("tokio > threads", TOKIO, THREADS),
        ("threads > tokio", THREADS, TOKIO),
        ("smol > threads", SMOL, THREADS),
        ("threads > smol", THREADS, SMOL),
    ];
    let meetings: Vec<&Scenario> = MEETINGS.iter().filter(wanted).collect();
    let met = play("sharer > getter", &meetings, &pairs);
    println!("\n{table}\n{met}");
    if table.is_good() && met.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A column: its name, who shares and who gets.
type Column = (&'static str, Driver, Driver);

fn play(title: &'static str, scenarios: &[&Scenario], columns: &[Column]) -> Table {
    let rows = scenarios.iter().map(|one| (one.name, vec![Verdict::Ok; columns.len()])).collect();
    let columns_only = columns.iter().map(|(name, ..)| *name).collect();
    let table = Mutex::new(Table { title, columns: columns_only, rows });
    let all = (0..scenarios.len()).flat_map(|row| (0..columns.len()).map(move |at| (row, at)));
    let left = Mutex::new(all);
    let next = || left.lock().expect("no player panics while it holds this").next();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((row, at)) = next() {
                    let (_, sharer, getter) = &columns[at];
                    let verdict = play_one(scenarios[row], sharer, getter);
                    let mut table = table.lock().expect("no player panics while it holds this");
                    table.rows[row].1[at] = verdict;
                }
            });
        }
    });
    table.into_inner().expect("no player panics while it holds this")
}

fn play_one(scenario: &Scenario, sharer: &Driver, getter: &Driver) -> Verdict {
    if scenario.needs_relay() && !(sharer.has_relay && getter.has_relay) {
        return Verdict::NotApplicable("the driver on threads has no relay: it is an example");
    }
    if scenario.piped && !getter.has_pipe {
        return Verdict::NotApplicable("the driver on threads writes nothing in order");
    }
    match real::play(scenario, sharer, getter) {
        Ok(()) => Verdict::Ok,
        Err(why) => Verdict::Failed(why),
    }
}
