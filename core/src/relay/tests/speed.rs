//! Windows grow to the path, in virtual time.

use core::time::Duration;

use super::world::{MIB, World};

/// MB/s that one circuit reaches over pipes of 1 Gbit/s, in each second after it was opened.
fn seconds(to_sender: u64, to_receiver: u64, count: usize) -> alloc::vec::Vec<f64> {
    let mut world = World::new(1, 256 * MIB);
    let a = world.peer(125_000_000, Duration::from_millis(to_sender));
    let b = world.peer(125_000_000, Duration::from_millis(to_receiver));
    for peer in [a, b] {
        world.peers[peer].up.buffer_bytes = 2 * MIB;
        world.peers[peer].down.buffer_bytes = 2 * MIB;
    }
    world.run(Duration::from_secs(2));
    let (there, back) = world.circuit(a, b);
    world.send(a, there, 2_000 * MIB);
    let mut rates = alloc::vec![];
    let mut before = 0;
    for _ in 0..count {
        world.run(Duration::from_secs(1));
        let got = world.end(b, back).received_bytes;
        rates.push((got - before) as f64 / 1e6);
        before = got;
    }
    assert_eq!(world.closed, alloc::vec![]);
    rates
}

#[test]
fn a_gigabit_over_a_hundred_milliseconds_is_filled_within_two_seconds() {
    for (to_sender, to_receiver) in [(25, 25), (49, 1), (1, 49)] {
        let rates = seconds(to_sender, to_receiver, 3);
        assert!(rates[0] > 30.0, "{rates:?}");
        assert!(rates[1] > 90.0, "{rates:?}");
        assert!(rates[2] > 112.5, "{rates:?}");
    }
}

#[test]
fn a_short_path_is_filled_at_once() {
    let rates = seconds(1, 1, 1);
    assert!(rates[0] > 118.0, "{rates:?}");
}
