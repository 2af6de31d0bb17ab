//! Clients of the founding system keep working: same paths, same names, same texts.

use serde_json::{Value, json};

use crate::client::call;
use crate::harness::Server;

const PEER: &str = "7d444840-9dc0-11d1-b245-5ffdce74fad2";
const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn announce(peer: &str, name: &str) -> Value {
    json!({ "peer_id": peer, "file": {
        "name": name, "size": 5, "hash": HASH, "chunk_size": 262_144,
        "chunks": [{ "index": 0, "hash": HASH, "size": 5 }], "merkle_root": HASH,
    }})
}

async fn register(server: &Server, peer: &str, ip: &str) -> Value {
    let body = json!({ "peer_id": peer, "ip": ip, "port": 6881, "hostname": "box" });
    server.post("/api/peers/register", &body).await.ok()
}

#[tokio::test]
async fn a_file_is_announced_listed_searched_and_looked_up() {
    let server = Server::start().await;
    assert_eq!(server.get("/api/files").await.text(), r#"{"files":null}"#);
    assert_eq!(
        register(&server, PEER, "").await,
        json!({ "success": true, "message": "Registered successfully" })
    );
    let said = server.post("/api/files/announce", &announce(PEER, "Test.txt")).await.ok();
    assert_eq!(said, json!({ "success": true, "file_id": HASH }));

    let listed = server.get("/api/files").await.ok();
    let file = &listed["files"][0];
    assert_eq!(
        (&file["hash"], &file["name"], &file["size"]),
        (&json!(HASH), &json!("Test.txt"), &json!(5))
    );
    assert_eq!((&file["seeders"], &file["leechers"]), (&json!(1), &json!(0)));
    assert!(file["added_at"].as_str().unwrap().ends_with('Z'));

    let found = server.get("/api/files/search?q=test.T").await.ok();
    assert_eq!((&found["query"], &found["count"]), (&json!("test.T"), &json!(1)));
    let found = server.get("/api/files/search?q=other").await.ok();
    assert_eq!((&found["files"], &found["count"]), (&Value::Null, &json!(0)));
    let refused = server.get("/api/files/search").await.refused(400);
    assert_eq!(refused, "Query parameter 'q' is required");

    for path in [format!("/api/files/{HASH}/peers"), format!("/api/files/{HASH}")] {
        let found = server.get(&path).await.ok();
        assert_eq!(found["file_hash"], HASH);
        assert_eq!(found["chunk_count"], 1);
        assert_eq!(found["chunk_size"], 262_144);
        assert_eq!(found["chunks"], json!([{ "index": 0, "hash": HASH, "size": 5 }]));
        assert_eq!(
            found["peers"],
            json!([{ "peer_id": PEER, "ip": "127.0.0.1", "port": 6881, "hostname": "box",
                     "chunks_available": [0], "is_seeder": true }])
        );
    }
    assert_eq!(server.get("/api/files/unknown/peers").await.refused(404), "File not found");
}

#[tokio::test]
async fn heartbeats_and_removals_always_succeed() {
    let server = Server::start().await;
    let alive = json!({ "success": true, "next_heartbeat_in": 30 });
    for body in [
        json!({ "peer_id": "nobody-knows", "files_hashes": null }),
        json!({ "peer_id": "nobody-knows", "files_hashes": [HASH] }),
        json!({ "peer_id": "nobody-knows" }),
    ] {
        assert_eq!(server.post("/api/peers/heartbeat", &body).await.ok(), alive);
    }
    let gone = json!({ "success": true });
    assert_eq!(server.delete("/api/peers/nobody-knows").await.ok(), gone);

    register(&server, PEER, "").await;
    server.post("/api/files/announce", &announce(PEER, "a")).await.ok();
    server.post("/api/files/announce", &announce(PEER, "a")).await.ok();
    let found = server.get(&format!("/api/files/{HASH}/peers")).await.ok();
    assert_eq!(found["peers"].as_array().unwrap().len(), 1, "announced twice, listed once");
    assert_eq!(server.delete(&format!("/api/peers/{PEER}")).await.ok(), gone);
    let found = server.get(&format!("/api/files/{HASH}/peers")).await.ok();
    assert_eq!(found["peers"], Value::Null, "it is known, and nobody has it");
    assert_eq!(server.get("/api/files").await.text(), r#"{"files":null}"#);
}

#[tokio::test]
async fn a_public_address_counts_only_from_there() {
    let server =
        Server::with(|config| config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()]).await;
    for (said, listed) in [
        ("8.8.8.8", "9.9.9.9"),
        ("9.9.9.9", "9.9.9.9"),
        ("192.168.1.7", "192.168.1.7"),
        ("localhost", "9.9.9.9"),
        ("127.0.0.1", "9.9.9.9"),
        ("", "9.9.9.9"),
    ] {
        let body = json!({ "peer_id": PEER, "ip": said, "port": 6881 }).to_string();
        let via = [("x-forwarded-for", "9.9.9.9")];
        call(server.addr(), "POST", "/api/peers/register", &via, body).await.ok();
        let body = announce(PEER, "a").to_string();
        call(server.addr(), "POST", "/api/files/announce", &via, body).await.ok();
        let found = server.get(&format!("/api/files/{HASH}")).await.ok();
        assert_eq!(found["peers"][0]["ip"], listed, "said {said:?}");
    }
}

#[tokio::test]
async fn nobody_else_speaks_for_a_peer_that_is_online() {
    let server =
        Server::with(|config| config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()]).await;
    let mine = [("x-forwarded-for", "10.0.0.1")];
    let others = [("x-forwarded-for", "10.0.0.2")];
    let register = json!({ "peer_id": PEER, "ip": "", "port": 1 }).to_string();
    let path = "/api/peers/register";
    call(server.addr(), "POST", path, &mine, register.clone()).await.ok();
    let body = announce(PEER, "mine").to_string();
    call(server.addr(), "POST", "/api/files/announce", &mine, body).await.ok();

    call(server.addr(), "POST", path, &others, register.clone()).await.refused(403);
    let body = announce(PEER, "theirs").to_string();
    call(server.addr(), "POST", "/api/files/announce", &others, body).await.refused(403);
    let path = format!("/api/peers/{PEER}");
    call(server.addr(), "DELETE", &path, &others, "").await.ok();
    let found = server.get(&format!("/api/files/{HASH}")).await.ok();
    assert_eq!(
        (&found["peers"][0]["ip"], &found["file_name"]),
        (&json!("10.0.0.1"), &json!("mine"))
    );
    call(server.addr(), "DELETE", &path, &mine, "").await.ok();
    assert_eq!(server.get(&format!("/api/files/{HASH}")).await.ok()["peers"], Value::Null);
}

#[tokio::test]
async fn the_first_name_of_a_file_stays_while_its_giver_is_there() {
    let server = Server::start().await;
    register(&server, PEER, "").await;
    register(&server, "other", "").await;
    server.post("/api/files/announce", &announce(PEER, "first")).await.ok();
    server.post("/api/files/announce", &announce("other", "second")).await.ok();
    let found = server.get(&format!("/api/files/{HASH}")).await.ok();
    assert_eq!((&found["file_name"], &found["seeders"]), (&json!("first"), &json!(2)));
    server.post("/api/files/announce", &announce(PEER, "third")).await.ok();
    let found = server.get(&format!("/api/files/{HASH}")).await.ok();
    assert_eq!(found["file_name"], "third");
    server.delete(&format!("/api/peers/{PEER}")).await.ok();
    server.post("/api/files/announce", &announce("other", "second")).await.ok();
    let found = server.get(&format!("/api/files/{HASH}")).await.ok();
    assert_eq!(found["file_name"], "third", "nothing changed for its other holder");
}

// Spec R1
#[tokio::test]
async fn a_relay_that_speaks_another_protocol_is_refused_in_words() {
    let server = Server::start().await;
    let said = server.get("/relay?peer_id=x").await.refused(400);
    assert!(said.contains("WebSocket"), "{said}");
    let headers = [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let reply = call(server.addr(), "GET", "/relay?peer_id=x", &headers, "").await;
    let said = reply.refused(400);
    assert!(said.contains("towpath-relay-v1"), "{said}");
}

#[tokio::test]
async fn the_rest_is_as_it_was() {
    let server = Server::start().await;
    assert_eq!(server.get("/health").await.text(), "OK");
    let reply = server.get("/nowhere").await;
    assert_eq!((reply.status, reply.text()), (404, "404 page not found"));
    let reply = call(server.addr(), "PUT", "/api/files", &[], "").await;
    assert_eq!(reply.status, 405);
    assert!(reply.headers["allow"].to_str().unwrap().contains("GET"));
    assert_eq!(server.get("/api/relay/peers").await.text(), r#"{"count":0,"peers":[]}"#);
}
