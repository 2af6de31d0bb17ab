//! The hub's limits and times, at their edges, with clients in the hands of the test.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use core::time::Duration;

use bytes::BytesMut;

use super::mallory::{Mallory, instance, misbehaved};
use super::world::{KIB, MIB, World, hub_config};
use crate::close::{Awaited, CloseReason, LocalClose};
use crate::limits::{
    MAX_RELAY_CIRCUITS, MAX_RELAY_CONTROL_QUEUE, MAX_RELAY_HOST_BYTES, MAX_RELAY_PAYLOAD_BYTES,
    MAX_RELAY_PENDING, RELAY_BACKLOG_BYTES, RELAY_CONTROL_BACKLOG_BYTES, RELAY_FRAME_COST_BYTES,
    RELAY_HUB_WINDOW_MIN_BYTES, RELAY_OPEN_BURST, RELAY_OPEN_INTERVAL, RELAY_PING_INTERVAL,
    RELAY_WINDOW_START_BYTES,
};
use crate::output::Output;
use crate::relay::frame::{CircuitEnd, FIRST_HUB_CIRCUIT, OpenError, ToClient, ToHub, begin_data};
use crate::relay::hub::{self, ConnId, Hub};
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};

const NANOSECOND: Duration = Duration::from_nanos(1);
const SECOND: Duration = Duration::from_secs(1);

fn failed(circuit: u32, reason: OpenError) -> Vec<ToClient> {
    vec![ToClient::OpenFailed { circuit, reason }]
}

/// What the hub says at once to a call.
fn call(world: &mut World, caller: &mut Mallory, circuit: u32, to: &Mallory) -> Vec<ToClient> {
    caller.call(world, circuit, to.me);
    caller.hear(world)
}

/// A circuit between two that do what the test says: the called one's number.
fn connect(world: &mut World, caller: &mut Mallory, circuit: u32, called: &mut Mallory) -> u32 {
    assert_eq!(call(world, caller, circuit, called), []);
    let number = called.accept(world);
    let heard = caller.hear(world);
    assert!(matches!(heard[..], [ToClient::Opened { .. }]), "{heard:?}");
    number
}

// Spec R16
#[test]
fn calls_that_nobody_answers_are_limited_for_caller_and_called() {
    let mut world = World::new(50, 64 * MIB);
    let [mut caller, mut other, mut called, mut spare] =
        [61, 62, 63, 64].map(|byte| Mallory::new(&mut world, byte));
    let pending = MAX_RELAY_PENDING as u32;
    for circuit in 1..=pending {
        assert_eq!(call(&mut world, &mut caller, circuit, &called), []);
    }
    world.run(SECOND * 5);
    let at = pending + 1;
    assert_eq!(call(&mut world, &mut caller, at, &spare), failed(at, OpenError::Busy));
    assert_eq!(call(&mut world, &mut other, 1, &called), failed(1, OpenError::Busy));
    assert_eq!(call(&mut world, &mut other, 2, &spare), []);
    // One answer makes room for one call on both sides.
    called.accept(&mut world);
    let heard = caller.hear(&world);
    assert!(matches!(heard[..], [ToClient::Opened { .. }]), "{heard:?}");
    assert_eq!(call(&mut world, &mut other, 3, &called), []);
    assert_eq!(call(&mut world, &mut other, 4, &called), failed(4, OpenError::Busy));
    assert_eq!(call(&mut world, &mut caller, at + 1, &spare), []);
    assert_eq!(call(&mut world, &mut caller, at + 2, &spare), failed(at + 2, OpenError::Busy));
    assert!(spare.hear(&world).len() == 2);
    world.run(SECOND * 11);
    assert_eq!(world.hub.stats().circuits, 1, "one call was answered");
    assert_eq!(caller.hear(&world).len(), MAX_RELAY_PENDING);
    assert_eq!(call(&mut world, &mut caller, at + 3, &called), []);
}

#[test]
fn calls_that_fail_at_once_count_in_the_rate() {
    let mut world = World::new(51, MIB);
    let mut caller = Mallory::new(&mut world, 61);
    let stranger = instance(200);
    let mut circuit = 0;
    let mut reason = |world: &mut World| {
        circuit += 1;
        caller.call(world, circuit, stranger);
        match caller.hear(world)[..] {
            [ToClient::OpenFailed { reason, .. }] => reason,
            ref heard => panic!("{heard:?}"),
        }
    };
    for _ in 0..RELAY_OPEN_BURST {
        assert_eq!(reason(&mut world), OpenError::Absent);
    }
    assert_eq!(reason(&mut world), OpenError::Busy);
    world.run(RELAY_OPEN_INTERVAL);
    assert_eq!(reason(&mut world), OpenError::Absent);
    assert_eq!(reason(&mut world), OpenError::Busy);
    assert!(!world.hub.is_online(&stranger));
}

#[test]
fn circuits_of_one_connection_are_limited_whoever_opened_them() {
    let mut world = World::new(52, 4 << 30);
    world.audited = false;
    let mut callers = [61, 62].map(|byte| Mallory::new(&mut world, byte));
    let mut called = [63, 64, 65].map(|byte| Mallory::new(&mut world, byte));
    let half = MAX_RELAY_CIRCUITS as u32 / 2;
    // The second caller and the third called have one half, the other three have both.
    for (caller, to) in [(0, 0), (1, 0), (0, 1)] {
        for circuit in 1..=half {
            let circuit = circuit + if to == 1 { half } else { 0 };
            connect(&mut world, &mut callers[caller], circuit, &mut called[to]);
            for mallory in callers.iter().chain(&called) {
                mallory.take(&mut world);
            }
            world.run(RELAY_OPEN_INTERVAL);
            for mallory in callers.iter_mut().chain(&mut called) {
                mallory.say(&mut world, &ToHub::Pong { nonce: 0 });
            }
        }
    }
    let [first, second] = &mut callers;
    let at = 2 * half + 1;
    assert_eq!(call(&mut world, first, at, &called[2]), failed(at, OpenError::Busy));
    assert_eq!(call(&mut world, second, at, &called[0]), failed(at, OpenError::Busy));
    assert_eq!(call(&mut world, second, at + 1, &called[2]), []);
    assert_eq!(call(&mut world, second, at + 2, &called[1]), []);
    assert_eq!(world.closed, vec![]);
}

#[test]
fn a_hub_without_room_for_two_minima_is_busy() {
    let mut world = World::new(53, 16 * RELAY_HUB_WINDOW_MIN_BYTES);
    let [mut caller, called] = [61, 62].map(|byte| Mallory::new(&mut world, byte));
    // The first two are granted their shares; what is left has room for the minima of one more.
    for circuit in 1..=3 {
        assert_eq!(call(&mut world, &mut caller, circuit, &called), []);
    }
    assert_eq!(call(&mut world, &mut caller, 4, &called), failed(4, OpenError::Busy));
    caller.say(&mut world, &ToHub::Close { circuit: 1 });
    assert_eq!(call(&mut world, &mut caller, 5, &called), []);
}

// Spec R16
#[test]
fn nobody_calls_itself() {
    let mut world = World::new(54, MIB);
    let mut caller = Mallory::new(&mut world, 61);
    let me = caller.me;
    caller.call(&mut world, 1, me);
    assert_eq!(caller.hear(&world), failed(1, OpenError::Absent));
}

// Spec R17
#[test]
fn a_caller_cannot_answer_its_own_call() {
    let own: [(ToHub, &str); 3] = [
        (ToHub::Accept { circuit: 1, window_bytes: 1 }, "accept_without_call"),
        (ToHub::Refuse { circuit: 1 }, "refuse_own_call"),
        (ToHub::Credit { circuit: 1, bytes: 1 }, "credit_before_open"),
    ];
    for (message, rule) in own {
        let mut world = World::new(55, MIB);
        let [mut caller, mut called] = [61, 62].map(|byte| Mallory::new(&mut world, byte));
        assert_eq!(call(&mut world, &mut caller, 1, &called), []);
        caller.say(&mut world, &message);
        assert_eq!(world.why_closed(caller.conn), Some(&misbehaved(rule)));
        let heard = called.hear(&world);
        assert!(matches!(
            heard[..],
            [ToClient::Incoming { .. }, ToClient::Close { reason: CircuitEnd::Lost, .. }]
        ));
    }
}

// Spec R25, R25b
#[test]
fn what_is_given_back_is_what_was_asked_and_what_is_left() {
    let asked = RELAY_WINDOW_START_BYTES - RELAY_HUB_WINDOW_MIN_BYTES;
    let sixteenth = RELAY_HUB_WINDOW_MIN_BYTES / 16;
    for (sixteenths, bytes, allowed) in [
        (0, asked, true),
        (0, asked + 1, false),
        (16, asked, true),
        (17, asked, false),
        (17, asked - sixteenth, true),
        (17, asked - sixteenth + 1, false),
        (0, 0, true),
    ] {
        let mut world = World::new(56, 2 * MIB);
        let [mut sender, mut receiver] = [61, 62].map(|byte| Mallory::new(&mut world, byte));
        for circuit in 1..=3 {
            connect(&mut world, &mut sender, circuit, &mut receiver);
        }
        for mallory in [&sender, &receiver] {
            mallory.take(&mut world);
        }
        world.run(SECOND * 6);
        let reclaim = ToClient::Reclaim { circuit: 1, bytes: asked as u32 };
        assert!(sender.hear(&world).contains(&reclaim));
        for _ in 0..sixteenths {
            sender.data(&mut world, 1, sixteenth - RELAY_FRAME_COST_BYTES);
        }
        sender.say(&mut world, &ToHub::Returned { circuit: 1, bytes: bytes as u32 });
        let reason = (!allowed).then_some(misbehaved("return_too_large"));
        assert_eq!(world.why_closed(sender.conn).cloned(), reason, "{sixteenths} {bytes}");
    }
}

// Spec R18, R24b, R26
#[test]
fn what_waits_in_the_hub_goes_out_before_the_end_of_its_circuit() {
    let mut world = World::new(57, 64 * MIB);
    let [mut sender, mut receiver] = [61, 62].map(|byte| Mallory::new(&mut world, byte));
    let numbers = [1, 2].map(|circuit| connect(&mut world, &mut sender, circuit, &mut receiver));
    receiver.hurry(&mut world);
    for _ in 0..7 {
        for circuit in [1, 2] {
            sender.data(&mut world, circuit, 64 * KIB);
        }
    }
    assert_eq!(receiver.frames(&world).len(), 7, "the backlog");
    for circuit in [1, 2] {
        sender.say(&mut world, &ToHub::Close { circuit });
    }
    assert_eq!(receiver.hear(&world), []);
    for _ in 0..10 {
        receiver.take(&mut world);
    }
    let frames = receiver.frames(&world);
    assert_eq!(frames.len(), 14);
    let reason = CircuitEnd::Closed;
    let ends = numbers.map(|circuit| ToClient::Close { circuit, reason });
    let heard = receiver.hear(&world);
    assert!(heard.len() == 2 && ends.iter().all(|end| heard.contains(end)), "{heard:?}");
    assert!(world.raw[&receiver.conn].last().unwrap()[0] == 1, "the end is last");
    let stats = world.hub.stats();
    assert_eq!((stats.circuits, stats.reserved_bytes), (0, 0));
    assert_eq!(stats.forwarded_bytes, 14 * 64 * KIB as u64);
}

// Spec R18, R24b
#[test]
fn a_receiver_that_leaves_gives_back_what_was_on_its_way_while_its_own_words_still_wait() {
    let mut world = World::new(62, 64 * MIB);
    let [mut here, mut gone] = [61, 62].map(|byte| Mallory::new(&mut world, byte));
    let number = connect(&mut world, &mut here, 1, &mut gone);
    here.data(&mut world, 1, 4_000);
    for _ in 0..3 {
        gone.data(&mut world, number, 4_000);
    }
    assert_eq!((here.frames(&world).len(), gone.frames(&world).len()), (1, 1), "two wait");
    world.tell_hub(hub::Input::Disconnected(gone.conn));
    here.take(&mut world);
    here.take(&mut world);
    assert_eq!(here.frames(&world).len(), 3);
    let reason = CircuitEnd::Lost;
    assert_eq!(here.hear(&world), [ToClient::Close { circuit: 1, reason }]);
    let stats = world.hub.stats();
    assert_eq!((stats.circuits, stats.reserved_bytes), (0, 0));
}

// Spec R26
#[test]
fn a_socket_gets_data_up_to_the_backlog_and_not_a_byte_more() {
    for more in [0, 1] {
        let mut world = World::new(58, 64 * MIB);
        let [mut sender, mut receiver] = [61, 62].map(|byte| Mallory::new(&mut world, byte));
        for circuit in [1, 2] {
            connect(&mut world, &mut sender, circuit, &mut receiver);
        }
        receiver.hurry(&mut world);
        for _ in 0..4 {
            sender.data(&mut world, 1, MAX_RELAY_PAYLOAD_BYTES);
        }
        for _ in 0..3 {
            sender.data(&mut world, 2, MAX_RELAY_PAYLOAD_BYTES);
        }
        let last = RELAY_BACKLOG_BYTES - 7 * (MAX_RELAY_PAYLOAD_BYTES + 5) - 5;
        sender.data(&mut world, 2, last + more);
        let forwarded = 7 * MAX_RELAY_PAYLOAD_BYTES + if more == 0 { last } else { 0 };
        assert_eq!(receiver.frames(&world).len(), 8 - more);
        assert_eq!(world.hub.stats().forwarded_bytes, forwarded as u64);
        sender.data(&mut world, 1, 1);
        assert_eq!(receiver.frames(&world).len(), 8 - more, "nobody has room now");
        assert_eq!(world.closed, vec![]);
    }
}

// Spec R26
#[test]
fn a_socket_gets_control_frames_a_little_beyond_the_backlog() {
    let most = RELAY_BACKLOG_BYTES + RELAY_CONTROL_BACKLOG_BYTES;
    const PONG: usize = 26;
    const OPEN_FAILED: usize = 23;
    let mut world = World::new(59, MIB);
    world.audited = false;
    let mut mallory = Mallory::new(&mut world, 66);
    mallory.take(&mut world);
    let before = world.raw[&mallory.conn].len();
    for circuit in 1..=4 {
        mallory.call(&mut world, circuit, instance(200));
    }
    let pongs = (most - 4 * OPEN_FAILED) / PONG;
    for nonce in 0..(pongs + MAX_RELAY_CONTROL_QUEUE) as u64 {
        mallory.say(&mut world, &ToHub::Ping { nonce });
    }
    assert_eq!(world.why_closed(mallory.conn), None);
    let handed: usize = world.raw[&mallory.conn][before..].iter().map(bytes::Bytes::len).sum();
    assert_eq!(handed, most);
    mallory.say(&mut world, &ToHub::Ping { nonce: 0 });
    let reason = CloseReason::Local(LocalClose::Limit("MAX_RELAY_CONTROL_QUEUE"));
    assert_eq!(world.why_closed(mallory.conn), Some(&reason));
}

// Spec R22
#[test]
fn a_small_frame_that_waits_holds_no_large_buffer() {
    for (waiting, length, held) in
        [(false, 10, 0), (true, 10, 15), (true, 4_091, 4 * KIB), (true, 4_092, 256 * KIB)]
    {
        let mut world = World::new(60, 64 * MIB);
        let [mut sender, mut receiver] = [61, 62].map(|byte| Mallory::new(&mut world, byte));
        for circuit in [1, 2] {
            connect(&mut world, &mut sender, circuit, &mut receiver);
        }
        receiver.hurry(&mut world);
        if waiting {
            // Frames that fill the backlog until not even a small one passes.
            for circuit in [1, 1, 1, 1, 2, 2, 2] {
                sender.data(&mut world, circuit, MAX_RELAY_PAYLOAD_BYTES);
            }
            let last = RELAY_BACKLOG_BYTES - 7 * (MAX_RELAY_PAYLOAD_BYTES + 5) - 5;
            sender.data(&mut world, 2, last);
        }
        let mut bytes = BytesMut::with_capacity(256 * KIB);
        bytes.extend_from_slice(&begin_data(1, 0));
        bytes.resize(5 + length, 7);
        world.tell_hub(hub::Input::Message { conn: sender.conn, bytes });
        assert_eq!(world.hub.waiting_capacity(), held);
    }
}

// Spec R14
#[test]
fn a_silent_client_is_asked_every_thirty_seconds_and_left_after_seventy() {
    let mut world = World::new(61, MIB);
    let mut mallory = Mallory::new(&mut world, 66);
    mallory.take(&mut world);
    let login = world.now;
    let (conn, seen) = (mallory.conn, world.raw[&mallory.conn].len());
    world.run_until(|world| world.raw[&conn].len() > seen);
    assert_eq!(mallory.hear(&world), [ToClient::Ping { nonce: 1 }]);
    let first = world.now.since(login);
    assert!((RELAY_PING_INTERVAL..RELAY_PING_INTERVAL + SECOND * 5).contains(&first), "{first:?}");
    mallory.take(&mut world);
    world.run(RELAY_PING_INTERVAL - NANOSECOND);
    assert_eq!(mallory.hear(&world), []);
    world.run(NANOSECOND);
    assert_eq!(mallory.hear(&world), [ToClient::Ping { nonce: 2 }]);
    mallory.take(&mut world);
    mallory.say(&mut world, &ToHub::Pong { nonce: 2 });
    world.run(SECOND * 70 - NANOSECOND);
    assert_eq!(world.why_closed(conn), None);
    mallory.take(&mut world);
    world.run(NANOSECOND);
    assert_eq!(world.why_closed(conn), Some(&CloseReason::Timeout(Awaited::Liveness)));
}

// Spec R14
#[test]
fn a_client_that_takes_nothing_is_left_and_one_that_has_nothing_to_take_is_not() {
    for takes in [false, true] {
        let mut world = World::new(62, MIB);
        let mut mallory = Mallory::new(&mut world, 66);
        if takes {
            mallory.take(&mut world);
        }
        for second in 0..70 {
            assert_eq!(world.why_closed(mallory.conn), None, "{second}");
            mallory.say(&mut world, &ToHub::Pong { nonce: 99 });
            world.run(SECOND);
        }
        let reason = CloseReason::Timeout(Awaited::Writable);
        assert_eq!(world.why_closed(mallory.conn), (!takes).then_some(&reason));
        if takes {
            for _ in 0..100 {
                mallory.say(&mut world, &ToHub::Pong { nonce: 99 });
                world.run(SECOND);
            }
            assert_eq!(world.why_closed(mallory.conn), None);
            assert_eq!(mallory.hear(&world), [], "nobody was asked anything");
        }
    }
}

// Spec R14
#[test]
fn a_socket_has_seventy_seconds_for_what_it_was_given_however_long_it_had_nothing() {
    for data in [false, true] {
        let mut world = World::new(64, 64 * MIB);
        let [mut sender, mut receiver] = [61, 62].map(|byte| Mallory::new(&mut world, byte));
        connect(&mut world, &mut sender, 1, &mut receiver);
        for mallory in [&sender, &receiver] {
            mallory.take(&mut world);
        }
        for _ in 0..50 {
            world.run(SECOND);
            sender.say(&mut world, &ToHub::Pong { nonce: 99 });
            receiver.say(&mut world, &ToHub::Pong { nonce: 99 });
        }
        if data {
            sender.data(&mut world, 1, 10);
        } else {
            receiver.say(&mut world, &ToHub::Ping { nonce: 1 });
        }
        for second in 0..70 {
            assert_eq!(world.why_closed(receiver.conn), None, "{second}");
            receiver.say(&mut world, &ToHub::Pong { nonce: 99 });
            sender.say(&mut world, &ToHub::Pong { nonce: 99 });
            world.run(SECOND);
        }
        let reason = CloseReason::Timeout(Awaited::Writable);
        assert_eq!(world.why_closed(receiver.conn), Some(&reason));
    }
}

// Spec R14, R24c
#[test]
fn the_shortest_answer_says_how_far_a_sender_is() {
    // Used up within two round trips, a window is twice as large.
    for (nonce, took_ms, doubled) in [(1, 20, true), (1, 21, false), (2, 21, true)] {
        let mut world = World::new(65, 64 * MIB);
        let late = Mallory::half_after(&mut world, 61, SECOND);
        let mut sender = late.login(&mut world, 61);
        sender.take(&mut world);
        let (conn, seen) = (sender.conn, world.raw[&sender.conn].len());
        world.run_until(|world| world.raw[&conn].len() > seen);
        world.run(Duration::from_millis(10));
        sender.say(&mut world, &ToHub::Pong { nonce });
        sender.take(&mut world);
        let _ = sender.hear(&world);
        let mut receiver = Mallory::new(&mut world, 62);
        connect(&mut world, &mut sender, 1, &mut receiver);
        receiver.hurry(&mut world);
        let half = RELAY_WINDOW_START_BYTES / 2;
        for wait_ms in [took_ms, 0] {
            for _ in 0..4 {
                sender.data(&mut world, 1, half / 4 - RELAY_FRAME_COST_BYTES);
            }
            receiver.take(&mut world);
            world.run(Duration::from_millis(wait_ms));
        }
        let granted = sender.hear(&world).into_iter().map(|message| match message {
            ToClient::HubCredit { bytes, .. } => bytes as usize,
            other => panic!("{other:?}"),
        });
        let more = if doubled { RELAY_WINDOW_START_BYTES } else { 0 };
        assert_eq!(granted.sum::<usize>(), RELAY_WINDOW_START_BYTES + more, "{took_ms} ms");
    }
}

fn connected(number: u64, last_byte: u8, host_bytes: usize) -> hub::Input {
    hub::Input::Connected {
        conn: ConnId(number),
        ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last_byte)),
        host: "h".repeat(host_bytes),
        ephemeral: [1; 32],
        unix_time: UnixTime(0),
    }
}

/// Whether a hub takes a connection.
fn takes(hub: &mut Hub, input: hub::Input) -> bool {
    hub.handle_input(Instant::ZERO, input);
    let mut taken = true;
    loop {
        match hub.poll_output() {
            Output::Timeout(_) => return taken,
            Output::Transmit(hub::Transmit::Close { .. }) => taken = false,
            Output::Transmit(hub::Transmit::Send { .. }) | Output::Event(_) => {}
        }
    }
}

#[test]
fn a_connection_that_ends_makes_room_for_another_of_its_address() {
    let mut config = hub_config(MIB);
    config.max_connections_per_ip = 2;
    let mut hub = Hub::new(Instant::ZERO, Rng::new([1; 32]), config);
    assert!(takes(&mut hub, connected(1, 1, 5)));
    assert!(takes(&mut hub, connected(2, 1, 5)));
    for number in 3..6 {
        assert!(!takes(&mut hub, connected(number, 1, 5)));
        takes(&mut hub, hub::Input::Disconnected(ConnId(number - 2)));
        assert!(takes(&mut hub, connected(number, 1, 5)));
    }
    for number in 4..6 {
        takes(&mut hub, hub::Input::Disconnected(ConnId(number)));
    }
    assert_eq!(hub.stats(), hub::Stats::default());
    assert!(takes(&mut hub, connected(6, 1, 5)) && takes(&mut hub, connected(7, 1, 5)));
    assert!(!takes(&mut hub, connected(8, 1, 5)));
}

#[test]
fn a_host_has_the_length_of_a_name_and_a_port() {
    let mut hub = Hub::new(Instant::ZERO, Rng::new([1; 32]), hub_config(MIB));
    assert!(takes(&mut hub, connected(1, 1, MAX_RELAY_HOST_BYTES)));
    assert!(!takes(&mut hub, connected(2, 1, MAX_RELAY_HOST_BYTES + 1)));
    assert!(takes(&mut hub, connected(3, 1, 0)));
    let counted: Vec<String> = hub.counters().iter().map(|(name, _)| String::from(name)).collect();
    assert_eq!(counted, ["MAX_RELAY_HOST_BYTES"]);
}

// Spec R15
#[test]
fn a_number_is_greater_than_all_before() {
    let stranger = instance(200);
    for (circuit, rule) in [
        (0, Some("circuit_number")),
        (5, Some("circuit_number")),
        (6, None),
        (FIRST_HUB_CIRCUIT - 1, None),
        (FIRST_HUB_CIRCUIT, Some("circuit_number")),
    ] {
        let mut world = World::new(63, MIB);
        let mut mallory = Mallory::new(&mut world, 66);
        mallory.call(&mut world, 5, stranger);
        mallory.call(&mut world, circuit, stranger);
        let reason = rule.map(misbehaved);
        assert_eq!(world.why_closed(mallory.conn).cloned(), reason, "{circuit}");
    }
}
