//! What tracker and peers say to each other over HTTP, read by either side.

use std::fmt::Debug;
use std::net::SocketAddr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use towpath_core::id::{Descriptor, Hash, Instance, Kind, Locator, PeerId};
use towpath_core::limits::{
    MAX_ADDRESSES_PER_PEER, MAX_ANNOUNCED_CHUNKS, MAX_LOOKUP_PEERS, MAX_REFUSAL_CHARS,
    MAX_RETRY_AFTER_SECONDS, MAX_SHARES_PER_INSTANCE,
};
use towpath_core::session::Suite;
use towpath_core::tracker_api::json::{
    AnnounceBody, DoneReply, ErrorReply, HeartbeatBody, LookupReply, PeerBody, RegisterBody,
};
use towpath_core::tracker_api::{
    CallError, PublicFile, Request, Response, decode_reply, encode_request, instance_text,
    parse_address, suite_text,
};

use super::feed::Feed;

const ME: Instance = Instance { peer: PeerId([5; 32]), number: 9 };

fn requests() -> Vec<Request> {
    let (me, locator) = (ME, Locator([6; 32]));
    let descriptor = Descriptor { kind: Kind::File, length_bytes: 10, root: Hash([1; 32]) };
    let public = Some(PublicFile { name: "ü \"1\"".into(), descriptor });
    let addresses = vec![SocketAddr::from(([10, 0, 0, 1], 80)), SocketAddr::from(([0; 16], 7))];
    let suites = vec![Suite::AesGcm, Suite::ChaChaPoly];
    vec![
        Request::Lookup { locator },
        Request::Register { me, addresses, suites, relay: true },
        Request::Announce { me, locator, public: None, seeder: false },
        Request::Announce { me, locator, public, seeder: true },
        Request::Heartbeat { me, locators: vec![locator, locator] },
        Request::Remove { me },
    ]
}

const STATUS: &[u16] = &[200, 201, 302, 400, 401, 403, 404, 429, 500, 503, 599, 600, 0];

/// An answer of the tracker: to what, its status, `Retry-After`, its body.
pub fn tracker_reply(data: &[u8]) {
    let mut feed = Feed::new(data);
    let all = requests();
    let request = &all[usize::from(feed.u8()) % all.len()];
    let status = feed.pick(STATUS);
    let retry_after = feed.bool().then(|| feed.u32());
    let body = feed.rest();
    match decode_reply(request, status, retry_after, body) {
        Ok(Response::Done { .. }) => assert!(!matches!(request, Request::Lookup { .. })),
        Ok(Response::Peers(peers)) => {
            assert!(status == 200 && matches!(request, Request::Lookup { .. }));
            assert!(peers.len() <= MAX_LOOKUP_PEERS);
            for (number, peer) in peers.iter().enumerate() {
                let earlier = &peers[..number];
                assert!(earlier.iter().all(|other| other.instance != peer.instance));
                assert!(peer.addresses.len() <= MAX_ADDRESSES_PER_PEER && peer.suites.len() <= 2);
                for address in &peer.addresses {
                    assert_eq!(parse_address(&address.to_string()), Some(*address));
                }
            }
        }
        Err(CallError::Refused(said)) => {
            assert!(said.chars().count() <= MAX_REFUSAL_CHARS);
            assert!(!said.chars().any(char::is_control));
        }
        Err(CallError::Busy { retry_after_seconds }) => {
            assert!((1..=MAX_RETRY_AFTER_SECONDS).contains(&retry_after_seconds));
        }
        Err(CallError::Unreachable(_)) => panic!("only a driver says that"),
        Err(CallError::NotFound | CallError::Unauthorized) => {
            assert!((401..=404).contains(&status))
        }
        Err(CallError::Garbage(rule)) => assert!(!rule.is_empty()),
    }
}

pub(super) fn reply_seeds() -> Vec<Vec<u8>> {
    let peer = PeerBody {
        peer_id: instance_text(&ME),
        addresses: vec!["10.0.0.1:80".into(), "[2001:db8::1]:8".into(), "nowhere".into()],
        suites: vec![suite_text(Suite::AesGcm).into(), "other".into()],
        relay: Some(true),
        is_seeder: true,
        ..PeerBody::default()
    };
    let founding =
        PeerBody { peer_id: "6ba7b810-9dad-11d1-80b4-00c04fd430c8".into(), ..peer.clone() };
    let lookup =
        LookupReply { peers: vec![peer.clone(), founding, peer], ..LookupReply::default() };
    let done = DoneReply { success: true, next_heartbeat_in: Some(20), ..DoneReply::default() };
    let error = ErrorReply { error: "no\u{202e}\n such thing".into() };
    let seed = |head: &[u8], body: Vec<u8>| [head, &body].concat();
    vec![
        seed(&[0, 0, 0], json(&lookup)),
        seed(&[1, 0, 0], json(&done)),
        seed(&[2, 3, 0], json(&error)),
        seed(&[0, 6, 0], json(&error)),
        seed(&[4, 7, 1, 0, 0, 1, 44], Vec::new()),
        seed(&[0, 0, 0], b"{\"peers\":null}".to_vec()),
        seed(&[0, 8, 0], b"<html>".to_vec()),
    ]
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("it has a JSON")
}

/// The body of a call, as the tracker reads it: register, heartbeat, announce by the first byte.
pub fn tracker_request(data: &[u8]) {
    let Some((which, body)) = data.split_first() else { return };
    match which % 3 {
        0 => {
            if let Some(read) = there_and_back::<RegisterBody>(body) {
                assert!(read.addresses.len() <= MAX_ADDRESSES_PER_PEER + 1);
                assert!(read.suites.len() <= 8);
            }
        }
        1 => {
            if let Some(read) = there_and_back::<HeartbeatBody>(body) {
                assert!(read.files_hashes.len() <= MAX_SHARES_PER_INSTANCE + 1);
            }
        }
        _ => {
            if let Some(read) = there_and_back::<AnnounceBody>(body) {
                assert!(read.file.chunks.len() <= MAX_ANNOUNCED_CHUNKS + 1);
            }
        }
    }
}

fn there_and_back<T>(body: &[u8]) -> Option<T>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let read: T = serde_json::from_slice(body).ok()?;
    let again: T = serde_json::from_slice(&json(&read)).expect("what was written can be read");
    assert_eq!(read, again);
    Some(read)
}

pub(super) fn request_seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for request in requests() {
        let which = match request {
            Request::Register { .. } => 0,
            Request::Heartbeat { .. } => 1,
            Request::Announce { .. } => 2,
            Request::Lookup { .. } | Request::Remove { .. } => continue,
        };
        let body = encode_request(&request).body.expect("it has a body");
        seeds.push([vec![which], body].concat());
    }
    let founding = "{\"peer_id\":\"u\",\"file\":{\"hash\":\"h\",\"name\":\"n\",\"size\":3,\
                    \"chunk_size\":2,\"chunks\":[{\"index\":0,\"hash\":\"x\",\"size\":2}]}}";
    seeds.push([&[2], founding.as_bytes()].concat());
    seeds
}
