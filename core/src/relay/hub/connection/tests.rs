//! One connection's clocks, numbers and limits, at their edges.

use core::net::Ipv4Addr;

use super::*;
use crate::relay::seal;

const IP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

const NANOSECOND: Duration = Duration::from_nanos(1);

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn connection() -> Connection {
    let noise = seal::handshake(false, "relay", [1; 32], [2; 32]);
    opened(at(0), IP, UnixTime(0), noise)
}

/// Somebody who is logged in, with a token until second 1,000.
fn online() -> Online {
    let mut client = seal::handshake(true, "relay", [3; 32], [4; 32]);
    let mut hub = seal::handshake(false, "relay", [1; 32], [2; 32]);
    hub.read_message(&client.write_message().unwrap()).unwrap();
    client.read_message(&hub.write_message().unwrap()).unwrap();
    hub.read_message(&client.write_message().unwrap()).unwrap();
    let finished = hub.finish();
    let instance = Instance { peer: finished.remote, number: 1 };
    Online::new(instance, Seal::new(finished), at(1_000))
}

// Spec R14
#[test]
fn somebody_looks_after_a_connection_when_the_first_of_its_times_has_come() {
    let mut connection = connection();
    connection.heard_at = at(10);
    connection.taken_at = at(5);
    assert_eq!(connection.next_check(at(20)), at(80), "70 s after it was heard");
    connection.flights.push(at(5), 1, None);
    assert_eq!(connection.next_check(at(20)), at(75), "70 s after its socket took something");
    connection.taken_at = at(15);
    assert_eq!(connection.next_check(at(20)), at(80));
    connection.phase = Phase::Online(Box::new(online()));
    assert_eq!(connection.next_check(at(20)), at(40), "30 s of silence ask for a ping");
    connection.online().unwrap().ping = Some((1, at(40)));
    assert_eq!(connection.next_check(at(40)), at(70), "and again");
    connection.online().unwrap().ping = Some((1, at(8)));
    assert_eq!(connection.next_check(at(20)), at(40), "it was heard since");
    connection.online().unwrap().token_at = at(33);
    assert_eq!(connection.next_check(at(20)), at(33), "a new token is due");
}

#[test]
fn without_circuits_empty_queues_keep_no_room_and_full_ones_their_messages() {
    let capacities = |connection: &Connection| {
        let Connection { control, turns, flights, .. } = connection;
        [control.capacity(), turns.capacity(), flights.capacity()]
    };
    let circuit = CircuitKey(7);
    let key = FlowKey { circuit, from: Side::Caller };
    let mut connection = connection();
    connection.phase = Phase::Online(Box::new(online()));
    let fill = |connection: &mut Connection| {
        connection.control.push_back(Control::News(key));
        connection.turns.push_back(key);
        connection.flights.push(at(1), 9, None);
    };
    let empty = |connection: &mut Connection| {
        connection.control.clear();
        connection.turns.clear();
        assert!(connection.flights.confirm(&mut 9).is_some());
    };
    fill(&mut connection);
    connection.rest();
    assert_eq!((connection.control.len(), connection.turns.len()), (1, 1));
    assert_eq!(connection.flights.unconfirmed_bytes(), 9);
    empty(&mut connection);
    connection.rest();
    assert_eq!(capacities(&connection), [0; 3]);

    connection.online().unwrap().circuits.insert(1, (circuit, Side::Caller));
    fill(&mut connection);
    empty(&mut connection);
    connection.rest();
    assert!(!capacities(&connection).contains(&0), "with a circuit they are wanted again");
}

#[test]
fn a_time_that_has_passed_is_no_reason_to_spin() {
    let mut connection = connection();
    connection.heard_at = at(10);
    let later = Duration::from_millis(1);
    assert_eq!(connection.next_check(at(80)), at(80) + later);
    assert_eq!(connection.next_check(at(500)), at(500) + later);
}

#[test]
fn calls_come_in_a_burst_and_then_sixteen_a_second() {
    let mut online = online();
    let burst = |online: &mut Online, now| (0..200).filter(|_| online.may_open(now)).count();
    assert_eq!(burst(&mut online, at(0)), RELAY_OPEN_BURST as usize);
    assert_eq!(burst(&mut online, at(0) + (RELAY_OPEN_INTERVAL - NANOSECOND)), 0);
    assert_eq!(burst(&mut online, at(0) + RELAY_OPEN_INTERVAL), 1);
    assert_eq!(burst(&mut online, at(1)), 15);
    assert_eq!(burst(&mut online, at(1_000)), RELAY_OPEN_BURST as usize, "nothing is saved up");
}

// Spec R15, R19b
#[test]
fn a_number_that_was_in_use_is_told_from_one_that_never_was() {
    let mut online = online();
    let unknown = || Err(misbehaved("unknown_circuit"));
    assert_eq!(online.circuit(0), unknown());
    assert_eq!(online.circuit(1), unknown());
    assert_eq!(online.circuit(FIRST_HUB_CIRCUIT), unknown());
    online.last_open = 5;
    online.next_number = FIRST_HUB_CIRCUIT + 2;
    let (mine, theirs) = ((CircuitKey(8), Side::Caller), (CircuitKey(9), Side::Called));
    online.circuits.insert(5, mine);
    online.circuits.insert(FIRST_HUB_CIRCUIT + 1, theirs);
    for (number, expected) in [
        (0, unknown()),
        (1, Ok(None)),
        (4, Ok(None)),
        (5, Ok(Some(mine))),
        (6, unknown()),
        (FIRST_HUB_CIRCUIT - 1, unknown()),
        (FIRST_HUB_CIRCUIT, Ok(None)),
        (FIRST_HUB_CIRCUIT + 1, Ok(Some(theirs))),
        (FIRST_HUB_CIRCUIT + 2, unknown()),
        (u32::MAX, unknown()),
    ] {
        assert_eq!(online.circuit(number), expected, "{number}");
    }
}

// Spec R19
#[test]
fn late_data_is_taken_up_to_what_was_granted() {
    let mut online = online();
    let late = || Err(misbehaved("data_after_close"));
    assert_eq!(online.take_stale(1), late());
    online.expect_stale(100);
    online.expect_stale(50);
    assert_eq!(online.take_stale(60), Ok(()));
    assert_eq!(online.take_stale(91), late());
    assert_eq!(online.take_stale(90), Ok(()));
    assert_eq!(online.take_stale(1), late());
    online.expect_stale(usize::MAX);
    online.expect_stale(usize::MAX);
    assert_eq!(online.take_stale(usize::MAX), Ok(()), "more than there is memory is no more");
}

#[test]
fn an_address_of_ipv4_counts_alone_and_one_of_ipv6_with_its_subnet() {
    for (ip, counted_as) in [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("2001:db8:1:3:3:4:5:6", "2001:db8:1:3::"),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff::"),
    ] {
        let ip: IpAddr = ip.parse().unwrap();
        assert_eq!(network(ip), counted_as.parse::<IpAddr>().unwrap(), "{ip}");
    }
}
