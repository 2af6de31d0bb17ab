//! How things end: with a full disk, a share that is taken back, the last chunk, a shutdown; and
//! what is still said then.

use super::*;

// Spec P19
#[test]
fn a_full_disk_fails_the_download_and_a_changed_source_is_told_once() {
    let (mut world, _, locator) = sharing(2, 4 * MIB);
    world.hosts[GETTER].disk_full = true;
    world.get(GETTER, 1, locator, 7);
    let why = Failure::Store("no space left".into());
    let failed = |event: &Event| *event == Event::Failed(KEY, why.clone());
    assert!(world.run(5_000, |world| world.happened(GETTER, failed)));
    assert_eq!(done_receivers(&world, SEEDER), 0);

    let (mut world, _, locator) = sharing(2, 4 * MIB);
    world.hosts[SEEDER].changed = true;
    world.get(GETTER, 1, locator, 7);
    world.run(60_000, |_| false);
    let told = |event: &Event| matches!(event, Event::Failed(KEY, Failure::Store(_)));
    assert_eq!(world.count(SEEDER, told), 1);
    let changed = PeerDropReason::Download(DropReason::SourceChanged);
    let dropped =
        |event: &Event| matches!(event, Event::PeerDropped { reason, .. } if *reason == changed);
    assert_eq!(world.count(GETTER, dropped), 1);
}

#[test]
fn a_share_that_is_taken_back_is_served_no_more() {
    let mut world = World::new(0);
    world.add_host(1, |config| config.limit_up_bytes_per_second = Some(1_000_000));
    world.add_host(2, |_| {});
    let descriptor = world.file(bytes(8 * MIB));
    let locator = world.share(SEEDER, 1, descriptor, 7);
    world.run(500, |_| false);
    world.get(GETTER, 1, locator, 7);
    world.run(3_000, |_| false);
    world.put(SEEDER, Input::Stop(KEY));
    let before = world.hosts[GETTER].node.progress(KEY).received_bytes;
    world.run(60_000, |_| false);
    let after = world.hosts[GETTER].node.progress(KEY).received_bytes;
    assert!(after - before <= 8 * CHUNK_BYTES as u64, "{}", after - before);
    assert!(!complete(&world, GETTER));
}

#[test]
fn a_shutdown_says_goodbye_to_peers_and_tracker() {
    let (mut world, _, locator) = sharing(2, 8 * MIB);
    world.get(GETTER, 1, locator, 7);
    assert!(world.run(10_000, |world| done_receivers(world, SEEDER) == 1));
    world.put(SEEDER, Input::Shutdown);
    let stopped = |world: &World| world.happened(SEEDER, |event| *event == Event::Stopped);
    assert!(world.run(1_900, stopped), "not only by the timeout");
    let removed = |(_, call): &(Instant, Request)| matches!(call, Request::Remove { .. });
    assert!(world.tracker.calls.iter().any(removed));
    assert_eq!(world.hosts[SEEDER].node.timers.next(), Instant::NEVER);
    world.put(SEEDER, Input::Relay { token: None });
    assert_eq!(world.count(SEEDER, |event| *event == Event::Stopped), 1);

    let (mut world, _, _) = sharing(1, MIB);
    world.tracker.answers = Some(Err(CallError::Busy { retry_after_seconds: 1_000 }));
    world.put(SEEDER, Input::Shutdown);
    let stopped = |world: &World| world.happened(SEEDER, |event| *event == Event::Stopped);
    assert!(world.run(2_100, stopped), "bounded");
}

// Spec M10
#[test]
fn complete_is_flushed_before_the_link_closes() {
    let (mut world, _, locator) = sharing(2, MIB);
    world.hosts[GETTER].finishes = false;
    world.get(GETTER, 1, locator, 7);
    assert!(world.run(10_000, |world| complete(world, GETTER)));
    world.put(GETTER, Input::Finished(KEY));
    world.put(GETTER, Input::Shutdown);
    assert!(world.run(5_000, |world| done_receivers(world, SEEDER) == 1));
    world.run(5_000, |_| false);
    assert_eq!(world.links(SEEDER), 0);
}

#[test]
fn a_complete_download_does_not_fail_because_its_seeder_left_before_it_was_finished() {
    let (mut world, descriptor, locator) = sharing(2, MIB);
    world.hosts[GETTER].finishes = false;
    let timeout = Some(Duration::from_secs(5));
    world.get_with(GETTER, 1, locator, 7, Policy::Auto, Sink::Store, timeout);
    assert!(world.run(10_000, |world| complete(world, GETTER)));
    world.put(SEEDER, Input::Shutdown);
    world.run(60_000, |_| false);
    assert!(!world.happened(GETTER, |event| matches!(event, Event::Failed(..))));
    world.put(GETTER, Input::Finished(KEY));
    assert!(finished(&world, GETTER));
    assert_same(&world, GETTER, &descriptor);
}

#[test]
fn a_node_has_stopped_when_the_relay_has_taken_its_last_words() {
    let mut node = Node::new(
        Instant::ZERO,
        Rng::new([1; 32]),
        Config {
            me: Instance { peer: crate::id::PeerId([1; 32]), number: 1 },
            prefer_aes: false,
            accept_strangers: false,
            limit_up_bytes_per_second: None,
            limit_down_bytes_per_second: None,
        },
    );
    let mut outputs = |input| {
        node.handle_input(Instant::ZERO, input);
        let mut outputs = Vec::new();
        while let output @ (Output::Transmit(_) | Output::Event(_)) = node.poll_output() {
            outputs.push(output);
        }
        outputs
    };
    let stopped =
        |outputs: &[_]| outputs.iter().any(|o| matches!(o, Output::Event(Event::Stopped)));
    outputs(Input::Relay { token: Some("token".into()) });
    let first = outputs(Input::Shutdown);
    assert!(!stopped(&first), "it is still logged in: {first:?}");
    assert!(stopped(&outputs(Input::Relay { token: None })));
}
