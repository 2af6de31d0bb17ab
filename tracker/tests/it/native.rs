//! Native peers: tokens, private and public shares, who may say what.

use serde_json::{Value, json};
use towpath_core::id::{Descriptor, Hash, Instance, Kind, Locator, PeerId};
use towpath_core::session::Suite;
use towpath_core::tracker_api::{
    CallError, PeerEntry, PublicFile, Request, Response, instance_text,
};

use crate::client::call;
use crate::harness::Server;
use crate::peer::Peer;

const LOCATOR: Locator = Locator([0x5e; 32]);

fn register(peer: &Peer, addresses: &[&str]) -> Request {
    Request::Register {
        me: peer.me,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        suites: vec![Suite::AesGcm, Suite::ChaChaPoly],
        relay: true,
    }
}

fn private(peer: &Peer, locator: Locator) -> Request {
    Request::Announce { me: peer.me, locator, public: None, seeder: true }
}

fn public(peer: &Peer, name: &str) -> (Request, Locator) {
    let descriptor = Descriptor { kind: Kind::File, length_bytes: 77, root: Hash([3; 32]) };
    let locator = descriptor.locator(None);
    let public = Some(PublicFile { name: name.to_owned(), descriptor });
    (Request::Announce { me: peer.me, locator, public, seeder: true }, locator)
}

fn done(response: Result<Response, CallError>) {
    assert!(matches!(response, Ok(Response::Done { .. })), "{response:?}");
}

async fn peers(asker: &Peer, locator: Locator) -> Vec<PeerEntry> {
    match asker.ask(&Request::Lookup { locator }).await {
        Ok(Response::Peers(peers)) => peers,
        other => panic!("no peers: {other:?}"),
    }
}

// Spec T15b, K2
#[tokio::test]
async fn a_private_share_is_found_by_its_locator_alone() {
    let server = Server::start().await;
    let seeder = Peer::login(&server, 1, 7).await;
    let asker = Peer::login(&server, 2, 1).await;
    done(seeder.ask(&register(&seeder, &["127.0.0.1:4000", "192.168.1.2:4000"])).await);
    done(seeder.ask(&private(&seeder, LOCATOR)).await);
    assert_eq!(
        peers(&asker, LOCATOR).await,
        [PeerEntry {
            instance: seeder.me,
            addresses: vec!["127.0.0.1:4000".parse().unwrap(), "192.168.1.2:4000".parse().unwrap()],
            suites: vec![Suite::AesGcm, Suite::ChaChaPoly],
            relay: true,
            seeder: true,
        }]
    );
    assert_eq!(server.get("/api/files").await.text(), r#"{"files":null}"#);
    assert_eq!(server.get("/api/files/search?q=e").await.ok()["count"], 0);
    let relay = server.get("/api/relay/peers").await.ok();
    assert_eq!(relay["count"], 0, "that somebody shares in private is nobody's business");
    let found = server.get(&format!("/api/files/{LOCATOR}")).await.ok();
    assert_eq!((&found["file_name"], &found["file_size"]), (&json!(""), &json!(0)));
    assert_eq!(found["public"], false);
    assert_eq!(found["peers"][0]["key"], seeder.me.peer.to_string());
    assert_eq!(found["peers"][0]["instance"], "0000000000000007");
    assert_eq!(found["peers"][0]["peer_id"], seeder.id());
    let unknown = Request::Lookup { locator: Locator([9; 32]) };
    assert_eq!(asker.ask(&unknown).await, Err(CallError::NotFound));
}

#[tokio::test]
async fn a_public_share_is_listed_under_its_proven_id() {
    let server = Server::start().await;
    let seeder = Peer::login(&server, 1, 1).await;
    let (announce, locator) = public(&seeder, "Holiday \u{202e}photos");
    done(seeder.ask(&announce).await);
    let listed = server.get("/api/files").await.ok();
    let file = &listed["files"][0];
    assert_eq!(file["hash"], locator.to_string());
    assert_eq!((&file["name"], &file["size"]), (&json!("Holiday photos"), &json!(77)));
    assert_eq!((&file["kind"], &file["seeders"]), (&json!("file"), &json!(1)));
    assert_eq!(file["merkle_root"], "03".repeat(32));
    assert_eq!(server.get("/api/files/search?q=hOLI").await.ok()["count"], 1);
    assert_eq!(server.get("/api/files?offset=1").await.text(), r#"{"files":null}"#);
    assert_eq!(server.get("/api/relay/peers").await.ok()["peers"], json!([seeder.id()]));
    let entry = &peers(&seeder, locator).await[0];
    assert!(entry.relay && entry.addresses.is_empty(), "announced without registering");
}

// Spec T15, T16
#[tokio::test]
async fn an_announce_that_is_not_so_is_refused_with_its_rule() {
    let server = Server::start().await;
    let peer = Peer::login(&server, 1, 1).await;
    let (_, locator) = public(&peer, "x");
    let good = json!({ "hash": locator.to_string(), "name": "x", "size": 77, "kind": "file",
                       "merkle_root": "03".repeat(32) });
    let post = async |public: bool, file: Value| {
        let body = json!({ "peer_id": peer.id(), "public": public, "file": file });
        peer.http("POST", "/api/files/announce", body.to_string()).await
    };
    let with = |field: &str, value: Value| {
        let mut file = good.clone();
        file[field] = value;
        file
    };
    for (field, value, rule) in [
        ("size", json!(78), "id_mismatch"),
        ("kind", json!("manifest"), "id_mismatch"),
        ("merkle_root", json!("04".repeat(32)), "id_mismatch"),
        ("hash", json!("00".repeat(32)), "id_mismatch"),
        ("hash", json!("00"), "64 lower-case hex"),
        ("hash", json!(locator.to_string().to_uppercase()), "64 lower-case hex"),
        ("merkle_root", json!("x"), "file.merkle_root"),
        ("merkle_root", Value::Null, "file.merkle_root"),
        ("kind", json!("pipe"), "file.kind"),
        ("kind", Value::Null, "file.kind"),
        ("name", json!(""), "file.name"),
        ("name", json!("n".repeat(256)), "file.name"),
        ("size", json!((1_u64 << 48) + 1), "file.size"),
    ] {
        let said = post(true, with(field, value.clone())).await.refused(400);
        assert!(said.contains(rule), "{field} {value}: {said}");
    }
    for field in ["name", "size", "kind", "merkle_root"] {
        let file = json!({ "hash": LOCATOR.to_string(), field: good[field] });
        let said = post(false, file).await.refused(400);
        assert!(said.starts_with("private_is_nameless"), "{field}: {said}");
    }
    assert_eq!(server.get("/api/files").await.text(), r#"{"files":null}"#);
    post(true, good.clone()).await.ok();
}

// Spec T5, T5b
#[tokio::test]
async fn nobody_speaks_for_a_key_but_its_owner() {
    let server = Server::start().await;
    let owner = Peer::login(&server, 1, 1).await;
    let other = Peer::login(&server, 2, 1).await;
    let twin = Peer::login(&server, 1, 2).await;
    done(owner.ask(&register(&owner, &["127.0.0.1:1"])).await);
    done(owner.ask(&private(&owner, LOCATOR)).await);
    let heartbeat = Request::Heartbeat { me: owner.me, locators: vec![] };
    let remove = Request::Remove { me: owner.me };
    for thief in [&other, &twin] {
        for request in [
            register(&owner, &["127.0.0.1:2"]),
            private(&owner, LOCATOR),
            heartbeat.clone(),
            remove.clone(),
        ] {
            assert_eq!(thief.ask(&request).await, Err(CallError::Unauthorized), "{request:?}");
        }
        // Withdrawing is by token: it withdraws the thief's own, which is nothing.
        thief.http("DELETE", &format!("/api/files/{LOCATOR}"), "").await.ok();
    }
    assert_eq!(peers(&other, LOCATOR).await[0].addresses, ["127.0.0.1:1".parse().unwrap()]);

    let id = owner.id();
    let body = json!({ "peer_id": id, "addresses": ["127.0.0.1:2"] }).to_string();
    for token in ["", "Bearer", "Bearer x", "Basic eDp5", &format!("Bearer {}x", owner.token)] {
        let headers = [("authorization", token)];
        let path = "/api/peers/register";
        let reply = call(server.addr(), "POST", path, &headers, body.clone()).await;
        assert_eq!(reply.headers["www-authenticate"], "Bearer");
        assert!(reply.refused(401).contains(&id));
    }
    server.delete(&format!("/api/files/{LOCATOR}")).await.refused(401);
    server.delete(&format!("/api/peers/{id}")).await.refused(401);

    done(owner.ask(&remove).await);
    assert_eq!(peers(&other, LOCATOR).await, []);
}

// Spec T11
#[tokio::test]
async fn heartbeats_tell_what_was_forgotten_and_what_is_had_no_more() {
    let server = Server::start().await;
    let peer = Peer::login(&server, 1, 1).await;
    let beat = |locators: Vec<Locator>| Request::Heartbeat { me: peer.me, locators };
    assert_eq!(peer.ask(&beat(vec![])).await, Err(CallError::NotFound), "never registered");
    done(peer.ask(&register(&peer, &[])).await);
    assert_eq!(
        peer.ask(&beat(vec![])).await,
        Ok(Response::Done { next_heartbeat_seconds: Some(30) })
    );
    assert_eq!(peer.ask(&beat(vec![LOCATOR])).await, Err(CallError::NotFound));
    done(peer.ask(&private(&peer, LOCATOR)).await);
    done(peer.ask(&beat(vec![LOCATOR])).await);
    // An announce of the last minute may have overtaken the heartbeat: it stays.
    done(peer.ask(&beat(vec![])).await);
    assert_eq!(peers(&peer, LOCATOR).await.len(), 1);

    let body = json!({ "peer_id": peer.id(), "files_hashes": ["xyz"] }).to_string();
    peer.http("POST", "/api/peers/heartbeat", body).await.refused(400);
    let body = json!({ "peer_id": peer.id(), "files_hashes": vec!["00".repeat(32); 4_097] });
    peer.http("POST", "/api/peers/heartbeat", body.to_string()).await.refused(400);

    peer.http("DELETE", &format!("/api/files/{LOCATOR}"), "").await.ok();
    assert_eq!(peers(&peer, LOCATOR).await, []);
    assert_eq!(peer.ask(&beat(vec![LOCATOR])).await, Err(CallError::NotFound));
}

// Spec T9
#[tokio::test]
async fn a_public_address_is_passed_on_only_if_its_owner_spoke_from_it() {
    let server =
        Server::with(|config| config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()]).await;
    let peer = Peer::login(&server, 1, 1).await;
    let all =
        ["8.8.8.8:1", "9.9.9.9:1", "10.0.0.1:1", "[2606:4700::1]:1", "[fd00::1]:1", "0.0.0.0:5"];
    let body = json!({ "peer_id": peer.id(), "addresses": all }).to_string();
    let bearer = format!("Bearer {}", peer.token);
    let via = [("authorization", bearer.as_str()), ("x-forwarded-for", "9.9.9.9")];
    call(server.addr(), "POST", "/api/peers/register", &via, body).await.ok();
    done(peer.ask(&private(&peer, LOCATOR)).await);
    let listed = |found: &Value| {
        let addresses = found["peers"][0]["addresses"].as_array().unwrap();
        addresses.iter().map(|a| a.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let path = format!("/api/files/{LOCATOR}");
    let found = server.get(&path).await.ok();
    assert_eq!(listed(&found), ["9.9.9.9:1", "10.0.0.1:1", "[fd00::1]:1", "9.9.9.9:5"]);
    assert_eq!(
        (&found["peers"][0]["ip"], &found["peers"][0]["port"]),
        (&json!("9.9.9.9"), &json!(1))
    );
    // From the other address it speaks too: then that one counts as well.
    let via = [("authorization", bearer.as_str()), ("x-forwarded-for", "2606:4700::1")];
    let body = json!({ "peer_id": peer.id(), "files_hashes": [LOCATOR.to_string()] }).to_string();
    call(server.addr(), "POST", "/api/peers/heartbeat", &via, body).await.ok();
    assert!(listed(&server.get(&path).await.ok()).contains(&"[2606:4700::1]:1".to_owned()));
}

// Spec T8
#[tokio::test]
async fn addresses_that_are_none_are_refused() {
    let server = Server::start().await;
    let peer = Peer::login(&server, 1, 1).await;
    for wrong in ["x", "example.org:1", "1.2.3.4", "1.2.3.4:0", "224.0.0.1:1", "255.255.255.255:1"]
    {
        let body = json!({ "peer_id": peer.id(), "addresses": [wrong] }).to_string();
        let said = peer.http("POST", "/api/peers/register", body).await.refused(400);
        assert!(said.contains(wrong), "{said}");
    }
    let body = json!({ "peer_id": peer.id(), "addresses": vec!["127.0.0.1:1"; 17] }).to_string();
    peer.http("POST", "/api/peers/register", body).await.refused(400);
    let body = json!({ "peer_id": peer.id(), "suites": ["rot13"] }).to_string();
    peer.http("POST", "/api/peers/register", body).await.ok();
}

// Spec T20
#[tokio::test]
async fn founding_peers_cannot_touch_what_is_native() {
    let server = Server::start().await;
    let peer = Peer::login(&server, 1, 1).await;
    let (announce, locator) = public(&peer, "real");
    let fake = json!({ "peer_id": "uuid", "file": { "name": "fake", "size": 1,
                       "hash": locator.to_string(), "chunks": [] } });
    server.post("/api/peers/register", &json!({ "peer_id": "uuid", "port": 1 })).await.ok();
    server.post("/api/files/announce", &fake).await.ok();
    assert_eq!(
        peer.ask(&Request::Lookup { locator }).await,
        Err(CallError::NotFound),
        "what a founding peer says is not there for native ones"
    );
    done(peer.ask(&announce).await);
    assert_eq!(peers(&peer, locator).await[0].instance, peer.me);
    let native = server.get(&format!("/api/files/{locator}?namespace=native")).await.ok();
    assert_eq!((&native["name"], &native["size"]), (&json!("real"), &json!(77)));
    let founding = server.get(&format!("/api/files/{locator}?namespace=founding")).await.ok();
    assert_eq!((&founding["name"], &founding["size"]), (&json!("fake"), &json!(1)));
    server.get(&format!("/api/files/{locator}?namespace=x")).await.refused(400);
    assert!(server.get(&format!("/f/{locator}")).await.text().contains("real"));
}

#[tokio::test]
async fn the_operator_can_delete_and_nobody_else() {
    let server = Server::start().await;
    let peer = Peer::login(&server, 1, 1).await;
    let (announce, locator) = public(&peer, "x");
    done(peer.ask(&announce).await);
    let key = server.admin_key();
    let file = format!("/api/admin/files/{locator}");
    let kick = format!("/api/admin/peers/{}", peer.id());
    let wrong = "00".repeat(32);
    for headers in [vec![], vec![("x-api-key", wrong.as_str())], vec![("x-api-key", "x")]] {
        for (method, path) in [("GET", "/api/admin/peers"), ("DELETE", &file), ("DELETE", &kick)] {
            call(server.addr(), method, path, &headers, "").await.refused(401);
        }
    }
    let admin = [("x-api-key", key.as_str())];
    let seen = call(server.addr(), "GET", "/api/admin/peers", &admin, "").await.ok();
    assert_eq!((&seen["count"], &seen["peers"][0]["id"]), (&json!(1), &json!(peer.id())));
    let said = call(server.addr(), "DELETE", &file, &admin, "").await.ok();
    assert_eq!(
        said,
        json!({ "message": "File deleted successfully", "hash": locator.to_string() })
    );
    assert_eq!(peer.ask(&Request::Lookup { locator }).await, Err(CallError::NotFound));
    let said = call(server.addr(), "DELETE", &file, &admin, "").await.refused(404);
    assert_eq!(said, "File not found");
    let said = call(server.addr(), "DELETE", &kick, &admin, "").await.ok();
    assert_eq!(said, json!({ "message": "Peer kicked successfully", "peer_id": peer.id() }));
    let said = call(server.addr(), "DELETE", &kick, &admin, "").await.refused(404);
    assert_eq!(said, "Peer not found");
}

// Spec T5b
#[tokio::test]
async fn a_native_id_without_a_login_is_nobody() {
    let server = Server::start().await;
    let nobody = instance_text(&Instance { peer: PeerId([1; 32]), number: 1 });
    for (method, path, body) in [
        ("POST", "/api/peers/register".to_owned(), json!({ "peer_id": nobody })),
        ("POST", "/api/peers/heartbeat".to_owned(), json!({ "peer_id": nobody })),
        ("POST", "/api/files/announce".to_owned(), json!({ "peer_id": nobody, "file": {} })),
        ("DELETE", format!("/api/peers/{nobody}"), Value::Null),
    ] {
        call(server.addr(), method, &path, &[], body.to_string()).await.refused(401);
    }
}
