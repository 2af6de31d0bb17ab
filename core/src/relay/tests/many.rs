//! Many circuits at once: each has its share, whoever came first, and one that nobody reads costs
//! the others nothing.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::world::{MIB, World};
use crate::id::LinkId;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

const CIRCUITS: usize = 100;
const BUDGET: usize = 40 * MIB;

/// Circuits between two peers each, over one hub whose budget is far less than all their windows.
struct Many {
    world: World,
    /// Sender and receiver.
    ends: Vec<[(usize, LinkId); 2]>,
}

impl Many {
    /// On paths so fast that the windows alone decide who gets how much.
    fn new(seed: u8) -> Self {
        let mut world = World::new(seed, BUDGET);
        // It walks over all circuits.
        world.audited = false;
        for number in 0..2 * CIRCUITS {
            // None of these is the hub's key.
            let mut secret_key = [100; 32];
            secret_key[1] = number as u8;
            world.peer_with_key(200_000_000, MS * 10, secret_key, number as u64);
        }
        world.run(SECOND);
        Self { world, ends: vec![] }
    }

    /// So many more circuits, all with more to send than they ever will.
    fn open(&mut self, more: usize) {
        for _ in 0..more {
            let (from, to) = (2 * self.ends.len(), 2 * self.ends.len() + 1);
            self.world.peers[to].down.buffer_bytes = MIB / 4;
            let (there, back) = self.world.circuit(from, to);
            self.ends.push([(from, there), (to, back)]);
            self.world.send(from, there, 1_000 * MIB);
        }
    }

    /// Bytes that come over each circuit from now on, until it is so many on average.
    fn carry(&mut self, bytes: usize, time: Duration) -> Vec<usize> {
        let before = self.received();
        let start: usize = before.iter().sum();
        let end = self.world.now + time;
        while self.received().iter().sum::<usize>() - start < bytes * self.ends.len() {
            self.world.run(MS * 10);
            assert!(self.world.now < end, "so much comes in time");
            assert!(self.world.hub.stats().reserved_bytes <= BUDGET);
        }
        self.world.hub.assert_sound();
        assert_eq!(self.world.closed, vec![]);
        self.received().into_iter().zip(before).map(|(now, then)| now - then).collect()
    }

    fn received(&mut self) -> Vec<usize> {
        self.ends.iter().map(|[_, (to, link)]| self.world.end(*to, *link).received_bytes).collect()
    }
}

// Spec R24c
#[test]
fn a_hundred_circuits_get_the_same_whoever_came_first() {
    let mut many = Many::new(31);
    // A few have the hub to themselves, and the largest windows.
    many.open(5);
    many.carry(20 * MIB, SECOND * 10);
    many.open(CIRCUITS - 5);
    many.world.run(SECOND);
    let got = many.carry(3 * MIB, SECOND * 4);
    let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
    // A frame is a third of a share, and a grant waits until it is a quarter of it.
    assert!(least * 100 >= most * 80, "slowest {least}, fastest {most}: {got:?}");
}

// Spec R24b, R24c
#[test]
fn a_reader_that_reads_nothing_costs_ninety_nine_others_nothing() {
    let mut many = Many::new(32);
    many.open(CIRCUITS);
    many.world.run(SECOND);
    let others = |got: Vec<usize>| got.into_iter().skip(1).sum::<usize>();
    let now = many.world.now;
    let without = others(many.carry(2 * MIB, SECOND * 4));
    let took = many.world.now.since(now);
    let [_, (stuck, _)] = many.ends[0];
    many.world.pause(stuck, true);
    let now = many.world.now;
    let with = others(many.carry(MIB * 99 / 100, SECOND));
    let took_with = many.world.now.since(now);
    let rate = |bytes: usize, time: Duration| bytes as f64 / time.as_secs_f64();
    let (with, without) = (rate(with, took_with), rate(without, took));
    assert!(with >= without * 0.95, "{with} bytes/s with it, {without} without");
}
