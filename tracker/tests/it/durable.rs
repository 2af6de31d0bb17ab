//! What survives a restart, on each database.

use serde_json::json;
use towpath_core::id::{Descriptor, Hash, Kind, Locator};
use towpath_core::tracker_api::{PublicFile, Request, Response};

use crate::harness::{Server, databases};
use crate::peer::Peer;

const PRIVATE: Locator = Locator([0x5e; 32]);

// Spec T6, T13, T14
#[tokio::test]
async fn announces_keys_and_tokens_survive_a_restart() {
    for database in databases().await {
        let server = Server::with(|config| config.database = database.clone()).await;
        let peer = Peer::login(&server, 1, 1).await;
        let descriptor = Descriptor { kind: Kind::Manifest, length_bytes: 9, root: Hash([4; 32]) };
        let public = Some(PublicFile { name: "O'Hara; ünï".to_owned(), descriptor });
        let locator = descriptor.locator(None);
        let addresses = vec!["127.0.0.1:4000".parse().unwrap()];
        for request in [
            Request::Register { me: peer.me, addresses, suites: vec![], relay: false },
            Request::Announce { me: peer.me, locator, public, seeder: true },
            Request::Announce { me: peer.me, locator: PRIVATE, public: None, seeder: false },
        ] {
            assert!(matches!(peer.ask(&request).await, Ok(Response::Done { .. })));
        }
        let (token, me, id) = (peer.token.clone(), peer.me, peer.id());
        peer.vanish();
        let key = server.admin_key();
        let server = server.restart(database.clone()).await;
        assert_eq!(server.admin_key(), key);

        // Known, and nobody is there.
        let found = server.get(&format!("/api/files/{locator}")).await.ok();
        assert_eq!(found["file_name"], "O'Hara; ünï");
        assert_eq!((&found["kind"], &found["peers"]), (&json!("manifest"), &json!(null)));
        let page = server.get(&format!("/f/{locator}")).await;
        assert!(page.text().contains("Nobody who has it is online"));

        // The old token is good, and one heartbeat brings everything back.
        let bearer = format!("Bearer {token}");
        let both = [locator.to_string(), PRIVATE.to_string()];
        let body = json!({ "peer_id": id, "files_hashes": both }).to_string();
        let headers = [("authorization", bearer.as_str())];
        let path = "/api/peers/heartbeat";
        crate::client::call(server.addr(), "POST", path, &headers, body).await.ok();
        let found = server.get(&format!("/api/files/{locator}")).await.ok();
        assert_eq!(found["peers"][0]["addresses"], json!(["127.0.0.1:4000"]));
        let found = server.get(&format!("/api/files/{PRIVATE}")).await.ok();
        assert_eq!((&found["seeders"], &found["leechers"]), (&json!(0), &json!(1)));
        assert_eq!(found["file_name"], "");

        // So does a login alone, after another restart.
        let server = server.restart(database).await;
        let peer = Peer::login(&server, 1, 1).await;
        assert_eq!(peer.me, me);
        let online = async {
            loop {
                let found = server.get(&format!("/api/files/{locator}")).await.ok();
                if found["peers"][0]["peer_id"] == id {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let limit = std::time::Duration::from_secs(20);
        tokio::time::timeout(limit, online).await.expect("a login makes it online");
        server.running.shutdown().await;
    }
}

// Spec T14
#[tokio::test]
async fn many_announces_at_once_are_all_kept() {
    for database in databases().await {
        let server = Server::with(|config| config.database = database.clone()).await;
        let server = std::sync::Arc::new(server);
        let calls: Vec<_> = (0..200)
            .map(|n| {
                let server = std::sync::Arc::clone(&server);
                tokio::spawn(async move {
                    let body = json!({ "peer_id": format!("peer-{}", n % 7), "file": {
                        "name": format!("file {n}"), "size": n, "hash": format!("{n:064}") } });
                    server.post("/api/files/announce", &body).await.ok();
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        let listed = server.get("/api/files").await.ok();
        assert_eq!(listed["files"].as_array().unwrap().len(), 200);
        let server = std::sync::Arc::into_inner(server).unwrap().restart(database).await;
        for n in [0, 99, 199] {
            let found = server.get(&format!("/api/files/{n:064}")).await.ok();
            assert_eq!(found["file_name"], format!("file {n}"));
        }
    }
}

#[tokio::test]
async fn chunks_of_founding_files_come_back_as_they_were() {
    for database in databases().await {
        let server = Server::with(|config| config.database = database.clone()).await;
        let chunks = json!([
            { "index": 0, "hash": "aa", "size": 9 },
            { "index": 1, "hash": "bb", "size": 1 },
        ]);
        let body = json!({ "peer_id": "p", "file": { "name": "n", "size": 10, "hash": "cafe",
                           "chunk_size": 9, "chunks": chunks } });
        server.post("/api/files/announce", &body).await.ok();
        let server = server.restart(database).await;
        let found = server.get("/api/files/cafe/peers").await.ok();
        assert_eq!((&found["chunks"], &found["chunk_count"]), (&chunks, &json!(2)));
        // A founding client registers once and then only says that it is there.
        server.post("/api/peers/heartbeat", &json!({ "peer_id": "p" })).await.ok();
        let found = server.get("/api/files/cafe/peers").await.ok();
        assert_eq!(
            (&found["seeders"], &found["peers"]),
            (&json!(1), &json!(null)),
            "without an address"
        );
        server.post("/api/peers/register", &json!({ "peer_id": "p", "port": 9 })).await.ok();
        let found = server.get("/api/files/cafe/peers").await.ok();
        assert_eq!(found["peers"][0]["chunks_available"], json!([0, 1]));
    }
}
