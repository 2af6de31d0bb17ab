//! The simulated world itself: it can be replayed, its seeds hold, and one peer fills a long fat
//! network.

use towpath_core::path::Policy;
use towpath_fuzz::{scenario, speed};

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
