//! Many who fetch one thing: they find each other, give while they take, and share fairly.

use core::net::SocketAddr;

use super::*;
use crate::path::Reason;

/// What the seeder has sent to everybody.
fn sent(world: &World) -> u64 {
    let last = |peer: Instance| {
        world.hosts[SEEDER].events.iter().rev().find_map(|(_, event)| match event {
            Event::Receiver { peer: to, sent_bytes, .. } if *to == peer => Some(*sent_bytes),
            _ => None,
        })
    };
    world.hosts.iter().filter_map(|host| last(host.me)).sum()
}

/// A world in which host 0 shares a file of this length at this rate.
fn limited(length: usize, bytes_per_second: u64) -> (World, Descriptor, Locator) {
    let mut world = World::new(0);
    world.add_host(1, |config| config.limit_up_bytes_per_second = Some(bytes_per_second));
    let descriptor = world.file(bytes(length));
    let locator = world.share(SEEDER, 1, descriptor, 7);
    assert!(world.run(1_000, |world| announced(world, SEEDER)), "announced");
    (world, descriptor, locator)
}

// Spec P14, P28
#[test]
fn ten_that_begin_together_need_little_more_than_the_time_of_one() {
    let length = 32 * MIB;
    let (mut world, descriptor, locator) = limited(length, 4_000_000);
    let began = world.now;
    for id in 2..12 {
        let host = world.add_host(id, |_| {});
        world.get(host, 1, locator, 7);
    }
    let all = |world: &World| (1..11).all(|host| finished(world, host));
    assert!(world.run(60_000, all), "everybody has it");
    let took = world.now.since(began).as_millis();
    let alone = length as u128 / 4_000;
    assert!(took < alone * 11 / 10, "{took} ms, one alone {alone} ms");
    (1..11).for_each(|host| assert_same(&world, host, &descriptor));
    world.run(1_000, |_| false);
    let copies = sent(&world) * 100 / length as u64;
    assert!(copies < 110, "{copies} % of the file left the seeder");
}

/// The tracker names to host 1 nobody but who has everything: getters it hears of from themselves.
fn one_that_hears_of_no_getters(length: usize) -> (World, Descriptor, Locator) {
    let (mut world, descriptor, locator) = limited(length, 1_000_000);
    world.add_host(2, |_| {});
    world.tracker.hides_getters_from = Some(GETTER);
    world.get(GETTER, 1, locator, 7);
    let some = |world: &World| world.hosts[GETTER].node.progress(KEY).verified_bytes > 1 << 20;
    assert!(world.run(10_000, some));
    (world, descriptor, locator)
}

fn came(event: &Event) -> bool {
    matches!(event, Event::Path { reason: Reason::PeerCame, .. })
}

// Spec P24, P24b
#[test]
fn who_opens_what_we_fetch_is_asked_in_return() {
    let length = 8 * MIB;
    let (mut world, descriptor, locator) = one_that_hears_of_no_getters(length);
    let other = world.add_host(3, |_| {});
    world.get(other, 1, locator, 7);
    assert!(world.run(2_000, |world| world.happened(GETTER, came)));
    assert_eq!(world.links(GETTER), 2, "in the same session");
    assert!(world.run(60_000, |world| finished(world, GETTER) && finished(world, other)));
    assert_same(&world, GETTER, &descriptor);
    assert_same(&world, other, &descriptor);
    world.run(1_000, |_| false);
    let received = world.hosts[GETTER].node.progress(KEY).received_bytes;
    let from_seeder = sent(&world);
    assert!(from_seeder < (length + length / 4) as u64, "{from_seeder}");
    assert!(received < (length + length / 16) as u64, "{received}");
    assert!(!world.happened(GETTER, |event| matches!(event, Event::PeerDropped { .. })));
}

#[test]
fn who_takes_and_does_not_give_is_asked_once_and_nobody_complains() {
    let (mut world, _, locator) = one_that_hears_of_no_getters(4 * MIB);
    let other = world.add_host(3, |_| {});
    world.get_with(other, 1, locator, 7, Policy::Auto, Sink::Ordered, None);
    assert!(world.run(60_000, |world| finished(world, GETTER)));
    assert_eq!(world.count(GETTER, came), 1);
    let complaint =
        |event: &Event| matches!(event, Event::PeerDropped { .. } | Event::Unreachable { .. });
    assert!(!world.happened(GETTER, complaint));
}

// Spec P25
#[test]
fn liars_that_come_by_themselves_waste_a_bounded_number_of_chunks() {
    let (mut world, _, locator) = one_that_hears_of_no_getters(32 * MIB);
    let blamed = |world: &World| {
        world.count(GETTER, |event| matches!(event, Event::PeerDropped { .. })) as u32
    };
    // Six keys of one address, then twelve addresses.
    for id in 3..21 {
        let host = world.add_host(id, |_| {});
        world.hosts[host].lies = true;
        if id < 9 {
            world.hosts[host].address = SocketAddr::from(([10, 9, 9, 9], u16::from(id)));
        }
        world.get(host, 1, locator, 7);
        world.run(1_500, |_| false);
        if id < 9 {
            assert!(blamed(&world) <= 1, "one lie, whatever the key");
        }
    }
    assert_eq!(blamed(&world), crate::limits::MAX_LIES_IN_RETURN);
}

// Spec P27
#[test]
fn many_keys_of_one_address_get_no_more_than_one_of_another() {
    let (mut world, _, locator) = limited(16 * MIB, 2_000_000);
    for id in 2..7 {
        let host = world.add_host(id, |_| {});
        if id < 6 {
            // Four keys of one machine.
            world.hosts[host].address = SocketAddr::from(([10, 0, 0, 2], 1_000 + u16::from(id)));
        }
        world.get(host, 1, locator, 7);
        world.hosts[host].node.contents.get_mut(&KEY).unwrap().serve = false;
    }
    world.run(6_000, |_| false);
    let got = |host: usize| world.hosts[host].node.progress(KEY).received_bytes;
    let greedy: u64 = (1..5).map(got).sum();
    assert!(greedy.abs_diff(got(5)) <= 6 * CHUNK_BYTES as u64, "{greedy} and {}", got(5));
}
