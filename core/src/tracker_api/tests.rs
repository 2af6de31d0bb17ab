//! Encoding and decoding, and what a lying tracker may try.

use alloc::string::ToString;
use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::id::{Descriptor, Hash};

fn me() -> Instance {
    Instance { peer: PeerId([0xAB; 32]), number: 0x12 }
}

fn lookup() -> Request {
    Request::Lookup { locator: Locator([7; 32]) }
}

fn peers_of(body: &str) -> Result<Vec<PeerEntry>, CallError> {
    decode_reply(&lookup(), 200, None, body.as_bytes()).map(|response| match response {
        Response::Peers(peers) => peers,
        Response::Done { .. } => panic!("a lookup is answered with peers"),
    })
}

fn body_text(call: &HttpCall) -> &str {
    core::str::from_utf8(call.body.as_deref().unwrap()).unwrap()
}

#[test]
fn an_instance_goes_into_text_and_back_and_nothing_else_does() {
    let text = instance_text(&me());
    assert_eq!(text.len(), 64 + 1 + 16);
    assert_eq!(parse_instance(&text), Some(me()));
    for wrong in ["", ".", "7d444840-9dc0-11d1-b245-5ffdce74fad2", &text[1..], &text[..80]] {
        assert_eq!(parse_instance(wrong), None, "{wrong}");
    }
    assert_eq!(parse_instance(&text.to_uppercase()), None);
    assert_eq!(parse_instance(&text.replace(".0", ".+")), None);
}

// Spec L5, T15, K1
#[test]
fn a_private_announce_says_nothing_but_who_and_under_what() {
    let call = encode_request(&Request::Announce {
        me: me(),
        locator: Locator([7; 32]),
        public: None,
        seeder: true,
    });
    assert_eq!((call.method, call.path.as_str()), ("POST", "/api/files/announce"));
    let id = "ab".repeat(32);
    let hash = "07".repeat(32);
    assert_eq!(
        body_text(&call),
        format!(
            r#"{{"peer_id":"{id}.0000000000000012","file":{{"hash":"{hash}"}},"is_seeder":true}}"#
        )
    );
}

#[test]
fn a_public_announce_carries_what_its_id_is_made_of() {
    let descriptor = Descriptor { kind: Kind::Manifest, length_bytes: 77, root: Hash([3; 32]) };
    let call = encode_request(&Request::Announce {
        me: me(),
        locator: descriptor.locator(None),
        public: Some(PublicFile { name: "a \"b\"".to_string(), descriptor }),
        seeder: false,
    });
    let body: json::AnnounceBody = serde_json::from_slice(&call.body.unwrap()).unwrap();
    assert!(body.public);
    assert_eq!(body.is_seeder, Some(false));
    assert_eq!(body.file.hash, descriptor.locator(None).to_string());
    assert_eq!(body.file.name, "a \"b\"");
    assert_eq!(body.file.size, 77);
    assert_eq!(body.file.kind.as_deref(), Some("manifest"));
    assert_eq!(body.file.merkle_root, Some("03".repeat(32)));
}

// Spec T21
#[test]
fn the_other_calls_are_as_the_spec_writes_them() {
    let register = encode_request(&Request::Register {
        me: me(),
        addresses: vec!["192.0.2.1:5".parse().unwrap(), "[2001:db8::1]:5".parse().unwrap()],
        suites: vec![Suite::AesGcm, Suite::ChaChaPoly],
        relay: true,
    });
    assert_eq!(
        body_text(&register),
        format!(
            "{{\"peer_id\":\"{}\",\"addresses\":[\"192.0.2.1:5\",\"[2001:db8::1]:5\"],\"suites\":\
             [\"25519_AESGCM_SHA256\",\"25519_ChaChaPoly_SHA256\"],\"relay\":true}}",
            instance_text(&me())
        )
    );
    let heartbeat = encode_request(&Request::Heartbeat { me: me(), locators: vec![] });
    assert_eq!(
        body_text(&heartbeat),
        format!("{{\"peer_id\":\"{}\",\"files_hashes\":[]}}", instance_text(&me()))
    );
    let asked = encode_request(&lookup());
    assert_eq!(asked.path, format!("/api/files/{}/peers?namespace=native", "07".repeat(32)));
    assert_eq!((asked.method, asked.body), ("GET", None));
    let removed = encode_request(&Request::Remove { me: me() });
    assert_eq!(removed.method, "DELETE");
    assert_eq!(removed.path, format!("/api/peers/{}", instance_text(&me())));
}

#[test]
fn done_needs_success_and_heartbeats_say_when_next() {
    let request = Request::Heartbeat { me: me(), locators: vec![] };
    let reply = br#"{"success":true,"next_heartbeat_in":30}"#;
    assert_eq!(
        decode_reply(&request, 200, None, reply),
        Ok(Response::Done { next_heartbeat_seconds: Some(30) })
    );
    let no = |body: &[u8]| decode_reply(&request, 200, None, body);
    assert_eq!(no(b"{}"), Err(CallError::Garbage("no_success")));
    assert_eq!(no(b"OK"), Err(CallError::Garbage("not_json")));
    assert_eq!(no(br#"{"success":1}"#), Err(CallError::Garbage("wrong_shape")));
}

// Spec T1, T19b
#[test]
fn a_lookup_keeps_what_makes_sense() {
    let id = instance_text(&me());
    let peers = peers_of(&format!(
        r#"{{"file_hash":"x","peers":[
            {{"peer_id":"7d444840-9dc0-11d1-b245-5ffdce74fad2","ip":"192.0.2.9","port":6881}},
            {{"peer_id":"{id}","is_seeder":true,"relay":true,"new":{{"a":[1]}},
              "addresses":["192.0.2.1:5","[::ffff:192.0.2.1]:5","0.0.0.0:1","host:1","224.0.0.1:1",
                           "255.255.255.255:9","192.0.2.1:0","[fe80::1]:7"],
              "suites":["25519_AESGCM_SHA256","25519_AESGCM_SHA256","rot13"]}},
            {{"peer_id":"{id}","addresses":["192.0.2.2:5"]}}]}}"#
    ))
    .unwrap();
    assert_eq!(
        peers,
        [PeerEntry {
            instance: me(),
            addresses: vec!["192.0.2.1:5".parse().unwrap(), "[fe80::1]:7".parse().unwrap()],
            suites: vec![Suite::AesGcm],
            relay: true,
            seeder: true,
        }]
    );
    assert_eq!(peers_of(r#"{"peers":null}"#), Ok(vec![]));
}

#[test]
fn a_lookup_of_the_wrong_shape_is_garbage() {
    let id = instance_text(&me());
    for wrong in [
        r#"{}"#.to_string(),
        r#"[]"#.to_string(),
        r#"{"peers":{}}"#.to_string(),
        r#"{"peers":[1]}"#.to_string(),
        r#"{"peers":[{}]}"#.to_string(),
        format!(r#"{{"peers":[{{"peer_id":"{id}","addresses":"192.0.2.1:5"}}]}}"#),
        format!(r#"{{"peers":[{{"peer_id":"{id}","relay":"yes"}}]}}"#),
    ] {
        assert_eq!(peers_of(&wrong), Err(CallError::Garbage("wrong_shape")), "{wrong}");
    }
    let deep = format!(r#"{{"peers":{}"#, "[".repeat(100_000));
    assert!(matches!(peers_of(&deep), Err(CallError::Garbage(_))));
    let long = " ".repeat(MAX_REPLY_BYTES + 1);
    assert_eq!(peers_of(&long), Err(CallError::Garbage("too_long")));
}

// Spec T4b
#[test]
fn thousands_of_invented_peers_are_cut() {
    let key = "ab".repeat(32);
    let many: Vec<String> =
        (0..5_000).map(|n| format!(r#"{{"peer_id":"{key}.{n:016x}","addresses":[]}}"#)).collect();
    let peers = peers_of(&format!(r#"{{"peers":[{}]}}"#, many.join(","))).unwrap();
    assert_eq!(peers.len(), MAX_LOOKUP_PEERS);
    let addresses = vec!["\"192.0.2.1:5\""; 10_000].join(",");
    let body =
        format!(r#"{{"peers":[{{"peer_id":"{key}.{:016x}","addresses":[{addresses}]}}]}}"#, 1);
    assert_eq!(peers_of(&body).unwrap()[0].addresses.len(), 1);
}

#[test]
fn lists_are_cut_at_their_limits_while_they_are_read() {
    let list = |item: &str, count: usize| format!("[{}]", vec![item; count].join(","));
    let read = |body: &str| serde_json::from_str::<json::RegisterBody>(body).unwrap();
    for (count, kept) in [(16, 16), (17, 17), (18, 17)] {
        let addresses = list("\"192.0.2.1:5\"", count);
        let body = read(&format!(r#"{{"peer_id":"a","addresses":{addresses}}}"#));
        assert_eq!(body.addresses.len(), kept, "one too many shows that there were");
    }
    for (count, kept) in [(8, 8), (9, 8)] {
        let body = read(&format!(r#"{{"peer_id":"a","suites":{}}}"#, list("\"s\"", count)));
        assert_eq!(body.suites.len(), kept);
    }
    for (count, kept) in [(4_097, 4_097), (4_098, 4_097)] {
        let body = format!(r#"{{"peer_id":"a","files_hashes":{}}}"#, list("\"h\"", count));
        let body: json::HeartbeatBody = serde_json::from_str(&body).unwrap();
        assert_eq!(body.files_hashes.len(), kept);
    }
    for (count, kept) in [(65_537, 65_537), (65_538, 65_537)] {
        let body = format!(r#"{{"peer_id":"a","file":{{"chunks":{}}}}}"#, list("{}", count));
        let body: json::AnnounceBody = serde_json::from_str(&body).unwrap();
        assert_eq!(body.file.chunks.len(), kept);
    }
    for (count, kept) in [(400, 400), (401, 400)] {
        let body = format!(r#"{{"peers":{}}}"#, list(r#"{"peer_id":"a"}"#, count));
        let body: json::LookupReply = serde_json::from_str(&body).unwrap();
        assert_eq!(body.peers.len(), kept);
    }
}

#[test]
fn calls_carry_no_more_than_the_limits() {
    let addresses = (1..=20).map(|port| SocketAddr::from(([192, 0, 2, 1], port))).collect();
    let call =
        encode_request(&Request::Register { me: me(), addresses, suites: vec![], relay: false });
    let body: json::RegisterBody = serde_json::from_slice(&call.body.unwrap()).unwrap();
    assert_eq!(body.addresses.len(), MAX_ADDRESSES_PER_PEER);
    let locators = vec![Locator([7; 32]); MAX_SHARES_PER_INSTANCE + 1];
    let call = encode_request(&Request::Heartbeat { me: me(), locators });
    let body: json::HeartbeatBody = serde_json::from_slice(&call.body.unwrap()).unwrap();
    assert_eq!(body.files_hashes.len(), MAX_SHARES_PER_INSTANCE);
}

// Spec T4
#[test]
fn the_longest_answer_is_read() {
    let reply = r#"{"peers":null}"#;
    let padded = format!("{reply}{}", " ".repeat(MAX_REPLY_BYTES - reply.len()));
    assert_eq!(peers_of(&padded), Ok(vec![]));
    assert_eq!(peers_of(&format!("{padded} ")), Err(CallError::Garbage("too_long")));
}

// Spec T4b
#[test]
fn of_a_peer_so_many_addresses_are_kept() {
    let id = instance_text(&me());
    let ports: Vec<String> = (1..=20).map(|port| format!("\"192.0.2.1:{port}\"")).collect();
    let body = format!(r#"{{"peers":[{{"peer_id":"{id}","addresses":[{}]}}]}}"#, ports.join(","));
    let ports: Vec<u16> =
        peers_of(&body).unwrap()[0].addresses.iter().map(SocketAddr::port).collect();
    assert!(ports.iter().copied().eq(1..=16), "{ports:?}");
}

// Spec T2, T3
#[test]
fn refusals_are_told_apart() {
    let said = |status, retry, body: &str| {
        decode_reply(&lookup(), status, retry, body.as_bytes()).unwrap_err()
    };
    assert_eq!(said(401, None, ""), CallError::Unauthorized);
    assert_eq!(said(403, None, "{}"), CallError::Unauthorized);
    assert_eq!(said(404, None, r#"{"error":"File not found"}"#), CallError::NotFound);
    assert_eq!(said(404, None, "<html>"), CallError::Garbage("not_a_tracker"));
    assert_eq!(said(429, Some(7), ""), CallError::Busy { retry_after_seconds: 7 });
    assert_eq!(said(429, None, ""), CallError::Busy { retry_after_seconds: 10 });
    assert_eq!(said(503, Some(u32::MAX), ""), CallError::Busy { retry_after_seconds: 300 });
    assert_eq!(said(503, Some(0), ""), CallError::Busy { retry_after_seconds: 1 });
    assert_eq!(said(502, None, "<html>"), CallError::Refused("status 502".to_string()));
    assert_eq!(said(302, None, ""), CallError::Garbage("unexpected_status"));
    assert_eq!(said(204, None, ""), CallError::Garbage("unexpected_status"));
    let nasty = format!(r#"{{"error":"a\u001b[2J\u202eb{}"}}"#, "c".repeat(1_000));
    let CallError::Refused(text) = said(400, None, &nasty) else { panic!("refused") };
    assert!(text.starts_with("a[2Jbc"));
    assert_eq!(text.chars().count(), MAX_REFUSAL_CHARS);
}

/// Something that looks like a peer.
fn peer() -> impl Strategy<Value = String> {
    let id = prop_oneof![r#""[0-9a-f.]{0,90}""#, "1", "null"];
    let address = r#""[0-9.:a-f\[\]%]{0,20}""#;
    (id, address).prop_map(|(id, address)| format!(r#"{{"peer_id":{id},"addresses":[{address}]}}"#))
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(
        status in 0u16..700,
        body in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let _ = decode_reply(&lookup(), status, None, &body);
    }

    #[test]
    fn no_json_makes_it_panic(peers in proptest::collection::vec(peer(), 0..4)) {
        let body = format!(r#"{{"peers":[{}]}}"#, peers.join(","));
        let _ = decode_reply(&lookup(), 200, None, body.as_bytes());
    }
}
