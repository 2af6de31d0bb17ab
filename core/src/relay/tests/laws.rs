//! The laws of every machine.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use bytes::BytesMut;

use super::mallory::Mallory;
use super::world::{MIB, World, hub_config};
use crate::output::Output;
use crate::relay::hub::{ConnId, Hub, Input};
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};

#[test]
fn the_same_seed_gives_the_same_bytes_at_the_same_moments() {
    let run = |seed| {
        let (mut world, a, b) = World::pair(seed);
        let (there, back) = world.circuit(a, b);
        world.send(a, there, 3 * MIB);
        world.send(b, back, MIB);
        world.run(Duration::from_secs(40));
        (world.trace, world.now)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn time_never_goes_back_and_early_or_double_timeouts_do_nothing() {
    let (mut world, a, _) = World::pair(3);
    world.run(Duration::from_secs(10));
    for _ in 0..3 {
        world.tell_hub(Input::Tick);
        world.tell_client(a, crate::relay::client::Input::Tick);
    }
    let trace = world.trace;
    world.hub.handle_input(Instant::ZERO, Input::Tick);
    let Output::Timeout(at) = world.hub.poll_output() else { panic!("nothing was due") };
    assert!(at > world.now);
    assert_eq!(world.trace, trace);
}

#[test]
fn a_stopped_hub_swallows_its_inputs() {
    let (mut world, a, _) = World::pair(4);
    let conn = world.peers[a].conn.unwrap();
    world.tell_hub(Input::Shutdown);
    let inputs = [
        Input::Tick,
        Input::Message { conn, bytes: BytesMut::from(&[1, 2, 3][..]) },
        Input::Sent { conn, bytes: 5 },
        Input::Disconnected(conn),
        Input::Shutdown,
        connect(9_999),
    ];
    for input in inputs {
        world.hub.handle_input(world.now + Duration::from_secs(1_000), input);
        assert_eq!(drain(&mut world.hub), (0, Instant::NEVER));
    }
}

fn connect(number: u64) -> Input {
    Input::Connected {
        conn: ConnId(number),
        ip: IpAddr::V4(Ipv4Addr::from(number as u32)),
        host: String::from("relay"),
        ephemeral: [3; 32],
        unix_time: UnixTime(0),
    }
}

fn drain(hub: &mut Hub) -> (usize, Instant) {
    let mut count = 0;
    loop {
        match hub.poll_output() {
            Output::Timeout(at) => return (count, at),
            Output::Transmit(_) | Output::Event(_) => count += 1,
        }
    }
}

/// Connections that only stand there are not walked over: one message among ten thousand of them
/// has as many outputs as alone, and the timer queue gives out their deadlines one by one.
#[test]
fn idle_connections_are_left_alone() {
    let mut config = hub_config(64 * MIB);
    config.max_connections = 20_000;
    let mut hub = Hub::new(Instant::ZERO, Rng::new([1; 32]), config);
    // Half-open ones are limited: the first thousands stand there, the others are refused.
    for number in 0..10_000 {
        hub.handle_input(Instant::from_nanos(number), connect(number));
        drain(&mut hub);
    }
    assert_eq!(hub.stats().connections, crate::limits::MAX_RELAY_HALF_OPEN);
    let mut deadlines = VecDeque::new();
    while hub.stats().connections > 0 {
        let (_, at) = drain(&mut hub);
        deadlines.push_back(at);
        hub.handle_input(at, Input::Tick);
    }
    let deadlines: Vec<Instant> = deadlines.into();
    assert_eq!(deadlines.len(), crate::limits::MAX_RELAY_HALF_OPEN);
    assert!(deadlines.is_sorted());
}

#[test]
fn those_who_are_logged_in_take_no_room_from_those_who_are_about_to() {
    let mut world = World::new(70, MIB);
    let mut config = hub_config(64 * MIB);
    config.max_connections = 20_000;
    world.hub = Hub::new(world.now, Rng::new([1; 32]), config);
    let _logged_in = [61, 62, 63].map(|byte| Mallory::new(&mut world, byte));
    let most = crate::limits::MAX_RELAY_HALF_OPEN;
    for number in 0..most as u64 + 5 {
        world.hub.handle_input(world.now, connect(1_000 + number));
        drain(&mut world.hub);
    }
    assert_eq!(world.hub.stats().connections, most + 3);
}
