//! Texts that people paste and peers suggest: links, names, ids, tokens.

use std::sync::LazyLock;

use bytes::BytesMut;
use towpath_core::crypto::public_key;
use towpath_core::id::{Instance, Locator, PeerId, Secret, from_hex, to_hex};
use towpath_core::limits::{MAX_NAME_BYTES, MAX_TRACKER_URL_BYTES};
use towpath_core::link::{Link, parse_tracker};
use towpath_core::name::sanitize;
use towpath_core::output::Output;
use towpath_core::relay::client::{self, Client};
use towpath_core::relay::hub::{self, ConnId, Hub, check_token};
use towpath_core::rng::Rng;
use towpath_core::session::Suite;
use towpath_core::time::{Instant, UnixTime};
use towpath_core::tracker_api::{
    instance_text, parse_address, parse_instance, parse_suite, suite_text,
};

/// A link, or the URL of a tracker.
pub fn link(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(link) = text.parse::<Link>() {
        assert!(link.tracker.len() <= MAX_TRACKER_URL_BYTES);
        assert_eq!(parse_tracker(&link.tracker).as_ref(), Ok(&link.tracker));
        let again = link.to_string();
        assert!(again.eq_ignore_ascii_case(text.trim()));
        assert_eq!(again.parse(), Ok(link));
    }
    if let Ok(tracker) = parse_tracker(text) {
        assert!(tracker.starts_with("http") && !tracker.ends_with('/') && !tracker.contains('@'));
        assert_eq!(parse_tracker(&tracker).as_ref(), Ok(&tracker));
        // Whatever is a tracker can stand in a link.
        let link = Link { tracker, locator: Locator([1; 32]), secret: None };
        assert_eq!(link.to_string().parse(), Ok(link));
    }
}

pub(super) fn link_seeds() -> Vec<Vec<u8>> {
    let locator = Locator([0xAB; 32]);
    let link = |tracker: &str, secret| Link { tracker: tracker.into(), locator, secret };
    let secret = Some(Secret::new([0xFE; 32]));
    vec![
        link("https://tow.example:8443", secret.clone()).to_string().into_bytes(),
        link("http://[::1]:80", None).to_string().into_bytes(),
        format!("  {}\n", link("http://10.0.0.1", secret)).into_bytes(),
        b"https://tow.example/".to_vec(),
        b"http://user@host/f/".to_vec(),
    ]
}

/// The name of a file, as somebody suggests it.
pub fn name(data: &[u8]) {
    let suggested = String::from_utf8_lossy(data);
    let name = sanitize(&suggested);
    assert!(!name.is_empty() && name.len() <= MAX_NAME_BYTES);
    assert!(!name.starts_with('.') && !name.contains(['/', '\\', '\0']));
    assert!(!name.chars().any(char::is_control));
    assert_eq!(name.trim(), name);
    assert_eq!(sanitize(&name), name, "twice is once");
}

pub(super) fn name_seeds() -> Vec<Vec<u8>> {
    let long = "é".repeat(300);
    ["a.txt", "../../.bashrc", "..\\x\u{202e}gpj.exe", " .\u{200b}.a ", "", "/", &long]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}

/// Ids, instances, suites and addresses as text.
pub fn id(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(bytes) = from_hex(text) {
        assert_eq!(to_hex(&bytes), text);
        assert_eq!(text.parse(), Ok(Locator(bytes)));
    }
    if let Some(instance) = parse_instance(text) {
        assert_eq!(instance_text(&instance), text);
    }
    if let Some(suite) = parse_suite(text) {
        assert_eq!(suite_text(suite), text);
    }
    if let Some(address) = parse_address(text) {
        assert!(address.port() > 0 && !address.ip().is_unspecified());
        assert_eq!(address.ip(), address.ip().to_canonical());
        assert_eq!(parse_address(&address.to_string()), Some(address));
    }
}

pub(super) fn id_seeds() -> Vec<Vec<u8>> {
    let me = Instance { peer: PeerId([0x5A; 32]), number: 0x1234 };
    let suites = [Suite::AesGcm, Suite::ChaChaPoly].map(suite_text);
    let mut seeds = vec![to_hex(&[0xC3; 32]), instance_text(&me)];
    seeds.extend(suites.map(Into::into));
    seeds.extend(["10.0.0.1:80", "[2001:db8::1]:443", "[::ffff:1.2.3.4]:5"].map(Into::into));
    seeds.into_iter().map(String::into_bytes).collect()
}

const TOKEN_KEY: [u8; 32] = [78; 32];
const LOGIN_AT: UnixTime = UnixTime(1_000_000);

/// The one token that was ever given out under this key, and to whom.
static TOKEN: LazyLock<(Instance, String)> = LazyLock::new(|| {
    let secret_key = [1; 32];
    let me = Instance { peer: public_key(&secret_key), number: 1 };
    let token = log_in(me, secret_key).expect("two honest machines find each other");
    (me, token)
});

/// A token for REST calls: what was not given out is not taken.
pub fn token(data: &[u8]) {
    let (me, good) = &*TOKEN;
    let text = String::from_utf8_lossy(data);
    let expected = (text == *good).then_some(*me);
    assert_eq!(check_token(&TOKEN_KEY, &text, LOGIN_AT), expected);
    assert_eq!(check_token(&[0; 32], &text, LOGIN_AT), None);
    assert_eq!(check_token(&TOKEN_KEY, &text, UnixTime(i64::MAX)), None);
}

pub(super) fn token_seeds() -> Vec<Vec<u8>> {
    vec![TOKEN.1.clone().into_bytes(), TOKEN.1[..64].into(), b"====".to_vec()]
}

/// Lets a real client log in at a real hub; its token.
fn log_in(me: Instance, secret_key: [u8; 32]) -> Option<String> {
    let (now, conn, host) = (Instant::ZERO, ConnId(1), "relay.example".to_owned());
    let config = hub::Config {
        secret_key: [77; 32],
        token_key: TOKEN_KEY,
        buffer_budget_bytes: 1 << 20,
        max_connections_per_ip: 1,
        max_connections: 1,
    };
    let mut hub = Hub::new(now, Rng::new([1; 32]), config);
    let config = client::Config { me, secret_key, host: host.clone() };
    let mut client = Client::new(now, Rng::new([2; 32]), config);
    client.handle_input(now, client::Input::Want(true));
    let (ip, unix_time, ephemeral) = ([9, 9, 9, 9].into(), LOGIN_AT, [3; 32]);
    hub.handle_input(now, hub::Input::Connected { conn, ip, host, ephemeral, unix_time });
    client.handle_input(now, client::Input::Connected { ephemeral: [4; 32] });
    for _ in 0..8 {
        loop {
            match client.poll_output() {
                Output::Transmit(client::Transmit::Send { message }) => {
                    let bytes = BytesMut::from(&message[..]);
                    hub.handle_input(now, hub::Input::Message { conn, bytes });
                }
                Output::Event(client::Event::LoggedIn { token }) => return Some(token),
                Output::Timeout(_) => break,
                Output::Transmit(_) | Output::Event(_) => {}
            }
        }
        loop {
            match hub.poll_output() {
                Output::Transmit(hub::Transmit::Send { message, .. }) => {
                    let bytes = BytesMut::from(&message[..]);
                    client.handle_input(now, client::Input::Message(bytes));
                }
                Output::Timeout(_) => break,
                Output::Transmit(_) | Output::Event(_) => {}
            }
        }
    }
    None
}
