//! What a node makes of its tracker: of one that names nobody yet, forgets, fails, lies, or lets
//! nobody in.

use super::*;

#[test]
fn a_public_share_is_named_to_the_tracker_and_a_private_one_is_not() {
    let mut world = World::new(2);
    let descriptor = world.file(bytes(1_000));
    let public = world.share(SEEDER, 1, descriptor, 0);
    world.share(SEEDER, 2, descriptor, 9);
    world.run(500, |_| false);
    world.get(GETTER, 1, public, 0);
    assert!(world.run(10_000, |world| finished(world, GETTER)));
    let mut said = Vec::new();
    for (_, call) in &world.tracker.calls {
        if let Request::Announce { locator, public, .. } = call {
            said.push((*locator == Locator(descriptor.id().0), public.is_some()));
        }
    }
    said.sort_unstable();
    said.dedup();
    assert_eq!(said, [(false, false), (true, true)]);
}

#[test]
fn nobody_is_online_and_then_somebody_is() {
    let mut world = World::new(2);
    let descriptor = world.file(bytes(MIB));
    let secret = crate::id::Secret::new([7; 32]);
    world.get(GETTER, 1, descriptor.locator(Some(&secret)), 7);
    world.run(30_000, |_| false);
    assert_eq!(world.count(GETTER, |event| matches!(event, Event::Waiting(KEY))), 1, "said once");
    let lookups = world.tracker.calls.len();
    assert!((3..=12).contains(&lookups), "asked now and then: {lookups}");
    world.share(SEEDER, 1, descriptor, 7);
    assert!(world.run(12_000, |world| finished(world, GETTER)));
    assert_same(&world, GETTER, &descriptor);
}

#[test]
fn a_timeout_ends_the_waiting_and_an_unknown_public_id_ends_it_at_once() {
    let mut world = World::new(2);
    let timeout = Some(Duration::from_secs(20));
    world.get_with(GETTER, 1, Locator([1; 32]), 7, Policy::Auto, Sink::Store, timeout);
    world.get_with(GETTER, 2, Locator([2; 32]), 0, Policy::Auto, Sink::Store, timeout);
    world.run(19_000, |_| false);
    assert!(!world.happened(GETTER, |event| matches!(event, Event::Failed(KEY, _))));
    world.run(2_000, |_| false);
    let failures: Vec<_> = world.hosts[GETTER]
        .events
        .iter()
        .filter(|(_, event)| matches!(event, Event::Failed(..)))
        .map(|(_, event)| event.clone())
        .collect();
    let unknown = Event::Failed(ContentKey(2), Failure::Unknown);
    assert_eq!(failures, [unknown, Event::Failed(KEY, Failure::NobodyOnline)]);
    let calls = world.tracker.calls.len();
    world.run(60_000, |_| false);
    assert_eq!(world.tracker.calls.len(), calls, "a failed download asks nobody");
}

// Spec T11
#[test]
fn a_tracker_that_forgets_everything_is_told_again() {
    let (mut world, descriptor, locator) = sharing(2, MIB);
    world.restart_tracker();
    world.run(5_000, |_| false);
    assert!(world.tracker.announced.contains_key(&locator), "announced with the new token");
    assert_eq!(world.count(SEEDER, |event| matches!(event, Event::Announced(_))), 1);
    // It forgets the registration alone: the next heartbeat finds out.
    world.tracker.registered.clear();
    world.tracker.announced.clear();
    world.run(15_000, |_| false);
    assert!(world.tracker.announced.contains_key(&locator), "announced after a heartbeat's 404");
    world.get(GETTER, 1, locator, 7);
    assert!(world.run(10_000, |world| finished(world, GETTER)));
    assert_same(&world, GETTER, &descriptor);
}

#[test]
fn trouble_with_the_tracker_is_told_once_and_mended_by_itself() {
    let mut world = World::new(1);
    world.tracker.answers = Some(Err(CallError::Garbage("rule")));
    let descriptor = world.file(bytes(10));
    world.share(SEEDER, 1, descriptor, 7);
    world.run(120_000, |_| false);
    let trouble = |event: &Event| matches!(event, Event::TrackerTrouble(_));
    assert_eq!(world.count(SEEDER, trouble), 1);
    let calls = world.tracker.calls.len();
    assert!((5..=14).contains(&calls), "1 s → 30 s: {calls}");
    world.tracker.answers = None;
    assert!(world.run(31_000, |world| announced(world, SEEDER)));
    world.tracker.answers = Some(Err(CallError::Unauthorized));
    assert!(world.run(20_000, |world| world.count(SEEDER, trouble) == 2), "a new outage");
    world.tracker.answers = None;
    let calls = world.tracker.calls.len();
    world.run(60_000, |_| false);
    let again = world.tracker.calls[calls..]
        .iter()
        .filter(|(_, call)| matches!(call, Request::Announce { .. }))
        .count();
    assert!(again >= 1, "announced again");
}

// Spec T19
#[test]
fn a_lying_tracker_costs_a_bounded_number_of_dials() {
    let (mut world, descriptor, locator) = sharing(2, MIB);
    world.hosts[SEEDER].blocked = false;
    for id in 0..4_000_u32 {
        let mut entry = nobody(200);
        entry.instance.number = u64::from(id);
        entry.instance.peer.0[0] = id as u8;
        entry.addresses = vec![([10, 0, 0, 1], 1_000).into(); 40];
        world.tracker.lies.push(entry);
    }
    world.get(GETTER, 1, locator, 7);
    for _ in 0..30 {
        world.run(1_000, |_| false);
        let content = &world.hosts[GETTER].node.contents[&KEY];
        let peers = content.fetch.as_ref().unwrap().peers.len();
        assert!(peers <= MAX_CANDIDATES_PER_DOWNLOAD, "{peers}");
        assert!(world.links(GETTER) <= MAX_CONNECTING_PER_DOWNLOAD * 16);
    }
    // The wrong keys at the true address are never taken for somebody; the true one is found by and
    // by.
    world.tracker.lies.truncate(50);
    assert!(world.run(300_000, |world| finished(world, GETTER)));
    assert_same(&world, GETTER, &descriptor);
}

#[test]
fn ourselves_are_skipped_and_another_instance_of_our_key_is_a_peer() {
    let mut world = World::new(2);
    // The second command of one user: the same key, another number.
    let twin = world.add_host(1, |config| config.me.number = 500);
    world.hosts[twin].me.number = 500;
    let descriptor = world.file(bytes(MIB));
    let locator = world.share(SEEDER, 1, descriptor, 7);
    world.run(500, |_| false);
    let me = world.hosts[GETTER].me;
    let mut ourselves = nobody(3);
    ourselves.instance = me;
    world.tracker.lies.push(ourselves);
    world.get(twin, 1, locator, 7);
    world.get(GETTER, 1, locator, 7);
    assert!(world.run(20_000, |world| finished(world, twin) && finished(world, GETTER)));
    let unreachable =
        |event: &Event| matches!(event, Event::Unreachable { peer, .. } if *peer == me.peer);
    assert!(!world.happened(GETTER, unreachable));
    assert_same(&world, twin, &descriptor);
}

#[test]
fn a_tracker_that_lets_nobody_in_is_trouble_that_people_hear_of() {
    let mut world = World::new(1);
    world.tracker.down = true;
    let descriptor = world.file(bytes(10));
    world.share(SEEDER, 1, descriptor, 7);
    world.run(60_000, |_| false);
    assert_eq!(world.count(SEEDER, |event| matches!(event, Event::TrackerTrouble(_))), 1);
}
