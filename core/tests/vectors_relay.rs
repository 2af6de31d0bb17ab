//! The vectors of `spec/vectors/relay.json`, which an implementation in another language made from
//! the spec's text alone: control messages, data frames, and a login that client and hub must
//! reproduce byte for byte.

use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use towpath_core::crypto::public_key;
use towpath_core::id::{Instance, PeerId, to_hex};
use towpath_core::output::Output;
use towpath_core::relay::client::{self, Client};
use towpath_core::relay::frame::{
    CircuitEnd, Goodbye, OpenError, ToClient, ToHub, begin_data, data_circuit, kind,
};
use towpath_core::relay::hub::{self, ConnId, Hub, check_token};
use towpath_core::rng::Rng;
use towpath_core::time::{Instant, UnixTime};

fn vectors() -> Value {
    let text = include_str!("../../spec/vectors/relay.json");
    serde_json::from_str(text).expect("the vectors are JSON")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn unhex(value: &Value) -> Vec<u8> {
    let digits = text(value);
    let pairs = (0..digits.len()).step_by(2);
    pairs.map(|i| u8::from_str_radix(&digits[i..i + 2], 16).expect("hex")).collect()
}

fn key(value: &Value) -> [u8; 32] {
    unhex(value).try_into().expect("32 bytes")
}

fn long(value: &Value) -> u64 {
    text(value).parse().expect("a number")
}

fn short(value: &Value) -> u32 {
    value.as_u64().expect("a number").try_into().expect("32 bits")
}

fn byte(value: &Value) -> u8 {
    value.as_u64().expect("a number").try_into().expect("8 bits")
}

fn instance(fields: &Value) -> Instance {
    Instance { peer: PeerId(key(&fields["peer"])), number: long(&fields["instance"]) }
}

fn to_hub(name: &str, fields: &Value) -> ToHub {
    let circuit = || short(&fields["circuit"]);
    let window_bytes = || short(&fields["window_bytes"]);
    let bytes = || short(&fields["bytes"]);
    match name {
        "login" => ToHub::Login { instance: long(&fields["instance"]) },
        "open" => {
            let (circuit, window_bytes) = (circuit(), window_bytes());
            ToHub::Open { circuit, to: instance(fields), window_bytes }
        }
        "accept" => ToHub::Accept { circuit: circuit(), window_bytes: window_bytes() },
        "refuse" => ToHub::Refuse { circuit: circuit() },
        "close" => ToHub::Close { circuit: circuit() },
        "credit" => ToHub::Credit { circuit: circuit(), bytes: bytes() },
        "returned" => ToHub::Returned { circuit: circuit(), bytes: bytes() },
        "ping" => ToHub::Ping { nonce: long(&fields["nonce"]) },
        "pong" => ToHub::Pong { nonce: long(&fields["nonce"]) },
        _ => panic!("{name}?"),
    }
}

fn to_client(name: &str, fields: &Value) -> ToClient {
    let circuit = || short(&fields["circuit"]);
    let window_bytes = || short(&fields["window_bytes"]);
    let hub_bytes = || short(&fields["hub_bytes"]);
    let bytes = || short(&fields["bytes"]);
    match name {
        "welcome" => ToClient::Welcome {
            token: text(&fields["token"]).into(),
            observed: text(&fields["observed"]).parse().expect("an address"),
            max_circuits: short(&fields["max_circuits"]),
        },
        "token" => ToClient::Token { token: text(&fields["token"]).into() },
        "incoming" => {
            let (circuit, window_bytes, hub_bytes) = (circuit(), window_bytes(), hub_bytes());
            ToClient::Incoming { circuit, from: instance(fields), window_bytes, hub_bytes }
        }
        "opened" => {
            let (circuit, window_bytes, hub_bytes) = (circuit(), window_bytes(), hub_bytes());
            ToClient::Opened { circuit, window_bytes, hub_bytes }
        }
        "open_failed" => {
            let reason = OpenError::try_from(byte(&fields["reason"])).expect("a reason");
            ToClient::OpenFailed { circuit: circuit(), reason }
        }
        "close" => {
            let reason = CircuitEnd::try_from(byte(&fields["reason"])).expect("a reason");
            ToClient::Close { circuit: circuit(), reason }
        }
        "credit" => ToClient::Credit { circuit: circuit(), bytes: bytes() },
        "hub_credit" => ToClient::HubCredit { circuit: circuit(), bytes: bytes() },
        "reclaim" => ToClient::Reclaim { circuit: circuit(), bytes: bytes() },
        "ping" => ToClient::Ping { nonce: long(&fields["nonce"]) },
        "pong" => ToClient::Pong { nonce: long(&fields["nonce"]) },
        "goodbye" => {
            let reason = Goodbye::try_from(byte(&fields["reason"])).expect("a reason");
            ToClient::Goodbye { reason }
        }
        _ => panic!("{name}?"),
    }
}

#[test]
fn control_messages() {
    let vectors = vectors();
    assert_eq!(list(&vectors["to_hub"]).len(), 9);
    for vector in list(&vectors["to_hub"]) {
        let message = to_hub(text(&vector["name"]), &vector["fields"]);
        let plaintext = unhex(&vector["plaintext"]);
        assert_eq!(message.encode(), plaintext, "{message:?}");
        assert_eq!(ToHub::decode(&plaintext), Ok(message));
    }
    assert_eq!(list(&vectors["to_client"]).len(), 12);
    for vector in list(&vectors["to_client"]) {
        let message = to_client(text(&vector["name"]), &vector["fields"]);
        let plaintext = unhex(&vector["plaintext"]);
        assert_eq!(message.encode(), plaintext, "{message:?}");
        assert_eq!(ToClient::decode(&plaintext), Ok(message));
    }
}

// Spec R13
#[test]
fn broken_ones_are_refused_by_the_rule_that_they_break() {
    let vectors = vectors();
    for vector in list(&vectors["broken_control"]) {
        let plaintext = unhex(&vector["plaintext"]);
        let error = match text(&vector["direction"]) {
            "to_hub" => ToHub::decode(&plaintext).map(|_| ()),
            _ => ToClient::decode(&plaintext).map(|_| ()),
        };
        assert_eq!(error.expect_err("it is broken").0, text(&vector["rule"]), "{vector}");
    }
    for vector in list(&vectors["broken_messages"]) {
        let error = kind(&unhex(&vector["message"])).expect_err("it is broken");
        assert_eq!(error.0, text(&vector["rule"]), "{vector}");
    }
}

#[test]
fn a_data_frame() {
    let vector = &vectors()["data"];
    let (circuit, payload) = (short(&vector["circuit"]), unhex(&vector["payload"]));
    let mut frame = begin_data(circuit, payload.len());
    frame.extend_from_slice(&payload);
    assert_eq!(frame[..], unhex(&vector["frame"])[..]);
    assert_eq!(data_circuit(&frame), Ok(circuit));
}

/// What a machine sends until it waits, and the events in between.
fn drain_client(client: &mut Client) -> (Vec<Bytes>, Vec<client::Event>) {
    let (mut sent, mut events) = (vec![], vec![]);
    loop {
        match client.poll_output() {
            Output::Timeout(_) => return (sent, events),
            Output::Event(event) => events.push(event),
            Output::Transmit(client::Transmit::Send { message }) => sent.push(message),
            Output::Transmit(_) => {}
        }
    }
}

fn drain_hub(hub: &mut Hub) -> Vec<Bytes> {
    let mut sent = vec![];
    loop {
        match hub.poll_output() {
            Output::Timeout(_) => return sent,
            Output::Transmit(hub::Transmit::Send { message, .. }) => sent.push(message),
            Output::Transmit(_) | Output::Event(_) => {}
        }
    }
}

// Spec R6, R7, R8
#[test]
fn a_login_byte_for_byte() {
    let vector = &vectors()["login"];
    let frames = list(&vector["handshake_frames"]);
    let host = text(&vector["host_as_dialled"]);
    let now = Instant::ZERO;
    let number = long(&vector["instance"]);
    let me = Instance { peer: PeerId(key(&vector["client_peer"])), number };
    let secret_key = key(&vector["client_static"]);
    assert_eq!(public_key(&secret_key), me.peer);
    let config = client::Config { me, secret_key, host: host.into() };
    let mut client = Client::new(now, Rng::new([1; 32]), config);
    let token_key = key(&vector["token_key"]);
    let config = hub::Config {
        secret_key: key(&vector["hub_static"]),
        token_key,
        buffer_budget_bytes: 1 << 20,
        max_connections_per_ip: 1,
        max_connections: 1,
    };
    let mut hub = Hub::new(now, Rng::new([1; 32]), config);
    let conn = ConnId(1);
    let observed: IpAddr = text(&vector["observed"]).parse().expect("an address");
    let unix_time = UnixTime(vector["unix_time"].as_i64().expect("a time"));
    let ephemeral = key(&vector["hub_ephemeral"]);
    let host = host.into();
    hub.handle_input(now, hub::Input::Connected { conn, ip: observed, host, ephemeral, unix_time });

    client.handle_input(now, client::Input::Want(true));
    let ephemeral = key(&vector["client_ephemeral"]);
    client.handle_input(now, client::Input::Connected { ephemeral });
    let mut to_hub = drain_client(&mut client).0;
    assert_eq!(hex(&to_hub), [text(&frames[0])]);
    let mut to_client = pass_to_hub(&mut hub, conn, &to_hub);
    assert_eq!(hex(&to_client), [text(&frames[1])]);
    to_hub = pass_to_client(&mut client, &to_client).0;
    assert_eq!(hex(&to_hub), [text(&frames[2]), text(&vector["login_frame"])]);
    to_client = pass_to_hub(&mut hub, conn, &to_hub);
    assert_eq!(hex(&to_client), [text(&vector["welcome_frame"])]);
    let (_, events) = pass_to_client(&mut client, &to_client);
    let token = text(&vector["token"]);
    assert_eq!(events, [client::Event::LoggedIn { token: token.into() }]);
    assert_eq!(client.observed_ip(), Some(observed));
    assert_eq!(check_token(&token_key, token, unix_time), Some(me));

    let ping = Bytes::from(unhex(&vector["ping_frame"]));
    let pong = pass_to_hub(&mut hub, conn, &[ping]);
    assert_eq!(hex(&pong), [text(&vector["pong_frame"])]);
}

// Spec R4, R6, R7, R8, R9, R10, R19b
#[test]
fn logins_that_end_the_connection() {
    let vectors = vectors();
    let login = &vectors["login"];
    assert!(list(&vectors["broken_logins"]).len() > 10);
    for vector in list(&vectors["broken_logins"]) {
        let config = hub::Config {
            secret_key: key(&login["hub_static"]),
            token_key: key(&login["token_key"]),
            buffer_budget_bytes: 1 << 20,
            max_connections_per_ip: 1,
            max_connections: 1,
        };
        let mut hub = Hub::new(Instant::ZERO, Rng::new([1; 32]), config);
        let conn = ConnId(1);
        let ip = text(&login["observed"]).parse().expect("an address");
        let host = text(&login["host_as_dialled"]).into();
        let ephemeral = key(&login["hub_ephemeral"]);
        let unix_time = UnixTime(0);
        let connected = hub::Input::Connected { conn, ip, host, ephemeral, unix_time };
        hub.handle_input(Instant::ZERO, connected);
        let (last, before) = list(&vector["messages"]).split_last().expect("messages");
        let say = |hub: &mut Hub, message: &Value| {
            let bytes = BytesMut::from(&unhex(message)[..]);
            hub.handle_input(Instant::ZERO, hub::Input::Message { conn, bytes });
            drain_hub(hub);
        };
        before.iter().for_each(|message| say(&mut hub, message));
        assert_eq!(hub.stats().connections, 1, "not before: {}", vector["why"]);
        say(&mut hub, last);
        assert_eq!(hub.stats().connections, 0, "{}", vector["why"]);
    }
}

fn hex(messages: &[Bytes]) -> Vec<String> {
    messages.iter().map(|message| to_hex(message)).collect()
}

fn pass_to_hub(hub: &mut Hub, conn: ConnId, messages: &[Bytes]) -> Vec<Bytes> {
    for message in messages {
        let bytes = BytesMut::from(&message[..]);
        hub.handle_input(Instant::ZERO, hub::Input::Message { conn, bytes });
    }
    drain_hub(hub)
}

fn pass_to_client(client: &mut Client, messages: &[Bytes]) -> (Vec<Bytes>, Vec<client::Event>) {
    for message in messages {
        let bytes = BytesMut::from(&message[..]);
        client.handle_input(Instant::ZERO, client::Input::Message(bytes));
    }
    drain_client(client)
}
