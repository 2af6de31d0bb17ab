//! The simulated world itself: it can be replayed, its seeds hold, and one peer fills a long fat
//! network.

use towpath_core::path::Policy;
use towpath_fuzz::{golden, scenario, speed};

#[test]
fn a_seed_is_replayed_to_the_byte() {
    for seed in [3, 17, 42] {
        let once = scenario::play(seed, false).expect("it holds");
        let again = scenario::play(seed, false).expect("it holds");
        assert_eq!(once.trace, again.trace, "seed {seed}");
        assert_eq!(once.counts, again.counts, "seed {seed}");
    }
    let traces = [1, 2].map(|seed| scenario::play(seed, false).expect("it holds").trace);
    assert_ne!(traces[0], traces[1]);
}

#[test]
fn the_first_seeds_hold() {
    for seed in 0..100 {
        if let Err(message) = scenario::play(seed, false) {
            panic!("seed {seed}: {message}");
        }
    }
}

#[test]
fn one_peer_carries_900_mbit_over_100_ms_directly() {
    let speed = speed::measure(Policy::Direct, 192 << 20).expect("it arrives");
    assert!(speed.steady_mbit_per_second >= 900.0, "{speed}");
}

#[test]
fn one_peer_carries_900_mbit_over_100_ms_through_the_relay() {
    let speed = speed::measure(Policy::Relay, 192 << 20).expect("it arrives");
    assert!(speed.steady_mbit_per_second >= 900.0, "{speed}");
}

/// Where golden traces are, which are compared line by line.
#[test]
fn golden_traces_are_as_they_were() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
    let renews = std::env::var_os("TOWPATH_RENEW").is_some();
    let mut changed = Vec::new();
    for name in golden::NAMES {
        let story = golden::play(name).unwrap_or_else(|what| panic!("{name}: {what}"));
        let path = folder.join(format!("{name}.txt"));
        if renews {
            std::fs::create_dir_all(&folder).expect("the folder can be made");
            std::fs::write(&path, &story).expect("the trace can be written");
        }
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let first = before.lines().zip(story.lines()).position(|(old, new)| old != new);
        if before != story {
            let line = first.unwrap_or_else(|| before.lines().count().min(story.lines().count()));
            let [old, new] =
                [&before, &story].map(|text| text.lines().nth(line).unwrap_or("(end)"));
            changed.push(format!("{name}.txt, line {}:\n- {old}\n+ {new}", line + 1));
        }
    }
    let changed = changed.join("\n");
    assert!(
        changed.is_empty(),
        "What peers say to each other has changed:\n{changed}\nIf that is meant, renew the \
         traces, look at the diff and commit it: TOWPATH_RENEW=1 cargo test -p towpath-fuzz golden"
    );
}
