//! Many circuits at once: each has its share, and one that nobody reads costs the others nothing.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::world::{KIB, MIB, World};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

const CIRCUITS: usize = 100;

/// Bytes that arrive over each of many circuits in two seconds, through a hub whose budget is small
/// for so many; `stuck`: the receiver of the first one reads nothing.
fn carry(seed: u8, stuck: bool) -> Vec<usize> {
    let mut world = World::new(seed, 16 * MIB);
    let peer = |world: &mut World, number: usize| {
        // None of these is the hub's key.
        let mut secret_key = [100; 32];
        secret_key[1] = number as u8;
        world.peer_with_key(500_000, MS * 10, secret_key, number as u64)
    };
    let peers: Vec<usize> = (0..2 * CIRCUITS).map(|number| peer(&mut world, number)).collect();
    world.run(SECOND);
    let mut circuits = Vec::new();
    for pair in peers.chunks(2) {
        world.peers[pair[1]].down.buffer_bytes = 64 * KIB;
        let (from, to) = world.circuit(pair[0], pair[1]);
        circuits.push((pair[0], from, pair[1], to));
    }
    world.pause(circuits[0].2, stuck);
    for (sender, link, _, _) in &circuits {
        world.send(*sender, *link, 10 * MIB);
    }
    world.run(SECOND * 2);
    assert_eq!(world.closed, vec![]);
    circuits.iter().map(|(_, _, to, link)| world.end(*to, *link).received_bytes).collect()
}

#[test]
fn a_hundred_circuits_get_the_same() {
    let got = carry(31, false);
    let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
    assert!(least * 10 >= most * 9, "slowest {least}, fastest {most}");
    assert!(*least > 800_000, "{least} of the 1,000,000 that each path could carry");
}

#[test]
fn a_reader_that_reads_nothing_costs_ninety_nine_others_nothing() {
    let others = |got: Vec<usize>| got.into_iter().skip(1).sum::<usize>();
    let (with, without) = (others(carry(32, true)), others(carry(32, false)));
    assert!(with * 100 >= without * 95, "{with} with it, {without} without");
}
