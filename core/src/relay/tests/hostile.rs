//! What must end one connection, and nothing but that.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use proptest::prelude::*;

use super::mallory::{IP, Mallory, instance, misbehaved};
use super::world::{HOST, KIB, MIB, World, hub_config};
use crate::close::{Awaited, CloseReason, LocalClose};
use crate::codec::Write;
use crate::id::Instance;
use crate::limits::{
    MAX_RELAY_CIRCUITS, MAX_RELAY_CONTROL_QUEUE, MAX_RELAY_PENDING, RELAY_BACKLOG_BYTES,
    RELAY_FRAME_COST_BYTES, RELAY_HUB_WINDOW_MIN_BYTES, RELAY_OPEN_BURST, RELAY_TOKEN_SECONDS,
    RELAY_WINDOW_MAX_BYTES,
};
use crate::output::Output;
use crate::relay::frame::{
    FIRST_HUB_CIRCUIT, Goodbye, OpenError, ToClient, ToHub, begin_data, set_data_circuit,
};
use crate::relay::hub::{self, ConnId, Hub, check_token};
use crate::relay::seal;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};

/// Two honest peers with a circuit that carries, and somebody who does something: afterwards the
/// circuit has carried on, and the hub's books are right. Answers why the hub closed the other's
/// connection.
fn ordeal(deed: impl FnOnce(&mut World, [usize; 2]) -> ConnId) -> Option<CloseReason> {
    let (mut world, a, b) = World::pair(40);
    let (there, back) = world.circuit(a, b);
    world.send(a, there, 2 * MIB);
    world.run(Duration::from_millis(12));
    let conn = deed(&mut world, [a, b]);
    world.run_until(|world| world.peers[b].ends[&back].received_bytes == 2 * MIB);
    world.run(Duration::from_secs(1));
    assert!(world.closed.iter().all(|(closed, _)| *closed == conn), "{:?}", world.closed);
    assert!(world.end(a, there).ended.is_none() && world.end(b, back).ended.is_none());
    let reason = world.why_closed(conn).cloned();
    if reason.is_some() {
        assert_eq!(world.hub.stats().connections, 2);
        assert_eq!(world.hub.stats().circuits, 1);
    }
    reason
}

// Spec R4, R5b
#[test]
fn frames_that_are_none_end_the_connection_that_sent_them() {
    let mut long_data = vec![2; 5 + 64 * KIB];
    long_data.push(0);
    let frames: [(&[u8], &str); 8] = [
        (&[], "empty_frame"),
        (&[3, 1, 2], "unknown_frame"),
        (&[255; 100], "unknown_frame"),
        (&[2, 0, 0, 0, 1], "empty_data"),
        (&long_data, "frame_too_long"),
        (&[1; 2_000], "frame_too_long"),
        (&[1; 40], "forged_control"),
        (&[0; 33], "handshake_twice"),
    ];
    for (frame, rule) in frames {
        let reason = ordeal(|world, _| {
            let mallory = Mallory::new(world, 66);
            world.raw_message(mallory.conn, frame);
            mallory.conn
        });
        assert_eq!(reason, Some(misbehaved(rule)));
    }
}

// Spec R10
#[test]
fn before_the_login_nothing_else_is_taken() {
    for (frame, rule) in [
        (&[1, 2, 3][..], "control_before_handshake"),
        (&[2, 0, 0, 0, 1, 9], "data_before_login"),
        (&[0, 1, 2, 3], "handshake_length"),
        (&[0; 33], "handshake_key"),
        (b"GET / HTTP/1.1\r\n", "unknown_frame"),
    ] {
        let reason = ordeal(|world, _| {
            let conn = world.raw_connection(IP);
            world.raw_message(conn, frame);
            conn
        });
        assert_eq!(reason, Some(misbehaved(rule)), "{frame:?}");
    }
    let reason = ordeal(|world, _| {
        let mut mallory = Mallory::half(world, 66);
        mallory.say(world, &ToHub::Ping { nonce: 1 });
        mallory.conn
    });
    assert_eq!(reason, Some(misbehaved("control_before_login")));
    let reason = ordeal(|world, _| {
        let mallory = Mallory::half(world, 66);
        mallory.data(world, 1, 10);
        mallory.conn
    });
    assert_eq!(reason, Some(misbehaved("data_before_login")));
}

// Spec R5
#[test]
fn half_a_login_is_waited_for_ten_seconds() {
    for steps in 0..3 {
        let (mut world, _, _) = World::pair(41);
        let conn = match steps {
            0 => world.raw_connection(IP),
            1 => {
                let conn = world.raw_connection(IP);
                let mut noise = seal::handshake(true, HOST, [9; 32], [8; 32]);
                let first = noise.write_message().unwrap();
                world.raw_message(conn, &seal::handshake_frame(&first));
                conn
            }
            _ => Mallory::half(&mut world, 66).conn,
        };
        world.run(Duration::from_millis(9_900));
        assert_eq!(world.why_closed(conn), None);
        world.run(Duration::from_millis(200));
        assert_eq!(world.why_closed(conn), Some(&CloseReason::Timeout(Awaited::Handshake)));
        assert_eq!(world.hub.stats().connections, 2);
    }
}

// Spec R6, K13
#[test]
fn a_login_for_another_host_fails() {
    let (mut world, _, _) = World::pair(42);
    let conn = world.raw_connection(IP);
    let mut noise = seal::handshake(true, "evil.example", [9; 32], [8; 32]);
    let first = noise.write_message().unwrap();
    world.raw_message(conn, &seal::handshake_frame(&first));
    let second = world.raw[&conn][0].clone();
    assert!(noise.read_message(&second[1..]).is_err(), "the relay cannot pass it on");
}

// Spec R15, R17, R19b, R21
#[test]
fn control_messages_against_the_rules_end_the_connection() {
    let stranger = instance(200);
    let open = |circuit| ToHub::Open { circuit, to: stranger, window_bytes: 1 }.encode();
    let one = |message: ToHub| vec![message.encode()];
    let cases: Vec<(Vec<Vec<u8>>, &str)> = vec![
        (vec![vec![]], "truncated"),
        (vec![vec![99]], "unknown_control"),
        (vec![vec![8, 0]], "truncated"),
        (one(ToHub::Login { instance: 4 }), "login_twice"),
        (vec![open(0)], "circuit_number"),
        (vec![open(FIRST_HUB_CIRCUIT)], "circuit_number"),
        (vec![open(5), open(5)], "circuit_number"),
        (vec![open(5), open(4)], "circuit_number"),
        (one(ToHub::Close { circuit: 1 }), "unknown_circuit"),
        (one(ToHub::Credit { circuit: 1, bytes: 1 }), "unknown_circuit"),
        (one(ToHub::Accept { circuit: FIRST_HUB_CIRCUIT, window_bytes: 1 }), "unknown_circuit"),
        (one(ToHub::Refuse { circuit: FIRST_HUB_CIRCUIT + 7 }), "unknown_circuit"),
        (one(ToHub::Returned { circuit: 0, bytes: 1 }), "unknown_circuit"),
    ];
    for (messages, rule) in cases {
        let reason = ordeal(|world, _| {
            let mut mallory = Mallory::new(world, 66);
            for message in &messages {
                mallory.say_bytes(world, message);
            }
            let heard = mallory.hear(world);
            let goodbye = ToClient::Goodbye { reason: Goodbye::Misbehaved };
            assert_eq!(heard.last(), Some(&goodbye));
            mallory.conn
        });
        assert_eq!(reason, Some(misbehaved(rule)));
    }
}

// Spec R9, K13
#[test]
fn a_forged_or_replayed_control_frame_ends_the_connection() {
    let reason = ordeal(|world, _| {
        let mut mallory = Mallory::new(world, 66);
        let ping = mallory.seal.seal(&ToHub::Ping { nonce: 1 }.encode());
        world.raw_message(mallory.conn, &ping);
        world.raw_message(mallory.conn, &ping);
        mallory.conn
    });
    assert_eq!(reason, Some(misbehaved("forged_control")));
    let reason = ordeal(|world, _| {
        let mut mallory = Mallory::new(world, 66);
        let mut ping = mallory.seal.seal(&ToHub::Ping { nonce: 1 }.encode()).to_vec();
        ping[3] ^= 1;
        world.raw_message(mallory.conn, &ping);
        mallory.conn
    });
    assert_eq!(reason, Some(misbehaved("forged_control")));
}

// Spec R22, R23
#[test]
fn whoever_exceeds_a_window_is_thrown_out() {
    // The called peer's window is 512 KiB, the hub's too: nine full frames exceed one or the other.
    let reason = ordeal(|world, [a, _]| {
        let mut mallory = Mallory::new(world, 66);
        let to = world.peers[a].me;
        let circuit = mallory.open(world, 1, to);
        world.peers[a].down.buffer_bytes = KIB;
        world.pause(a, true);
        for _ in 0..9 {
            mallory.data(world, circuit, 64 * KIB);
        }
        world.pause(a, false);
        mallory.conn
    });
    assert_eq!(reason, Some(misbehaved("hub_window_exceeded")));
    // Frames of one byte cost the hub's window 257.
    let reason = ordeal(|world, [a, _]| {
        let mut mallory = Mallory::new(world, 66);
        let to = world.peers[a].me;
        let circuit = mallory.open(world, 1, to);
        world.peers[a].down.buffer_bytes = KIB;
        world.pause(a, true);
        let mut sent = 0;
        while world.why_closed(mallory.conn).is_none() {
            mallory.data(world, circuit, 1);
            sent += 1;
            assert!(sent < 20_000, "the hub holds frames without a limit");
        }
        world.pause(a, false);
        mallory.conn
    });
    assert_eq!(reason, Some(misbehaved("hub_window_exceeded")));
}

// Spec R21, R23
#[test]
fn the_receivers_window_counts_too() {
    let (mut world, _, _) = World::pair(43);
    let mut caller = Mallory::new(&mut world, 66);
    let mut called = Mallory::new(&mut world, 67);
    let to = instance(67);
    caller.say(&mut world, &ToHub::Open { circuit: 1, to, window_bytes: 1 << 20 });
    let heard = called.hear(&world);
    let &[ToClient::Incoming { circuit, from, window_bytes, .. }] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert_eq!((circuit, from, window_bytes), (FIRST_HUB_CIRCUIT, instance(66), 1 << 20));
    called.say(&mut world, &ToHub::Accept { circuit, window_bytes: 1_000 });
    let _ = caller.hear(&world);
    caller.data(&mut world, 1, 1_000);
    assert_eq!(world.why_closed(caller.conn), None);
    let mut expected = begin_data(1, 1_000);
    expected.resize(1_005, 7);
    set_data_circuit(&mut expected, FIRST_HUB_CIRCUIT);
    assert_eq!(world.raw[&called.conn].last().unwrap(), &expected);
    caller.data(&mut world, 1, 1);
    assert_eq!(world.why_closed(caller.conn), Some(&misbehaved("window_exceeded")));
    let end = called.hear(&world);
    assert!(matches!(end[..], [ToClient::Close { .. }]), "{end:?}");
    assert_eq!(world.why_closed(called.conn), None);
    called.data(&mut world, FIRST_HUB_CIRCUIT, 1_000);
    assert_eq!(world.why_closed(called.conn), None, "that may have been on its way");
    for _ in 0..20 {
        called.data(&mut world, FIRST_HUB_CIRCUIT, 64 * KIB);
    }
    assert_eq!(world.why_closed(called.conn), Some(&misbehaved("data_after_close")));
}

// Spec R25b
#[test]
fn answers_that_nobody_asked_for_end_the_connection() {
    type Deed = fn(&mut Mallory, &mut World, u32);
    let deeds: [(Deed, &str); 5] = [
        (
            |mallory, world, circuit| {
                mallory.say(world, &ToHub::Accept { circuit, window_bytes: 1 });
                mallory.say(world, &ToHub::Accept { circuit, window_bytes: 1 });
            },
            "accept_without_call",
        ),
        (
            |mallory, world, circuit| {
                mallory.say(world, &ToHub::Accept { circuit, window_bytes: 1 });
                mallory.say(world, &ToHub::Refuse { circuit });
            },
            "refuse_after_accept",
        ),
        (|mallory, world, circuit| mallory.data(world, circuit, 1), "data_before_open"),
        (
            |mallory, world, circuit| mallory.say(world, &ToHub::Returned { circuit, bytes: 1 }),
            "return_unasked",
        ),
        (
            |mallory, world, circuit| {
                let bytes = u32::try_from(RELAY_WINDOW_MAX_BYTES).unwrap();
                mallory.say(world, &ToHub::Accept { circuit, window_bytes: 1 });
                mallory.say(world, &ToHub::Credit { circuit, bytes });
            },
            "window_too_large",
        ),
    ];
    for (deed, rule) in deeds {
        let reason = ordeal(|world, [a, _]| {
            let mut mallory = Mallory::new(world, 66);
            world.open_to(a, instance(66));
            world.run(Duration::from_millis(20));
            let heard = mallory.hear(world);
            let &[ToClient::Incoming { circuit, .. }] = &heard[..] else { panic!("{heard:?}") };
            deed(&mut mallory, world, circuit);
            mallory.conn
        });
        assert_eq!(reason, Some(misbehaved(rule)));
    }
}

// Spec R25
#[test]
fn whoever_keeps_what_the_hub_wants_back_is_thrown_out() {
    let mut world = World::new(44, 2 * MIB);
    let a = world.peer(1_000_000, Duration::from_millis(1));
    world.run(Duration::from_secs(1));
    let mut mallory = Mallory::new(&mut world, 66);
    let to = world.peers[a].me;
    for circuit in 1..=4 {
        mallory.open(&mut world, circuit, to);
    }
    world.run(Duration::from_secs(6));
    let heard = mallory.hear(&world);
    assert!(heard.iter().any(|message| matches!(message, ToClient::Reclaim { .. })), "{heard:?}");
    for second in 0..100 {
        mallory.say(&mut world, &ToHub::Ping { nonce: second });
        world.tell_hub(hub::Input::Sent { conn: mallory.conn, bytes: usize::MAX });
        world.run(Duration::from_secs(1));
    }
    let reason = CloseReason::Timeout(Awaited::Answer);
    assert_eq!(world.why_closed(mallory.conn), Some(&reason));
}

#[test]
fn whoever_gives_back_everything_is_granted_the_minimum_again() {
    let mut world = World::new(49, 2 * MIB);
    let a = world.peer(1_000_000, Duration::from_millis(1));
    world.run(Duration::from_secs(1));
    let mut sender = Mallory::new(&mut world, 66);
    let to = world.peers[a].me;
    for circuit in 1..=4 {
        sender.open(&mut world, circuit, to);
    }
    world.run(Duration::from_secs(6));
    let asked = sender.hear(&world).into_iter().find_map(|message| match message {
        ToClient::Reclaim { circuit, bytes } => Some((circuit, bytes)),
        _ => None,
    });
    let (circuit, bytes) = asked.expect("the budget is tight and nothing was sent");
    // What it may keep is on its way while it gives back the rest.
    for _ in 0..16 * KIB / (1_000 + RELAY_FRAME_COST_BYTES) + 1 {
        sender.data(&mut world, circuit, 1_000 - 250);
    }
    world.run(Duration::from_secs(1));
    sender.say(&mut world, &ToHub::Returned { circuit, bytes });
    assert_eq!(world.why_closed(sender.conn), None);
    let heard = sender.hear(&world);
    let granted = heard.iter().any(|message| {
        matches!(message, ToClient::HubCredit { circuit: to, bytes }
            if *to == circuit && *bytes as usize >= RELAY_HUB_WINDOW_MIN_BYTES / 4)
    });
    assert!(granted, "{heard:?}");
}

#[test]
fn calls_are_limited_in_number_and_in_rate() {
    let (mut world, a, _) = World::pair(45);
    world.peers[a].answers = false;
    let mut mallory = Mallory::new(&mut world, 66);
    let to = world.peers[a].me;
    let mut busy = 0;
    for circuit in 1..=RELAY_OPEN_BURST + 10 {
        mallory.say(&mut world, &ToHub::Open { circuit, to, window_bytes: 1 });
        busy += mallory
            .hear(&world)
            .iter()
            .filter(|message| {
                matches!(message, ToClient::OpenFailed { reason: OpenError::Busy, .. })
            })
            .count();
    }
    assert_eq!(busy, 10);
    assert_eq!(world.hub.stats().circuits, MAX_RELAY_PENDING.min(RELAY_OPEN_BURST as usize));
    world.run(Duration::from_secs(11));
    assert_eq!(world.hub.stats().circuits, 0, "nobody answered");
    assert_eq!(world.hub.stats().reserved_bytes, 0);
    const { assert!(MAX_RELAY_PENDING < MAX_RELAY_CIRCUITS) };
}

#[test]
fn whoever_does_not_read_control_frames_either_is_thrown_out() {
    let (mut world, _, _) = World::pair(46);
    let mut mallory = Mallory::new(&mut world, 66);
    world.audited = false;
    let mut pings = 0;
    while world.why_closed(mallory.conn).is_none() {
        mallory.say(&mut world, &ToHub::Ping { nonce: pings });
        pings += 1;
        assert!(pings < 100_000);
    }
    let reason = CloseReason::Local(LocalClose::Limit("MAX_RELAY_CONTROL_QUEUE"));
    assert_eq!(world.why_closed(mallory.conn), Some(&reason));
    assert!(pings as usize > MAX_RELAY_CONTROL_QUEUE);
    let handed: usize = world.raw[&mallory.conn].iter().map(bytes::Bytes::len).sum();
    assert!(handed < RELAY_BACKLOG_BYTES + 66 * KIB, "{handed}");
}

// Spec R11
#[test]
fn a_long_connection_gets_fresh_tokens() {
    let mut world = World::new(48, MIB);
    let mut client = Mallory::new(&mut world, 66);
    for minute in 0..5_040 {
        client.say(&mut world, &ToHub::Ping { nonce: minute });
        world.tell_hub(hub::Input::Sent { conn: client.conn, bytes: 1_000 });
        world.run(Duration::from_secs(60));
    }
    let tokens: Vec<String> = client
        .hear(&world)
        .into_iter()
        .filter_map(|message| match message {
            ToClient::Token { token } => Some(token),
            _ => None,
        })
        .collect();
    assert_eq!(tokens.len(), 1, "the half of the first one's time is over");
    let expired = 1_800_000_000 + RELAY_TOKEN_SECONDS;
    let later = UnixTime(expired + RELAY_TOKEN_SECONDS / 2 - 100);
    assert_eq!(check_token(&[78; 32], &tokens[0], later), Some(instance(66)));
}

#[test]
fn connections_are_counted_by_address_and_in_all() {
    let mut config = hub_config(MIB);
    config.max_connections_per_ip = 2;
    config.max_connections = 5;
    let mut hub = Hub::new(Instant::ZERO, Rng::new([1; 32]), config);
    let mut connect = |number: u64, ip: IpAddr, host: &str| {
        hub.handle_input(
            Instant::ZERO,
            hub::Input::Connected {
                conn: ConnId(number),
                ip,
                host: String::from(host),
                ephemeral: [1; 32],
                unix_time: UnixTime(0),
            },
        );
        match hub.poll_output() {
            Output::Transmit(hub::Transmit::Close { reason, .. }) => Some(reason),
            _ => None,
        }
    };
    let limit = |name| Some(CloseReason::Local(LocalClose::Limit(name)));
    let v6 = |low: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 1, 2, low, 0, 0, 1));
    let mapped = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 66).to_ipv6_mapped());
    assert_eq!(connect(1, IP, "h"), None);
    assert_eq!(connect(2, mapped, "h"), None);
    assert_eq!(connect(3, IP, "h"), limit("max_connections_per_ip"));
    assert_eq!(connect(4, v6(1), "h"), None);
    assert_eq!(connect(5, v6(2), "h"), None);
    assert_eq!(connect(6, v6(3), "h"), limit("max_connections_per_ip"));
    let other = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 67));
    assert_eq!(connect(7, other, &"h".repeat(300)), limit("MAX_RELAY_HOST_BYTES"));
    assert_eq!(connect(8, other, "h"), None);
    assert_eq!(connect(9, Ipv4Addr::new(192, 0, 2, 68).into(), "h"), limit("max_connections"));
}

/// Something that a client under test does.
#[derive(Debug, Clone)]
enum Deed {
    Say(Vec<u8>),
    Raw(Vec<u8>),
    Data(u32, usize),
    Sent(usize),
    Wait(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    let number = prop_oneof![0_u32..5, FIRST_HUB_CIRCUIT..FIRST_HUB_CIRCUIT + 4];
    let bytes = prop_oneof![1_u32..5, 1_000_u32..2_000_000];
    let control = (1_u8..10, number.clone(), bytes, any::<bool>()).prop_map(|(kind, n, b, me)| {
        let mut out = Vec::new();
        out.put_u8(kind);
        match kind {
            1 | 8 | 9 => out.put_u64(u64::from(n)),
            _ => out.put_u32(n),
        }
        if matches!(kind, 2 | 3 | 6 | 7) {
            out.put_u32(b);
        }
        if kind == 2 {
            let to = if me { instance(66) } else { instance(1) };
            let to = Instance { number: if me { 66 } else { 1_000 }, ..to };
            out.put(&to.peer.0);
            out.put_u64(to.number);
        }
        Deed::Say(out)
    });
    prop_oneof![
        8 => control,
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Deed::Raw),
        6 => (number, 1_usize..70_000).prop_map(|(number, bytes)| Deed::Data(number, bytes)),
        3 => (0_usize..100_000).prop_map(Deed::Sent),
        2 => (0_u64..3_000).prop_map(Deed::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever two clients do, the hub's books are right after every input (the world checks
    /// them), and when they are gone nothing is left of them.
    #[test]
    fn nothing_that_clients_do_confuses_the_hub(
        deeds in proptest::collection::vec((any::<bool>(), deed()), 1..60),
    ) {
        let mut world = World::new(47, 3 * MIB);
        let a = world.peer(10_000_000, Duration::from_millis(2));
        world.run(Duration::from_secs(1));
        let mut two = [Mallory::new(&mut world, 66), Mallory::new(&mut world, 67)];
        for (first, deed) in deeds {
            let mallory = &mut two[usize::from(first)];
            match deed {
                Deed::Say(bytes) => mallory.say_bytes(&mut world, &bytes),
                Deed::Raw(bytes) => world.raw_message(mallory.conn, &bytes),
                Deed::Data(circuit, bytes) => mallory.data(&mut world, circuit, bytes),
                Deed::Sent(bytes) => {
                    world.tell_hub(hub::Input::Sent { conn: mallory.conn, bytes });
                }
                Deed::Wait(ms) => world.run(Duration::from_millis(ms)),
            }
        }
        for mallory in &two {
            world.tell_hub(hub::Input::Disconnected(mallory.conn));
        }
        world.run(Duration::from_secs(30));
        prop_assert!(world.peers[a].client.is_online(), "{:?}", world.peers[a].logged_out);
        let stats = world.hub.stats();
        prop_assert_eq!((stats.connections, stats.circuits, stats.reserved_bytes), (1, 0, 0));
    }
}
