//! Nodes in a small world: real sessions, hashes and schedulers, virtual time.

mod announce;
mod ends;
mod hostile;
mod opens;
mod spaces;
mod strict;
mod swarm;
mod tracker;
mod world;

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use self::world::{World, bytes, nobody};
use super::*;
use crate::download::DropReason;
use crate::id::{Descriptor, Kind, Space};
use crate::limits::{CHUNK_BYTES, MAX_CANDIDATES_PER_DOWNLOAD, MAX_CONNECTING_PER_DOWNLOAD};
use crate::path::{PathKind, Policy};
use crate::tracker_api::{CallError, Request};

const SEEDER: usize = 0;
const GETTER: usize = 1;
const KEY: ContentKey = ContentKey(1);
const MIB: usize = 1 << 20;

fn complete(world: &World, host: usize) -> bool {
    let done = |event: &Event| matches!(event, Event::SpaceComplete(KEY, Space::Root));
    world.happened(host, done)
}

fn finished(world: &World, host: usize) -> bool {
    let content = world.hosts[host].node.contents.get(&KEY);
    let fetch = content.and_then(|content| content.fetch.as_ref());
    fetch.is_some_and(|fetch| fetch.stage == contents::Stage::Finished)
}

fn assert_same(world: &World, host: usize, descriptor: &Descriptor) {
    let (_, got) = &world.hosts[host].disk[&(KEY, Space::Root)];
    assert!(got == world.data(descriptor.root), "the bytes that arrived are the ones shared");
}

fn path_of(world: &World, host: usize) -> Option<PathKind> {
    world.hosts[host].events.iter().rev().find_map(|(_, event)| match event {
        Event::Path { path, .. } => Some(*path),
        _ => None,
    })
}

fn done_receivers(world: &World, host: usize) -> usize {
    world.count(host, |event| matches!(event, Event::Receiver { done: true, .. }))
}

fn announced(world: &World, host: usize) -> bool {
    world.happened(host, |event| matches!(event, Event::Announced(_)))
}

/// A world in which host 0 shares a file of this length under a secret.
fn sharing(hosts: usize, length: usize) -> (World, Descriptor, Locator) {
    let mut world = World::new(hosts);
    let descriptor = world.file(bytes(length));
    let locator = world.share(SEEDER, 1, descriptor, 7);
    assert!(world.run(1_000, |world| announced(world, SEEDER)), "announced");
    (world, descriptor, locator)
}

// Spec M10
#[test]
fn a_file_crosses_directly_and_the_seeder_hears_that_it_is_complete() {
    let (mut world, descriptor, locator) = sharing(2, 5 * MIB + 77);
    world.get(GETTER, 1, locator, 7);
    assert!(world.run(10_000, |world| done_receivers(world, SEEDER) == 1));
    assert_same(&world, GETTER, &descriptor);
    assert_eq!(path_of(&world, GETTER), Some(PathKind::Direct));
    let progress = world.hosts[GETTER].node.progress(KEY);
    assert_eq!(progress.verified_bytes, descriptor.length_bytes);
    assert_eq!(progress.received_bytes, descriptor.length_bytes, "nothing came twice");
    assert_eq!(progress.by_path_bytes, [descriptor.length_bytes, 0, 0]);
    let last = world.hosts[SEEDER].events.iter().rev().find_map(|(_, event)| match event {
        Event::Receiver { sent_bytes, done, .. } => Some((*sent_bytes, *done)),
        _ => None,
    });
    assert_eq!(last, Some((descriptor.length_bytes, true)));
    world.run(60_000, |_| false);
    assert_eq!((world.links(SEEDER), world.links(GETTER)), (0, 0), "idle links are closed");
}

#[test]
fn an_empty_file_and_a_tiny_one_cross_too() {
    for length in [0, 1, CHUNK_BYTES] {
        let (mut world, descriptor, locator) = sharing(2, length);
        world.get(GETTER, 1, locator, 7);
        assert!(world.run(10_000, |world| done_receivers(world, SEEDER) == 1), "{length}");
        assert_same(&world, GETTER, &descriptor);
    }
}

#[test]
fn where_direct_is_blocked_the_relay_carries_after_five_seconds() {
    let (mut world, descriptor, locator) = sharing(2, 2 * MIB);
    world.hosts[SEEDER].blocked = true;
    let began = world.now;
    world.get(GETTER, 1, locator, 7);
    assert!(world.run(20_000, |world| finished(world, GETTER)));
    assert_same(&world, GETTER, &descriptor);
    assert_eq!(path_of(&world, GETTER), Some(PathKind::Relay));
    let took = world.now.since(began);
    assert!(took > Duration::from_secs(5) && took < Duration::from_secs(6), "{took:?}");
    let progress = world.hosts[GETTER].node.progress(KEY);
    assert_eq!(progress.by_path_bytes, [0, 0, descriptor.length_bytes]);
}

#[test]
fn policies_are_obeyed() {
    for (policy, path) in [(Policy::Direct, PathKind::Direct), (Policy::Relay, PathKind::Relay)] {
        let (mut world, _, locator) = sharing(2, MIB);
        world.get_with(GETTER, 1, locator, 7, policy, Sink::Store, None);
        assert!(world.run(10_000, |world| finished(world, GETTER)));
        assert_eq!(path_of(&world, GETTER), Some(path));
    }
}

// Spec P10, P15, P15b
#[test]
fn a_liar_is_dropped_and_the_other_seeder_used() {
    let (mut world, descriptor, locator) = sharing(3, 4 * MIB);
    world.share(2, 1, descriptor, 7);
    world.hosts[2].lies = true;
    assert!(world.run(1_000, |world| announced(world, 2)));
    world.get(GETTER, 1, locator, 7);
    assert!(world.run(20_000, |world| finished(world, GETTER)));
    assert_same(&world, GETTER, &descriptor);
    let liar = world.hosts[2].me.peer;
    let blamed = world.count(GETTER, |event| match event {
        Event::PeerDropped { peer, reason, .. } => {
            assert_eq!(*reason, PeerDropReason::Download(DropReason::FalseChunk));
            *peer == liar
        }
        _ => false,
    });
    assert_eq!(blamed, 1);
    let wasted = world.hosts[GETTER].node.progress(KEY).received_bytes - descriptor.length_bytes;
    assert!(wasted <= CHUNK_BYTES as u64, "an unproven peer is asked for one chunk only: {wasted}");
}

// Spec P15b
#[test]
fn with_nobody_but_a_liar_it_waits_and_takes_no_more_from_it() {
    let (mut world, _, locator) = sharing(2, 4 * MIB);
    world.hosts[SEEDER].lies = true;
    world.get(GETTER, 1, locator, 7);
    world.run(120_000, |_| false);
    assert!(world.happened(GETTER, |event| matches!(event, Event::Waiting(KEY))));
    assert_eq!(world.hosts[GETTER].node.progress(KEY).received_bytes, CHUNK_BYTES as u64);
    assert!(!complete(&world, GETTER));
}

#[test]
fn a_seeder_that_is_started_again_goes_on_where_it_was() {
    let (mut world, descriptor, locator) = sharing(2, 12 * MIB);
    world.get(GETTER, 1, locator, 7);
    let half = |world: &World| world.hosts[GETTER].node.progress(KEY).verified_bytes > 4 << 20;
    assert!(world.run(10_000, half));
    world.restart(SEEDER);
    world.run(3_000, |_| false);
    world.share(SEEDER, 1, descriptor, 7);
    assert!(world.run(30_000, |world| finished(world, GETTER)));
    assert_same(&world, GETTER, &descriptor);
    let received = world.hosts[GETTER].node.progress(KEY).received_bytes;
    assert!(received < descriptor.length_bytes + (4 << 20), "proven chunks are never lost");
}

#[test]
fn a_link_that_is_cut_is_made_again() {
    let (mut world, descriptor, locator) = sharing(2, 10 * MIB);
    world.get(GETTER, 1, locator, 7);
    for part in 1..4_u64 {
        let far =
            |world: &World| world.hosts[GETTER].node.progress(KEY).verified_bytes > part << 21;
        assert!(world.run(20_000, far));
        world.cut(GETTER);
    }
    assert!(world.run(60_000, |world| finished(world, GETTER)));
    assert_same(&world, GETTER, &descriptor);
}

// Spec M7b
#[test]
fn a_wrong_secret_opens_nothing() {
    let (mut world, _, locator) = sharing(2, MIB);
    let timeout = Some(Duration::from_secs(30));
    world.get_with(GETTER, 1, locator, 8, Policy::Auto, Sink::Store, timeout);
    let failed = |world: &World| world.happened(GETTER, |event| matches!(event, Event::Failed(..)));
    assert!(world.run(60_000, failed));
    let refused = |event: &Event| {
        matches!(event, Event::PeerDropped { reason: PeerDropReason::NotTheShare, .. })
    };
    assert_eq!(world.count(GETTER, refused), 1, "said once");
    assert!(!world.happened(GETTER, |event| matches!(event, Event::Described { .. })));
    assert_eq!(world.hosts[GETTER].node.progress(KEY).received_bytes, 0);
    assert!(!world.happened(SEEDER, |event| matches!(event, Event::Receiver { .. })));
}

#[test]
fn an_ordered_download_stops_with_its_reader_and_goes_on_with_it() {
    let mut world = World::new(3);
    let descriptor = world.file(bytes(20 * MIB));
    let locator = world.share(SEEDER, 1, descriptor, 7);
    world.share(2, 1, descriptor, 7);
    world.run(1_000, |_| false);
    world.hosts[GETTER].reader_stopped = true;
    world.get_with(GETTER, 1, locator, 7, Policy::Auto, Sink::Ordered, None);
    assert!(world.run(10_000, |world| !world.hosts[GETTER].piped.is_empty()));
    let early = world.hosts[GETTER].node.progress(KEY).received_bytes;
    assert!(early < 4 << 20, "the first byte is out before 4 MiB came: {early}");
    world.run(120_000, |_| false);
    let stopped = world.hosts[GETTER].node.progress(KEY).received_bytes;
    assert!(stopped <= 16 << 20, "{stopped}");
    world.hosts[GETTER].reader_stopped = false;
    let chunk = crate::id::ChunkRef { space: Space::Root, index: 0 };
    let buffer = bytes::BytesMut::new();
    world.put(GETTER, Input::Delivered { content: KEY, chunk, buffer });
    assert!(world.run(60_000, |world| finished(world, GETTER)));
    assert!(world.hosts[GETTER].piped == world.data(descriptor.root));
}

#[test]
fn limits_hold_in_both_directions() {
    for up in [true, false] {
        let mut world = World::new(0);
        let rate = Some(500_000);
        world.add_host(1, |config| config.limit_up_bytes_per_second = rate.filter(|_| up));
        world.add_host(2, |config| config.limit_down_bytes_per_second = rate.filter(|_| !up));
        let descriptor = world.file(bytes(6 * MIB));
        let locator = world.share(SEEDER, 1, descriptor, 7);
        assert!(world.run(1_000, |world| announced(world, SEEDER)));
        let began = world.now;
        world.get(GETTER, 1, locator, 7);
        let received = |world: &World| world.hosts[GETTER].node.progress(KEY).received_bytes;
        let mut last = 0;
        for second in 1..10 {
            world.run(1_000, |_| false);
            let now = received(&world);
            assert!(now - last < 1_100_000, "smooth: {} in second {second}", now - last);
            last = now;
        }
        assert!(world.run(30_000, |world| finished(world, GETTER)));
        let took = world.now.since(began).as_secs_f64();
        assert!((11.5..13.5).contains(&took), "6.3 MB at 0.5 MB/s took {took} s (up: {up})");
    }
}

#[test]
fn two_receivers_share_an_upload_limit_fairly() {
    let mut world = World::new(0);
    world.add_host(1, |config| config.limit_up_bytes_per_second = Some(2_000_000));
    let descriptor = world.file(bytes(8 * MIB));
    let locator = world.share(SEEDER, 1, descriptor, 7);
    assert!(world.run(1_000, |world| announced(world, SEEDER)));
    for id in [2, 3] {
        let host = world.add_host(id, |_| {});
        // Not to each other: what is measured is the seeder.
        world.get_with(host, 1, locator, 7, Policy::Auto, Sink::Store, None);
        world.hosts[host].node.contents.get_mut(&KEY).unwrap().serve = false;
    }
    world.run(3_000, |_| false);
    let got: Vec<u64> =
        [1, 2].iter().map(|host| world.hosts[*host].node.progress(KEY).received_bytes).collect();
    assert!(got.iter().all(|got| *got > 2_000_000), "{got:?}");
    assert!(got[0].abs_diff(got[1]) <= 3 * CHUNK_BYTES as u64, "{got:?}");
    assert!(world.run(30_000, |world| done_receivers(world, SEEDER) == 2));
    // At most a few reports a second for each.
    let reports = world.count(SEEDER, |event| matches!(event, Event::Receiver { .. }));
    let seconds = world.now.since(Instant::ZERO).as_secs() as usize;
    assert!(reports <= 2 * (4 * seconds + 2), "{reports} in {seconds} s");
}

// Spec M11
#[test]
fn a_receiver_serves_what_it_has_while_it_gets_the_rest() {
    let mut world = World::new(0);
    world.add_host(1, |config| config.limit_up_bytes_per_second = Some(1_000_000));
    let descriptor = world.file(bytes(8 * MIB));
    let locator = world.share(SEEDER, 1, descriptor, 7);
    world.run(500, |_| false);
    for id in [2, 3] {
        let host = world.add_host(id, |_| {});
        world.get(host, 1, locator, 7);
        world.run(4_000, |_| false);
    }
    assert!(world.run(60_000, |world| finished(world, 1) && finished(world, 2)));
    assert_same(&world, 1, &descriptor);
    assert_same(&world, 2, &descriptor);
    // The second takes from the first what that one has, and the seeder sends little more than one
    // copy.
    let sent: u64 = [1, 2]
        .iter()
        .map(|host| {
            let me = world.hosts[*host].me;
            let sent = world.hosts[SEEDER].events.iter().rev().find_map(|(_, event)| match event {
                Event::Receiver { peer, sent_bytes, .. } if *peer == me => Some(*sent_bytes),
                _ => None,
            });
            sent.unwrap_or(0)
        })
        .sum();
    assert!(sent < 13 << 20, "{sent}");
}

#[test]
fn a_folder_crosses_in_two_spaces() {
    let mut world = World::new(2);
    let contents = world.file(bytes(3 * MIB + 5));
    let mut manifest = contents.root.0.to_vec();
    manifest.extend_from_slice(&bytes(400_000));
    let descriptor = Descriptor { kind: Kind::Manifest, ..world.file(manifest) };
    let locator = world.share(SEEDER, 1, descriptor, 7);
    world.run(500, |_| false);
    world.get(GETTER, 1, locator, 7);
    assert!(world.run(10_000, |world| finished(world, GETTER)));
    let (_, got) = &world.hosts[GETTER].disk[&(KEY, Space::Contents)];
    assert!(got == world.data(contents.root));
    let progress = world.hosts[GETTER].node.progress(KEY);
    assert_eq!(progress.verified_bytes, contents.length_bytes);
    assert_eq!(progress.received_bytes, contents.length_bytes + descriptor.length_bytes);
}

#[test]
fn two_that_fetch_from_each_other_end_with_one_link() {
    let mut world = World::new(0);
    for id in [1, 2] {
        world.add_host(id, |config| config.limit_up_bytes_per_second = Some(4_000_000));
    }
    let one = world.file(bytes(10 * MIB));
    let two = world.file(bytes(10 * MIB + 1));
    let first = world.share(0, 1, one, 7);
    let second = world.share(1, 1, two, 7);
    world.run(500, |_| false);
    world.get(0, 2, second, 7);
    world.get(1, 2, first, 7);
    world.run(1_500, |_| false);
    assert_eq!((world.links(0), world.links(1)), (1, 1), "one link carries both");
    let done = |world: &World| {
        let over = |event: &Event| matches!(event, Event::SpaceComplete(ContentKey(2), _));
        world.happened(0, over) && world.happened(1, over)
    };
    assert!(world.run(30_000, done));
    for host in [0, 1] {
        let progress = world.hosts[host].node.progress(ContentKey(2));
        let wasted = progress.received_bytes - progress.verified_bytes;
        assert!(wasted <= 4 << 20, "{wasted}");
    }
}

#[test]
fn a_better_path_takes_over_what_the_relay_began() {
    let mut world = World::new(0);
    for id in [1, 2] {
        world.add_host(id, |config| config.limit_up_bytes_per_second = Some(1_000_000));
    }
    let one = world.file(bytes(8 * MIB));
    let two = world.file(bytes(8 * MIB + 1));
    let first = world.share(0, 1, one, 7);
    let second = world.share(1, 1, two, 7);
    world.run(500, |_| false);
    world.hosts[0].blocked = true;
    world.get(1, 2, first, 7);
    world.run(7_000, |_| false);
    assert_eq!(path_of(&world, 1), Some(PathKind::Relay));
    world.hosts[0].blocked = false;
    world.get(0, 2, second, 7);
    world.run(3_000, |_| false);
    assert_eq!(path_of(&world, 1), Some(PathKind::Direct), "promoted");
    assert_eq!((world.links(0), world.circuits(0)), (1, 0), "the circuit is closed");
    let over = |event: &Event| matches!(event, Event::SpaceComplete(ContentKey(2), _));
    assert!(world.run(30_000, |world| world.happened(0, over) && world.happened(1, over)));
}

#[test]
fn idle_links_cost_nothing_when_something_happens_elsewhere() {
    let (mut world, _, _) = sharing(1, MIB);
    let node = &mut world.hosts[SEEDER].node;
    for number in 0..crate::limits::MAX_INCOMING_LINKS as u64 {
        let from = IncomingFrom::Circuit(crate::id::PeerId([number as u8; 32]));
        let now = world.now + Duration::from_millis(number * 13);
        node.handle_input(now, Input::Incoming { incoming: number, from });
        while !matches!(node.poll_output(), Output::Timeout(_)) {}
        let peer = crate::id::PeerId([1; 32]);
        let established = session::Event::Established {
            peer,
            instance: number,
            suite: session::Suite::ChaChaPoly,
            handshake_hash: [0; 32],
        };
        let link = LinkId(number);
        node.handle_input(now, Input::Session { link, event: established });
        while !matches!(node.poll_output(), Output::Timeout(_)) {}
    }
    assert_eq!(node.links.table.len(), crate::limits::MAX_INCOMING_LINKS);
    // A word on one link is answered with words on that link alone.
    let locator = Locator([1; 32]);
    let open =
        crate::wire::Message::Open { handle: crate::wire::Handle(0), locator, proof: [0; 32] };
    let now = world.now + Duration::from_secs(10);
    node.handle_input(
        now,
        Input::Session { link: LinkId(7), event: session::Event::Message(open) },
    );
    let mut outputs = 0;
    while let Output::Transmit(transmit) = node.poll_output() {
        assert!(matches!(transmit, Transmit::Session { link: LinkId(7), .. }));
        outputs += 1;
    }
    assert_eq!(outputs, 1);
    // Who only waits is shown the door in the end.
    node.handle_input(now + Duration::from_secs(60), Input::Tick);
    let mut closed = 0;
    while let Output::Transmit(_) = node.poll_output() {
        closed += 1;
    }
    assert!(closed + 1 >= crate::limits::MAX_INCOMING_LINKS, "{closed}");
}
