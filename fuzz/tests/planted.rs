//! Every fault that can be planted is found within 1,000 seeds, and the command that is printed
//! finds it again.
//!
//! Each fault is played in a process of its own, as people would: a fault is on for a whole
//! process.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use towpath_fuzz::planted::{ALL, Planted};

const SEEDS: &str = "1000";

struct Find {
    name: &'static str,
    seed: u64,
    message: String,
}

/// Runs the world with these words; whether it went well, and what it said.
fn world(words: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_towpath-fuzz")).args(words).output();
    let output = output.expect("the world is built beside its tests");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn search(planted: &Planted) -> Result<Find, String> {
    let name = planted.name;
    let (found, said) = world(&["world", "--break", name, "--seeds", SEEDS]);
    if !found {
        return Err(format!("{name} is not found: {said}"));
    }
    let parts = said.lines().next().and_then(|line| {
        let (_, rest) = line.split_once(": seed ")?;
        rest.split_once(" finds it: ")
    });
    let (seed, message) = parts.ok_or_else(|| format!("{name}: {said}"))?;
    let command = said.lines().find_map(|line| line.trim().strip_prefix("replay: "));
    let command = command.ok_or_else(|| format!("{name}: no command to replay it: {said}"))?;
    let (_, words) = command.split_once(" -- ").ok_or_else(|| command.to_string())?;
    let (holds, again) = world(&words.split_whitespace().collect::<Vec<_>>());
    if holds || !again.contains(message) {
        return Err(format!("{name}: {command} says something else: {again}"));
    }
    let (holds, honest) = world(&["world", "--seed", seed]);
    if !holds {
        return Err(format!("{name}: seed {seed} fails without it too: {honest}"));
    }
    let seed = seed.parse().map_err(|_| said.clone())?;
    Ok(Find { name, seed, message: message.to_string() })
}

#[test]
fn every_planted_fault_is_found_and_replayed() {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(planted) = ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = search(planted);
                    results.lock().expect("nobody panics with it").push(result);
                }
            });
        }
    });
    let results = results.into_inner().expect("nobody panicked with it");
    let (finds, failures): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    for Find { name, seed, message } in finds.into_iter().flatten() {
        println!("| {name} | {seed} | {message} |");
    }
    let failures: Vec<String> = failures.into_iter().filter_map(Result::err).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_list_names_every_fault_once() {
    let (listed, said) = world(&["world", "--break", "list"]);
    assert!(listed);
    for planted in ALL {
        let named =
            said.lines().filter(|line| line.split_whitespace().next() == Some(planted.name));
        assert_eq!(named.count(), 1, "{}", planted.name);
    }
    let documented = include_str!("../../docs/world.md");
    for planted in ALL {
        let row = format!("| `{}` |", planted.name);
        assert!(documented.contains(&row), "docs/world.md does not tell of {}", planted.name);
    }
    assert!(!world(&["world", "--break", "nothing"]).0, "nobody knows that fault");
}
