//! What people can rely on.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::world::{KIB, MIB, Taking, World};
use crate::close::{Awaited, CloseReason, LocalClose, RemoteClose};
use crate::id::LinkId;
use crate::limits::{RELAY_TOKEN_SECONDS, RELAY_WINDOW_START_BYTES};
use crate::path::DialError;
use crate::relay::client;
use crate::relay::hub::{self, check_token};
use crate::time::UnixTime;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

// Spec R11
#[test]
fn a_login_yields_a_token_that_names_the_instance_for_a_week() {
    let (world, a, _) = World::pair(1);
    let token = &world.peers[a].tokens[0];
    let week = 1_800_000_000 + RELAY_TOKEN_SECONDS;
    assert_eq!(check_token(&[78; 32], token, UnixTime(week - 1)), Some(world.peers[a].me));
    assert_eq!(check_token(&[78; 32], token, UnixTime(week + 1)), None);
    assert_eq!(world.peers[a].client.observed_ip(), Some(world.peers[a].ip));
    assert!(world.hub.is_online(&world.peers[a].me));
}

// Spec R20
#[test]
fn bytes_arrive_as_they_were_sent_in_both_directions() {
    for seed in 0..4 {
        let (mut world, a, b) = World::pair(seed);
        let (there, back) = world.circuit(a, b);
        world.send(a, there, 5 * MIB + 3);
        world.send(b, back, 3 * MIB + 1);
        world.run_until(|world| {
            world.peers[b].ends[&back].received_bytes == 5 * MIB + 3
                && world.peers[a].ends[&there].received_bytes == 3 * MIB + 1
        });
        assert_eq!(world.closed, vec![]);
    }
}

// Spec R18
#[test]
fn what_was_sent_before_the_close_arrives_before_the_end() {
    let (mut world, a, b) = World::pair(2);
    let (there, back) = world.circuit(a, b);
    world.end(a, there).close_when_sent = true;
    world.send(a, there, 7 * MIB);
    world.run_until(|world| world.peers[b].ends[&back].ended.is_some());
    let end = world.end(b, back);
    assert_eq!(end.received_bytes, 7 * MIB);
    assert_eq!(end.ended, Some(CloseReason::Remote(RemoteClose::Ended)));
    world.run(SECOND);
    assert_eq!(world.hub.stats().circuits, 0);
    assert_eq!(world.hub.stats().reserved_bytes, 0);
}

// Spec R18, R19
#[test]
fn both_may_close_at_once_and_send_while_they_do() {
    for seed in 0..8 {
        let (mut world, a, b) = World::pair(seed);
        let (there, back) = world.circuit(a, b);
        world.send(a, there, 4 * MIB);
        world.send(b, back, 4 * MIB);
        world.run(MS * 17 + MS * u32::from(seed));
        world.close(a, there);
        if seed % 2 == 0 {
            world.close(b, back);
        }
        world.run(SECOND * 10);
        assert_eq!(world.hub.stats().circuits, 0);
        assert_eq!(world.hub.stats().reserved_bytes, 0);
        assert_eq!(world.closed, vec![], "nobody misbehaved");
    }
}

// Spec R16
#[test]
fn an_absent_peer_fails_at_once_and_a_refusal_too() {
    let (mut world, a, b) = World::pair(3);
    let stranger = world.stranger(9);
    let link = world.open_to(a, stranger);
    world.run(MS * 15);
    assert_eq!(world.end(a, link).open_failed, Some(DialError::NotAtRelay));
    world.peers[b].accepts = false;
    let link = world.open(a, b);
    world.run(MS * 30);
    assert_eq!(world.end(a, link).open_failed, Some(DialError::NotAtRelay));
    assert_eq!(world.hub.stats().circuits, 0);
}

// Spec R16, R19
#[test]
fn a_call_that_nobody_answers_is_given_up_and_a_late_answer_harms_nobody() {
    let (mut world, a, b) = World::pair(4);
    world.peers[b].answers = false;
    let link = world.open(a, b);
    world.run(SECOND * 9);
    assert_eq!(world.end(a, link).open_failed, None);
    world.run(SECOND * 2);
    assert_eq!(world.end(a, link).open_failed, Some(DialError::NotAtRelay));
    let late = LinkId(77);
    world.tell_client(b, client::Input::Accept { incoming: 0, link: late });
    world.run(SECOND);
    assert_eq!(world.closed, vec![]);
    assert_eq!(world.hub.stats().reserved_bytes, 0);
}

#[test]
fn a_caller_may_change_its_mind() {
    for wait in 0..30 {
        let (mut world, a, b) = World::pair(5);
        let link = world.open(a, b);
        world.run(MS * wait);
        world.close(a, link);
        world.run(SECOND);
        assert_eq!(world.hub.stats().circuits, 0);
        assert_eq!(world.closed, vec![]);
        assert!(world.peers[b].ends.values().all(|end| end.ended.is_some()));
    }
}

// Spec R24, R24b
#[test]
fn a_slow_receiver_slows_its_sender_and_nobody_else() {
    let mut world = World::new(6, 8 * MIB);
    let fast = Duration::from_millis(2);
    let sender = world.peer(50_000_000, fast);
    let slow = world.peer(50_000_000, fast);
    let quick = world.peer(50_000_000, fast);
    world.peers[slow].down.buffer_bytes = 256 * KIB;
    world.run(SECOND);
    let (to_slow, at_slow) = world.circuit(sender, slow);
    let (to_quick, at_quick) = world.circuit(sender, quick);
    world.pause(slow, true);
    world.send(sender, to_slow, 100 * MIB);
    world.send(sender, to_quick, 100 * MIB);
    world.run(SECOND * 2);
    assert_eq!(world.end(slow, at_slow).received_bytes, 0);
    let quick_bytes = world.end(quick, at_quick).received_bytes;
    assert!(quick_bytes > 85_000_000, "{quick_bytes} of 100,000,000 that the path could carry");
    let stuck = 100 * MIB - world.end(sender, to_slow).to_send_bytes;
    assert!(stuck <= 3 * MIB, "{stuck} bytes were taken for a peer that does not read");
    world.pause(slow, false);
    world.run_until(|world| world.peers[slow].ends[&at_slow].received_bytes == 100 * MIB);
    assert_eq!(world.closed, vec![]);
}

#[test]
fn an_application_that_does_not_read_stops_its_sender_at_the_window() {
    let (mut world, a, b) = World::pair(7);
    world.peers[b].taking = Taking::Never;
    let (there, back) = world.circuit(a, b);
    world.send(a, there, 20 * MIB);
    world.run(SECOND * 10);
    assert_eq!(world.end(b, back).received_bytes, RELAY_WINDOW_START_BYTES);
    world.peers[b].taking = Taking::AtOnce;
    world.consume(b, back);
    world.run_until(|world| world.peers[b].ends[&back].received_bytes == 20 * MIB);
}

// Spec R14
#[test]
fn a_receiver_that_reads_nothing_for_long_is_thrown_out() {
    let mut world = World::new(8, 8 * MIB);
    let a = world.peer(50_000_000, MS);
    let b = world.peer(50_000_000, MS);
    world.peers[b].down.buffer_bytes = 64 * KIB;
    world.run(SECOND);
    let (there, _) = world.circuit(a, b);
    world.pause(b, true);
    world.peers[b].up.paused = true;
    world.send(a, there, 20 * MIB);
    world.run(SECOND * 150);
    let reason = CloseReason::Timeout(Awaited::Writable);
    let alive = CloseReason::Timeout(Awaited::Liveness);
    assert!(world.closed.iter().any(|(_, why)| *why == reason || *why == alive));
    assert!(matches!(world.end(a, there).ended, Some(CloseReason::Remote(RemoteClose::Failed(_)))));
    assert_eq!(world.hub.stats().reserved_bytes, 0);
}

// Spec R27
#[test]
fn circuits_over_one_socket_take_turns() {
    let mut world = World::new(9, 32 * MIB);
    let one = world.peer(200_000_000, MS);
    let other = world.peer(20_000_000, MS * 20);
    let receiver = world.peer(10_000_000, MS * 5);
    world.peers[receiver].down.buffer_bytes = 128 * KIB;
    world.run(SECOND);
    let (from_one, at_one) = world.circuit(one, receiver);
    let (from_other, at_other) = world.circuit(other, receiver);
    let (second, at_second) = world.circuit(one, receiver);
    for (peer, link) in [(one, from_one), (other, from_other), (one, second)] {
        world.send(peer, link, 200 * MIB);
    }
    world.run(SECOND * 3);
    let links = [at_one, at_other, at_second];
    let before: Vec<usize> =
        links.iter().map(|link| world.peers[receiver].ends[link].received_bytes).collect();
    world.run(SECOND * 10);
    for (link, before) in links.iter().zip(before) {
        let got = world.peers[receiver].ends[link].received_bytes - before;
        assert!((32_000_000..=34_500_000).contains(&got), "{got} of a third of 100,000,000");
    }
}

// Spec R26
#[test]
fn a_call_overtakes_the_data_that_waits() {
    let mut world = World::new(12, 64 * MIB);
    let slow = world.peer(1_000_000, MS);
    world.peers[slow].down.buffer_bytes = 64 * KIB;
    let callers: Vec<usize> = (0..9).map(|_| world.peer(100_000_000, MS)).collect();
    world.run(SECOND);
    let circuits: Vec<_> =
        callers[..8].iter().map(|caller| (*caller, world.circuit(*caller, slow).0)).collect();
    for (caller, link) in circuits {
        world.send(caller, link, 20 * MIB);
    }
    world.run(SECOND * 2);
    let began = world.now;
    let link = world.open(callers[8], slow);
    world.run_until(|world| world.peers[callers[8]].ends[&link].opened);
    // What waits for the slow socket in the hub would take four seconds and more.
    let took = world.now.since(began);
    assert!(took < MS * 800, "only what the socket had before comes first: {took:?}");
}

// Spec R20b, R27b
#[test]
fn on_a_slow_wire_something_comes_all_the_time_and_nobody_waits_for_long() {
    let mut world = World::new(13, 64 * MIB);
    let slow = world.peer(4_000, MS * 50);
    let quick: Vec<usize> = (0..5).map(|_| world.peer(50_000_000, MS)).collect();
    world.peers[slow].up.buffer_bytes = 2 * KIB;
    world.peers[slow].down.buffer_bytes = 2 * KIB;
    world.run(SECOND * 5);
    let mut links = Vec::new();
    for (place, peer) in quick.iter().enumerate() {
        let began = world.now;
        let link = world.open(*peer, slow);
        world.run_until(|world| world.peers[*peer].ends[&link].opened);
        let took = world.now.since(began);
        assert!(took < MS * 4_500, "{place} others send as much as they can: {took:?}");
        let at_slow = *world.peers[slow].ends.keys().max().expect("it has been called");
        world.send(*peer, link, MIB);
        world.send(slow, at_slow, MIB);
        links.push((*peer, link, at_slow));
        world.run(SECOND * 10);
    }
    // Each side of each circuit hears something long before it would take the other for dead.
    let got = |world: &World| -> Vec<usize> {
        let both = |(peer, link, at_slow): &(usize, LinkId, LinkId)| {
            [
                world.peers[*peer].ends[link].received_bytes,
                world.peers[slow].ends[at_slow].received_bytes,
            ]
        };
        links.iter().flat_map(both).collect()
    };
    let first = got(&world);
    for _ in 0..10 {
        let before = got(&world);
        world.run(SECOND * 10);
        let more = before.iter().zip(got(&world)).map(|(before, after)| after - before);
        assert!(more.clone().all(|more| more > 0), "{:?}", more.collect::<Vec<_>>());
    }
    let sum = |all: Vec<usize>| all.into_iter().sum::<usize>();
    let carried = sum(got(&world)) - sum(first);
    assert!(carried > 2 * 4_000 * 100 * 9 / 10, "{carried} bytes of 800,000");
    assert_eq!(world.closed, vec![]);
}

// Spec R29
#[test]
fn a_lost_connection_ends_its_circuits_and_comes_back() {
    let (mut world, a, b) = World::pair(10);
    let (there, back) = world.circuit(a, b);
    world.send(a, there, 50 * MIB);
    world.run(MS * 100);
    let waiting = world.open(a, b);
    world.unplug(a);
    assert!(matches!(world.end(a, there).ended, Some(CloseReason::Remote(RemoteClose::Failed(_)))));
    assert_eq!(world.end(a, waiting).open_failed, Some(DialError::Unreachable));
    let refused = world.open(a, b);
    assert_eq!(world.end(a, refused).open_failed, Some(DialError::Unreachable));
    world.run(SECOND * 2);
    assert!(world.peers[a].client.is_online());
    assert_eq!(world.peers[a].tokens.len(), 2);
    assert!(world.end(b, back).ended.is_some());
    let (there, back) = world.circuit(a, b);
    world.send(a, there, MIB);
    world.run_until(|world| world.peers[b].ends[&back].received_bytes == MIB);
}

// Spec R28
#[test]
fn it_waits_longer_each_time_and_not_after_a_success() {
    let mut world = World::new(11, MIB);
    let a = world.peer(1_000_000, MS);
    world.run(SECOND);
    world.peers[a].reachable = false;
    world.unplug(a);
    world.run(SECOND * 400);
    let tries = world.peers[a].connects.clone();
    let waits: Vec<f64> =
        tries.windows(2).skip(1).map(|pair| pair[1].since(pair[0]).as_secs_f64()).collect();
    for (failures, wait) in waits.iter().enumerate() {
        let whole = (2_u64 << failures.min(10)).min(60) as f64;
        assert!((whole / 2.0..=whole + 0.01).contains(wait), "{failures}: {wait}");
    }
    assert!(waits.len() >= 10, "{waits:?}");
    world.peers[a].reachable = true;
    world.run(SECOND * 61);
    assert!(world.peers[a].client.is_online());
    world.unplug(a);
    world.run(MS * 1_100);
    assert!(world.peers[a].client.is_online(), "the first wait is at most a second again");
}

// Spec R12, R28b
#[test]
fn the_same_instance_again_replaces_the_old_connection() {
    let mut world = World::new(12, MIB);
    let old = world.peer_with_key(1_000_000, MS, [1; 32], 5);
    world.run(SECOND);
    let other = world.peer_with_key(1_000_000, MS, [1; 32], 6);
    world.run(SECOND);
    assert!(world.peers[old].client.is_online(), "another instance of the key is another one");
    let new = world.peer_with_key(1_000_000, MS, [1; 32], 5);
    world.run(SECOND);
    assert!(world.peers[new].client.is_online() && world.peers[other].client.is_online());
    assert!(!world.peers[old].client.is_online());
    let reason = CloseReason::Local(LocalClose::Superseded);
    assert!(world.closed.iter().any(|(_, why)| *why == reason));
    let events = &world.hub_events[world.hub_events.len() - 2..];
    assert!(matches!(events, [hub::Event::LoggedOut(..), hub::Event::LoggedIn(..)]), "{events:?}");
    assert!(world.hub.is_online(&world.peers[new].me));
    let connects = world.peers[old].connects.len();
    world.run(SECOND * 25);
    assert_eq!(world.peers[old].connects.len(), connects, "it does not fight for its place");
}

// Spec R14
#[test]
fn a_dead_hub_is_noticed_and_a_dead_client_too() {
    let (mut world, a, b) = World::pair(13);
    world.run(SECOND * 600);
    assert_eq!(world.peers[a].logged_out.len() + world.peers[b].logged_out.len(), 0);
    world.peers[a].up.paused = true;
    world.peers[a].down.paused = true;
    world.run(SECOND * 110);
    let hub = CloseReason::Timeout(Awaited::Liveness);
    assert!(world.closed.iter().any(|(_, why)| *why == hub));
    assert!(
        world.peers[a].logged_out[0].contains("said nothing"),
        "{:?}",
        world.peers[a].logged_out
    );
    assert!(world.peers[b].client.is_online());
}

#[test]
fn whoever_is_not_wanted_any_more_leaves() {
    let (mut world, a, b) = World::pair(14);
    let (_, back) = world.circuit(a, b);
    world.tell_client(a, client::Input::Want(false));
    world.run(SECOND * 100);
    assert_eq!(world.hub.stats().online, 1);
    assert!(world.end(b, back).ended.is_some());
    assert_eq!(world.peers[a].connects.len(), 1);
    world.tell_client(a, client::Input::Want(true));
    world.run(SECOND);
    assert!(world.peers[a].client.is_online());
}

#[test]
fn last_words_are_out_before_whoever_is_not_wanted_leaves() {
    let (mut world, a, b) = World::pair(19);
    let (there, back) = world.circuit(a, b);
    // The node has no more use for the relay before the session has handed in its last bytes.
    world.tell_client(a, client::Input::Want(false));
    world.end(a, there).close_when_sent = true;
    assert!(world.peers[a].client.is_online());
    world.send(a, there, 300 * KIB);
    world.run_until(|world| world.peers[b].ends[&back].ended.is_some());
    assert_eq!(world.end(b, back).received_bytes, 300 * KIB);
    world.run(SECOND);
    assert!(!world.peers[a].client.is_online());
    assert_eq!(world.peers[a].logged_out.len(), 1);
    assert_eq!(world.hub.stats().online, 1);
}

#[test]
fn whoever_is_wanted_again_before_leaving_stays() {
    let (mut world, a, b) = World::pair(20);
    let (there, back) = world.circuit(a, b);
    world.tell_client(a, client::Input::Want(false));
    world.tell_client(a, client::Input::Want(true));
    world.run(SECOND * 20);
    world.send(a, there, 5);
    world.run_until(|world| world.peers[b].ends[&back].received_bytes == 5);
    assert_eq!(world.peers[a].connects.len(), 1);
}

#[test]
fn a_hub_that_stops_says_so_and_is_silent_for_ever() {
    let (mut world, a, b) = World::pair(15);
    world.circuit(a, b);
    world.tell_hub(hub::Input::Shutdown);
    assert_eq!(world.hub_events.last(), Some(&hub::Event::Stopped));
    let logged_out =
        world.hub_events.iter().filter(|event| matches!(event, hub::Event::LoggedOut(..)));
    assert_eq!(logged_out.count(), 2);
    world.run(SECOND * 5);
    assert!(world.peers[a].logged_out[0].contains("stops"), "{:?}", world.peers[a].logged_out);
    assert_eq!(world.hub.stats(), hub::Stats::default());
}

#[test]
fn many_small_pieces_cost_no_more_than_their_windows() {
    let (mut world, a, b) = World::pair(16);
    let (there, back) = world.circuit(a, b);
    for _ in 0..3_000 {
        world.send(a, there, 1);
    }
    world.run_until(|world| world.peers[b].ends[&back].received_bytes == 3_000);
    assert_eq!(world.closed, vec![]);
}

// Spec R24c, R25
#[test]
fn a_tight_budget_is_shared_and_taken_back_from_those_who_rest() {
    let mut world = World::new(17, 4 * MIB);
    let senders: Vec<usize> = (0..8).map(|_| world.peer(20_000_000, MS * 10)).collect();
    let receivers: Vec<usize> = (0..8).map(|_| world.peer(20_000_000, MS * 10)).collect();
    world.run(SECOND);
    let circuits: Vec<_> =
        senders.iter().zip(&receivers).map(|(a, b)| (*a, *b, world.circuit(*a, *b))).collect();
    // They rest; then one alone gets what the others have given back.
    world.run(SECOND * 20);
    assert!(world.hub.stats().reserved_bytes <= 2 * MIB, "{:?}", world.hub.stats());
    let (a, b, (there, back)) = circuits[0];
    world.send(a, there, 100 * MIB);
    world.run(SECOND * 2);
    let got = world.end(b, back).received_bytes;
    assert!(got > 30_000_000, "{got} of 40,000,000");
    for (a, _, (there, _)) in &circuits[1..] {
        world.send(*a, *there, 100 * MIB);
    }
    world.run(SECOND * 4);
    for (_, b, (_, back)) in &circuits {
        let got = world.end(*b, *back).received_bytes;
        assert!(got > 25_000_000, "everybody gets on: {got}");
    }
    assert_eq!(world.closed, vec![]);
}

// Spec R27
#[test]
fn circuits_of_one_sender_take_turns_too() {
    let mut world = World::new(18, 32 * MIB);
    let sender = world.peer(10_000_000, MS * 5);
    world.peers[sender].up.buffer_bytes = 128 * KIB;
    let receivers: Vec<usize> = (0..3).map(|_| world.peer(100_000_000, MS * 5)).collect();
    world.run(SECOND);
    let circuits: Vec<_> = receivers.iter().map(|to| (*to, world.circuit(sender, *to))).collect();
    for (_, (there, _)) in &circuits {
        world.send(sender, *there, 100 * MIB);
    }
    world.run(SECOND * 6);
    for (to, (_, back)) in &circuits {
        let got = world.end(*to, *back).received_bytes;
        assert!((18_500_000..=20_500_000).contains(&got), "{got} of a third of 60,000,000");
    }
}

/// A circuit, tried again while the hub is busy: at most until it has taken back what others rest
/// on.
fn circuit_at_last(world: &mut World, a: usize, b: usize) -> (LinkId, LinkId) {
    for _ in 0..20 {
        let known = world.peers[b].ends.len();
        let link = world.open(a, b);
        world.run(SECOND);
        if world.peers[b].ends.len() > known {
            let other = world.peers[b].ends.last_key_value().map(|(link, _)| *link);
            return (link, other.expect("it was counted"));
        }
    }
    panic!("the hub stays busy");
}

// Spec R24b, R24c
#[test]
fn everything_arrives_however_tight_the_budget_is() {
    for seed in 0..6 {
        let mut world = World::new(seed, 768 * KIB);
        let peers: Vec<usize> = (0..5)
            .map(|index| world.peer(4_000_000 << (index % 3), MS * (1 + 7 * index)))
            .collect();
        world.run(SECOND);
        let mut open = vec![];
        for (index, from) in peers.iter().enumerate() {
            for to in &peers[index + 1..] {
                let (there, back) = circuit_at_last(&mut world, *from, *to);
                open.push((*from, there, *to, back));
                let wait = world.rng.below(3_000) as u32;
                world.run(MS * wait);
            }
        }
        let mut expected = vec![0; open.len()];
        for round in 0..60 {
            let which = world.rng.below(open.len() as u64) as usize;
            let bytes = 1 + world.rng.below(if round % 3 == 0 { 2_000_000 } else { 3_000 });
            let (from, there, to, _) = open[which];
            expected[which] += bytes as usize;
            world.send(from, there, bytes as usize);
            let paused = world.rng.below(4) == 0;
            world.pause(to, paused);
            let wait = world.rng.below(4_000) as u32;
            world.run(MS * wait);
            // Whoever reads nothing for 70 seconds is thrown out.
            if round % 10 == 9 {
                peers.iter().for_each(|peer| world.pause(*peer, false));
            }
        }
        world.run(SECOND * 120);
        for ((_, _, to, back), expected) in open.iter().zip(expected) {
            assert_eq!(world.end(*to, *back).received_bytes, expected, "seed {seed}");
        }
        assert_eq!(world.closed, vec![]);
    }
}
