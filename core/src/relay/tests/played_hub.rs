//! A client whose hub is played by hand: rules, limits and times at their edges.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::{Bytes, BytesMut};

use super::mallory::{IP, instance};
use super::world::HOST;
use crate::id::LinkId;
use crate::limits::{
    MAX_RELAY_CONTROL_QUEUE, MAX_RELAY_PAYLOAD_BYTES, MAX_RELAY_PENDING, PACE_BYTES, PACE_PERIOD,
    RELAY_BACKLOG_BYTES, RELAY_BACKLOG_START_BYTES, RELAY_BACKOFF_MIN, RELAY_CLIENT_POOL_BYTES,
    RELAY_CLIENT_SHARE_MIN_BYTES, RELAY_CONTROL_BACKLOG_BYTES, RELAY_PING_INTERVAL,
    RELAY_WINDOW_MAX_BYTES, RELAY_WINDOW_START_BYTES,
};
use crate::output::Output;
use crate::relay::client::{self, Client};
use crate::relay::frame::{
    CircuitEnd, FIRST_HUB_CIRCUIT, OpenError, ToClient, ToHub, begin_data, data_circuit,
};
use crate::relay::seal::{self, Seal};
use crate::rng::Rng;
use crate::time::Instant;

/// At least all that was said until then, and too little to know the socket by.
const ALL_SO_FAR: usize = PACE_BYTES / 4;

/// A hub in the hands of the test: up to a client that is logged in.
fn evil_hub() -> (Client, Seal) {
    let me = instance(5);
    let config =
        client::Config { me, secret_key: [5; 32], host: String::from("Relay.Example:8443") };
    let mut client = Client::new(Instant::ZERO, Rng::new([1; 32]), config);
    let mut noise = seal::handshake(false, HOST, [77; 32], [6; 32]);
    client.handle_input(Instant::ZERO, client::Input::Want(true));
    client.handle_input(Instant::ZERO, client::Input::Connected { ephemeral: [7; 32] });
    let first = sent(&mut client).remove(0);
    noise.read_message(&first[1..]).unwrap();
    let second = seal::handshake_frame(&noise.write_message().unwrap());
    say(&mut client, &second);
    let mut messages = sent(&mut client);
    noise.read_message(&messages[0][1..]).unwrap();
    let finished = noise.finish();
    assert_eq!(finished.remote, me.peer);
    let mut seal = Seal::new(finished);
    let login = ToHub::decode(seal.open(&mut messages[1]).unwrap());
    assert_eq!(login, Ok(ToHub::Login { instance: me.number }));
    let welcome = ToClient::Welcome { token: String::from("t"), observed: IP, max_circuits: 9 };
    say(&mut client, &seal.seal(&welcome.encode()));
    assert!(client.is_online());
    let _ = sent(&mut client);
    (client, seal)
}

fn say(client: &mut Client, message: &[u8]) {
    client.handle_input(Instant::ZERO, client::Input::Message(BytesMut::from(message)));
}

fn sent(client: &mut Client) -> Vec<BytesMut> {
    let mut messages = vec![];
    loop {
        match client.poll_output() {
            Output::Timeout(_) => return messages,
            Output::Transmit(client::Transmit::Send { message }) => {
                messages.push(BytesMut::from(&message[..]));
            }
            Output::Transmit(_) | Output::Event(_) => {}
        }
    }
}

fn incoming(circuit: u32) -> ToClient {
    ToClient::Incoming { circuit, from: instance(9), window_bytes: 1 << 20, hub_bytes: 1 << 20 }
}

#[test]
fn a_hub_that_breaks_the_rules_is_left_at_once() {
    let data = |circuit: u32, bytes: usize| {
        let mut frame = begin_data(circuit, bytes);
        frame.resize(5 + bytes, 1);
        frame.to_vec()
    };
    let cases: Vec<Vec<u8>> = vec![
        vec![],
        vec![9; 9],
        vec![1; 60],
        vec![0; 33],
        data(1, 5),
        data(FIRST_HUB_CIRCUIT + 5, 5),
        data(FIRST_HUB_CIRCUIT, RELAY_WINDOW_START_BYTES / 8),
    ];
    for (index, case) in cases.iter().enumerate() {
        let (mut client, mut seal) = evil_hub();
        say(&mut client, &seal.seal(&incoming(FIRST_HUB_CIRCUIT).encode()));
        let link = LinkId(1);
        client.handle_input(Instant::ZERO, client::Input::Accept { incoming: 0, link });
        let _ = sent(&mut client);
        // The window takes eight of these, and not a ninth.
        let harmless = if index == cases.len() - 1 { 8 } else { 0 };
        for _ in 0..harmless {
            say(&mut client, case);
            assert!(client.is_online());
        }
        say(&mut client, case);
        assert!(!client.is_online(), "case {index}");
    }
    let (mut client, mut seal) = evil_hub();
    say(&mut client, &seal.seal(&incoming(FIRST_HUB_CIRCUIT + 3).encode()));
    assert!(client.is_online());
    say(&mut client, &seal.seal(&incoming(FIRST_HUB_CIRCUIT + 3).encode()));
    assert!(!client.is_online(), "numbers only grow");
}

#[test]
fn calls_beyond_the_limit_are_refused_by_the_client_itself() {
    let (mut client, mut seal) = evil_hub();
    for number in 0..MAX_RELAY_PENDING as u32 + 1 {
        say(&mut client, &seal.seal(&incoming(FIRST_HUB_CIRCUIT + number).encode()));
    }
    let mut messages = sent(&mut client);
    let refusal = ToHub::decode(seal.open(&mut messages[0]).unwrap());
    let circuit = FIRST_HUB_CIRCUIT + MAX_RELAY_PENDING as u32;
    assert_eq!(refusal, Ok(ToHub::Refuse { circuit }));
}

/// What a client does, as its driver, its node and its hub see it.
#[derive(Debug, PartialEq)]
enum Seen {
    Control(ToHub),
    Data(u32, usize),
    Deliver(usize),
    Writable(u64, usize),
    Opened(u64),
    Ended(u64),
    OpenFailed(u64),
    Incoming(u64),
    LoggedOut(String),
    Disconnect,
    Connect,
}

/// A client that is logged in, and the hub at its other end.
struct Played {
    client: Client,
    seal: Seal,
    now: Instant,
    timeout: Instant,
}

impl Played {
    fn new() -> Self {
        let (client, seal) = evil_hub();
        let mut played = Self { client, seal, now: Instant::ZERO, timeout: Instant::NEVER };
        assert_eq!(played.put(client::Input::Sent { bytes: ALL_SO_FAR }), []);
        played
    }

    /// One whose socket has shown that it is fast, a quarter of a second later.
    fn fast() -> Self {
        let mut played = Self::new();
        played.now = Instant::ZERO + PACE_PERIOD;
        assert_eq!(played.put(client::Input::Sent { bytes: usize::MAX }), []);
        played
    }

    fn put(&mut self, input: client::Input) -> Vec<Seen> {
        self.client.handle_input(self.now, input);
        let mut seen = vec![];
        loop {
            seen.push(match self.client.poll_output() {
                Output::Timeout(at) => {
                    self.timeout = at;
                    return seen;
                }
                Output::Transmit(client::Transmit::Send { message }) if message[0] == 2 => {
                    Seen::Data(data_circuit(&message).unwrap(), message.len() - 5)
                }
                Output::Transmit(client::Transmit::Send { message }) => {
                    let mut message = BytesMut::from(&message[..]);
                    Seen::Control(ToHub::decode(self.seal.open(&mut message).unwrap()).unwrap())
                }
                Output::Transmit(client::Transmit::Connect) => Seen::Connect,
                Output::Transmit(client::Transmit::Disconnect) => Seen::Disconnect,
                Output::Transmit(client::Transmit::Deliver { bytes, .. }) => {
                    Seen::Deliver(bytes.len())
                }
                Output::Transmit(client::Transmit::Writable { link, bytes }) => {
                    Seen::Writable(link.0, bytes)
                }
                Output::Transmit(client::Transmit::Opened { link }) => Seen::Opened(link.0),
                Output::Transmit(client::Transmit::Ended { link, .. }) => Seen::Ended(link.0),
                Output::Event(client::Event::OpenFailed { link, .. }) => Seen::OpenFailed(link.0),
                Output::Event(client::Event::Incoming { incoming, .. }) => Seen::Incoming(incoming),
                Output::Event(client::Event::LoggedOut(why)) => Seen::LoggedOut(why),
                Output::Event(client::Event::LoggedIn { .. }) => panic!("it was logged in before"),
            });
        }
    }

    fn tell(&mut self, message: &ToClient) -> Vec<Seen> {
        let message = self.seal.seal(&message.encode());
        self.put(client::Input::Message(BytesMut::from(&message[..])))
    }

    fn data(&mut self, circuit: u32, bytes: usize) -> Vec<Seen> {
        let mut frame = begin_data(circuit, bytes);
        frame.resize(5 + bytes, 1);
        self.put(client::Input::Message(frame))
    }

    /// The clock, in milliseconds since the login.
    fn at(&mut self, ms: u64) -> Vec<Seen> {
        self.now = Instant::ZERO + Duration::from_millis(ms);
        self.put(client::Input::Tick)
    }

    fn call(&mut self, link: u64) {
        let to = instance(9);
        let seen = self.put(client::Input::Open { link: LinkId(link), to });
        assert!(matches!(seen[..], [Seen::Control(ToHub::Open { .. })]), "{seen:?}");
    }

    fn opened(&mut self, circuit: u32, window_bytes: usize, hub_bytes: usize) -> Vec<Seen> {
        let (window_bytes, hub_bytes) = (window_bytes as u32, hub_bytes as u32);
        self.tell(&ToClient::Opened { circuit, window_bytes, hub_bytes })
    }

    fn hand_in(&mut self, link: u64, bytes: usize) -> Vec<Seen> {
        let bytes = Bytes::from(vec![7; bytes]);
        self.put(client::Input::Data { link: LinkId(link), bytes })
    }

    fn end_of(seen: &[Seen]) -> &str {
        match seen {
            [.., Seen::LoggedOut(why)] => why,
            other => panic!("{other:?}"),
        }
    }
}

// Spec R14
#[test]
fn a_silent_hub_is_asked_every_thirty_seconds_and_left_after_seventy() {
    let mut played = Played::new();
    let asks = |nonce| vec![Seen::Control(ToHub::Ping { nonce })];
    assert_eq!(played.timeout, Instant::ZERO + RELAY_PING_INTERVAL);
    assert_eq!(played.at(29_999), []);
    assert_eq!(played.at(30_000), asks(1));
    assert_eq!(played.at(30_001), [], "it was asked just now");
    played.now = Instant::ZERO + Duration::from_secs(45);
    assert_eq!(played.tell(&ToClient::Pong { nonce: 1 }), []);
    assert_eq!(played.at(74_999), [], "thirty seconds since the answer");
    assert_eq!(played.at(75_000), asks(2));
    assert_eq!(played.at(104_999), []);
    assert_eq!(played.at(105_000), asks(3));
    assert_eq!(played.at(114_999), []);
    assert!(played.client.is_online());
    let seen = played.at(115_000);
    assert_eq!(Played::end_of(&seen), "the relay said nothing for 70 s");
    assert_eq!(seen[0], Seen::Disconnect);
}

#[test]
fn data_is_a_sign_of_life_too() {
    let mut played = Played::new();
    played.call(1);
    let _ = played.opened(1, 0, 0);
    played.now = Instant::ZERO + Duration::from_secs(29);
    assert_eq!(played.data(1, 5), [Seen::Deliver(5)]);
    assert_eq!(played.at(58_999), []);
    assert_eq!(played.at(59_000), [Seen::Control(ToHub::Ping { nonce: 1 })]);
}

#[test]
fn circuits_share_what_may_wait_for_the_socket() {
    let largest = RELAY_WINDOW_MAX_BYTES;
    for (circuits, share) in [
        (1, 2 * RELAY_BACKLOG_BYTES),
        (2, RELAY_CLIENT_POOL_BYTES / 2),
        (3, RELAY_CLIENT_POOL_BYTES / 3),
        (64, RELAY_CLIENT_SHARE_MIN_BYTES),
        (65, RELAY_CLIENT_SHARE_MIN_BYTES),
    ] {
        let mut played = Played::fast();
        for link in 1..=circuits {
            played.call(link);
        }
        let seen = played.opened(1, largest, largest);
        assert_eq!(seen, [Seen::Opened(1), Seen::Writable(1, share)], "{circuits} circuits");
    }
}

#[test]
fn a_link_has_one_circuit() {
    let mut played = Played::new();
    played.call(1);
    let to = instance(9);
    let again = played.put(client::Input::Open { link: LinkId(1), to });
    assert_eq!(again, [Seen::OpenFailed(1)]);
    assert_eq!(played.opened(1, 10, 1_000), [Seen::Opened(1), Seen::Writable(1, 10)]);
}

// Spec R26
#[test]
fn control_frames_go_a_little_beyond_the_backlog_and_then_wait() {
    const PONG: usize = 26;
    let most = RELAY_BACKLOG_BYTES + RELAY_CONTROL_BACKLOG_BYTES;
    let mut played = Played::new();
    played.call(1);
    let _ = played.opened(1, 1_000, 10_000);
    let _ = played.put(client::Input::Sent { bytes: usize::MAX });
    // A data frame that leaves room for whole pongs.
    let first = most % PONG;
    assert_eq!(played.hand_in(1, first - 5), [Seen::Data(1, first - 5)]);
    for nonce in 0..(most / PONG) as u64 {
        let pong = [Seen::Control(ToHub::Pong { nonce })];
        assert_eq!(played.tell(&ToClient::Ping { nonce }), pong);
    }
    for nonce in 0..MAX_RELAY_CONTROL_QUEUE as u64 {
        assert_eq!(played.tell(&ToClient::Ping { nonce }), [], "the socket has enough");
    }
    assert!(played.client.is_online());
    let seen = played.tell(&ToClient::Ping { nonce: 0 });
    assert_eq!(Played::end_of(&seen), "the relay does not read what it is told");
}

// Spec R26
#[test]
fn data_stays_within_the_backlog_and_lets_control_frames_pass() {
    let largest = RELAY_WINDOW_MAX_BYTES;
    let mut played = Played::fast();
    played.call(1);
    let _ = played.opened(1, largest, largest);
    let _ = played.put(client::Input::Sent { bytes: usize::MAX });
    // Seven full frames, and one that fills the backlog to the byte.
    let last = RELAY_BACKLOG_BYTES - 7 * (MAX_RELAY_PAYLOAD_BYTES + 5) - 5;
    let seen = played.hand_in(1, 7 * MAX_RELAY_PAYLOAD_BYTES + last);
    assert_eq!(seen.len(), 8);
    assert_eq!(seen[7], Seen::Data(1, last));
    assert_eq!(played.hand_in(1, 1), [], "there is no room for a byte");
    assert_eq!(played.put(client::Input::Sent { bytes: 5 }), [], "nor in five bytes");
    let pong = played.tell(&ToClient::Ping { nonce: 8 });
    assert_eq!(pong, [Seen::Control(ToHub::Pong { nonce: 8 })]);
    let seen = played.put(client::Input::Sent { bytes: 26 + 1 });
    assert_eq!(seen, [Seen::Data(1, 1)], "a header and a byte");
}

// Spec R27b
#[test]
fn a_socket_that_is_not_known_gets_two_short_frames() {
    let largest = RELAY_WINDOW_MAX_BYTES;
    let mut played = Played::new();
    played.call(1);
    let share = RELAY_CLIENT_SHARE_MIN_BYTES;
    let seen = played.opened(1, largest, largest);
    assert_eq!(seen, [Seen::Opened(1), Seen::Writable(1, share)]);
    let _ = played.put(client::Input::Sent { bytes: ALL_SO_FAR });
    let short = RELAY_BACKLOG_START_BYTES / 2 - 5;
    assert_eq!(played.hand_in(1, 2 * short + 1), [Seen::Data(1, short), Seen::Data(1, short)]);
    assert_eq!(played.put(client::Input::Sent { bytes: 5 }), []);
    assert_eq!(played.put(client::Input::Sent { bytes: 1 }), [Seen::Data(1, 1)]);
}

// Spec R19b
#[test]
fn the_hub_may_know_numbers_that_were_in_use_and_no_others() {
    let first = FIRST_HUB_CIRCUIT;
    for (circuit, known) in [
        (0, false),
        (1, true),
        (2, true),
        (3, false),
        (first - 1, false),
        (first, true),
        (first + 3, true),
        (first + 4, false),
    ] {
        let mut played = Played::new();
        played.call(1);
        played.call(2);
        let failed = played.tell(&ToClient::OpenFailed { circuit: 1, reason: OpenError::Busy });
        assert_eq!(failed, [Seen::OpenFailed(1)]);
        assert_eq!(played.tell(&incoming(first + 3)), [Seen::Incoming(0)]);
        let seen = played.tell(&ToClient::Close { circuit, reason: CircuitEnd::Closed });
        assert_eq!(played.client.is_online(), known, "{circuit}: {seen:?}");
        if !known {
            assert!(Played::end_of(&seen).ends_with("unknown_circuit"));
        } else if circuit == 2 {
            assert_eq!(seen, [Seen::OpenFailed(2)]);
        } else {
            assert_eq!(seen, []);
        }
    }
}

// Spec R15
#[test]
fn numbers_of_calls_are_the_hubs_and_only_grow() {
    for (number, takes) in [
        (1, false),
        (FIRST_HUB_CIRCUIT - 1, false),
        (FIRST_HUB_CIRCUIT, false),
        (FIRST_HUB_CIRCUIT + 1, false),
        (FIRST_HUB_CIRCUIT + 2, true),
        (u32::MAX, true),
    ] {
        let mut played = Played::new();
        assert_eq!(played.tell(&incoming(FIRST_HUB_CIRCUIT + 1)), [Seen::Incoming(0)]);
        let seen = played.tell(&incoming(number));
        assert_eq!(seen == [Seen::Incoming(1)], takes, "{number}");
        assert_eq!(played.client.is_online(), takes, "{number}");
    }
    let mut played = Played::new();
    assert_eq!(played.tell(&incoming(FIRST_HUB_CIRCUIT)), [Seen::Incoming(0)], "the first");
}

/// A circuit whose session has ended while 1,000 bytes wait for the hub's window.
fn closing() -> Played {
    let mut played = Played::new();
    played.call(1);
    assert_eq!(played.opened(1, 1_000, 5_000), [Seen::Opened(1), Seen::Writable(1, 1_000)]);
    let returned = played.tell(&ToClient::Reclaim { circuit: 1, bytes: 6_000 });
    assert_eq!(returned, [Seen::Control(ToHub::Returned { circuit: 1, bytes: 5_000 })]);
    assert_eq!(played.hand_in(1, 1_000), []);
    assert_eq!(played.put(client::Input::Close { link: LinkId(1) }), []);
    played
}

// Spec R18
#[test]
fn what_a_session_left_is_sent_before_its_circuit_is_closed() {
    let mut played = closing();
    assert_eq!(played.data(1, 10), [], "the session has ended");
    let seen = played.tell(&ToClient::HubCredit { circuit: 1, bytes: 500 });
    assert_eq!(seen, [Seen::Data(1, 244)]);
    let seen = played.tell(&ToClient::HubCredit { circuit: 1, bytes: 5_000 });
    let close = Seen::Control(ToHub::Close { circuit: 1 });
    assert_eq!(seen, [Seen::Data(1, 756), close]);
    assert_eq!(played.at(6_000), []);
}

#[test]
fn what_a_session_left_is_given_up_after_five_seconds() {
    let mut played = closing();
    assert_eq!(played.at(4_999), []);
    assert_eq!(played.at(5_000), [Seen::Control(ToHub::Close { circuit: 1 })]);
    assert_eq!(played.at(10_000), []);
    let mut played = closing();
    let closed = ToClient::Close { circuit: 1, reason: CircuitEnd::Closed };
    assert_eq!(played.tell(&closed), [], "nobody is left who could be told");
    assert_eq!(played.at(10_000), []);
}

#[test]
fn whoever_is_not_wanted_leaves_after_five_seconds_at_the_latest() {
    let mut played = closing();
    played.now = Instant::ZERO + Duration::from_secs(1);
    assert_eq!(played.put(client::Input::Want(false)), []);
    played.now = Instant::ZERO + Duration::from_secs(3);
    assert_eq!(played.put(client::Input::Want(false)), [], "it knows that");
    let refused = played.tell(&incoming(FIRST_HUB_CIRCUIT));
    let circuit = FIRST_HUB_CIRCUIT;
    assert_eq!(refused, [Seen::Control(ToHub::Refuse { circuit })]);
    assert_eq!(played.at(4_999), []);
    assert_eq!(played.at(5_000), [Seen::Control(ToHub::Close { circuit: 1 })]);
    assert_eq!(played.at(5_999), [], "the socket has not taken that");
    let seen = played.at(6_000);
    assert_eq!(seen, [Seen::Disconnect, Seen::LoggedOut(String::from("not wanted any more"))]);
    assert_eq!(played.timeout, Instant::NEVER);
}

#[test]
fn whoever_is_not_wanted_leaves_once_the_socket_has_taken_the_last_word() {
    let mut played = Played::new();
    played.call(1);
    let _ = played.opened(1, 1_000, 5_000);
    assert_eq!(played.put(client::Input::Want(false)), []);
    let seen = played.put(client::Input::Close { link: LinkId(1) });
    assert_eq!(seen, [Seen::Control(ToHub::Close { circuit: 1 })]);
    let open = 1 + 1 + 4 + 4 + 40 + 16;
    let close = 1 + 1 + 4 + 16;
    assert_eq!(played.put(client::Input::Sent { bytes: open + close - 1 }), []);
    let seen = played.put(client::Input::Sent { bytes: 1 });
    assert_eq!(seen, [Seen::Disconnect, Seen::LoggedOut(String::from("not wanted any more"))]);
}

/// A client that was just wanted, at second 0.
fn wanted() -> Played {
    let mut played = Played::new();
    let config = client::Config {
        me: instance(5),
        secret_key: [5; 32],
        host: String::from("relay.example:8443"),
    };
    played.client = Client::new(Instant::ZERO, Rng::new([1; 32]), config);
    assert_eq!(played.put(client::Input::Want(true)), [Seen::Connect]);
    played
}

#[test]
fn a_dial_has_thirty_seconds_and_a_login_ten() {
    let mut played = wanted();
    assert_eq!(played.at(29_999), []);
    let seen = played.at(30_000);
    assert_eq!(Played::end_of(&seen), "the relay did not answer the dial");
    assert_eq!(seen[0], Seen::Disconnect);

    let mut played = wanted();
    assert_eq!(played.at(20_000), []);
    played.client.handle_input(played.now, client::Input::Connected { ephemeral: [7; 32] });
    assert_eq!(sent(&mut played.client).len(), 1);
    assert_eq!(played.at(29_999), []);
    let seen = played.at(30_000);
    assert_eq!(Played::end_of(&seen), "the relay did not complete the login in time");
    let wait = played.timeout.since(played.now);
    assert!(RELAY_BACKOFF_MIN / 2 <= wait && wait <= RELAY_BACKOFF_MIN, "{wait:?}");
}
