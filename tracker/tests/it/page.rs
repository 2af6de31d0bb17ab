//! The page behind a link.

use serde_json::json;
use towpath_core::id::{Descriptor, Hash, Kind, Locator};
use towpath_core::tracker_api::{PublicFile, Request};

use crate::harness::Server;
use crate::peer::Peer;

// Spec K11
#[tokio::test]
async fn a_public_share_shows_its_name_harmlessly() {
    let server = Server::start().await;
    let peer = Peer::login(&server, 1, 1).await;
    let descriptor = Descriptor { kind: Kind::File, length_bytes: 1_500, root: Hash([3; 32]) };
    let locator = descriptor.locator(None);
    let name = "<script>alert('x')</script>".to_owned();
    let public = Some(PublicFile { name, descriptor });
    peer.ask(&Request::Announce { me: peer.me, locator, public, seeder: true }).await.unwrap();
    let page = server.get(&format!("/f/{locator}")).await;
    assert_eq!(page.status, 200);
    assert!(!page.text().contains("<script>alert"), "{}", page.text());
    assert!(page.text().contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
    assert!(page.text().contains("1.5 kB"));
    assert!(page.text().contains("One peer that has it is online"));
    let command = format!("towpath get 'http://{}/f/{locator}'", server.addr());
    assert!(page.text().contains(&command), "{}", page.text());
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
    assert!(
        !page.text().contains("src=") && !page.text().contains("href="),
        "nothing from elsewhere"
    );
}

// Spec K3, K11
#[tokio::test]
async fn a_private_share_shows_nothing_of_itself() {
    let server =
        Server::with(|config| config.public_url = Some("https://t.example/".to_owned())).await;
    assert_eq!(server.running.url(), "https://t.example");
    let peer = Peer::login(&server, 1, 1).await;
    let locator = Locator([5; 32]);
    let announce = Request::Announce { me: peer.me, locator, public: None, seeder: true };
    peer.ask(&announce).await.unwrap();
    let page = server.get(&format!("/f/{locator}")).await;
    assert_eq!(page.status, 200);
    assert!(page.text().contains("A private share"));
    assert!(page.text().contains("Who serves this page could read the secret"));
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
    assert!(!page.text().contains("src=") && !page.text().contains("href="));
    let command = format!("towpath get 'https://t.example/f/{locator}#SECRET'");
    assert!(page.text().contains(&command), "{}", page.text());
}

#[tokio::test]
async fn what_is_unknown_or_no_link_says_so() {
    let server = Server::start().await;
    let page = server.get(&format!("/f/{}", "0".repeat(64))).await;
    assert_eq!(page.status, 404);
    assert!(page.text().contains("Nothing is known under this link"));
    for wrong in ["x", &"0".repeat(63), &"A".repeat(64), "%3Cscript%3E"] {
        let page = server.get(&format!("/f/{wrong}")).await;
        assert_eq!(page.status, 404);
        assert!(page.text().contains("not a whole link"));
        assert!(!page.text().contains("<script>x"));
    }
    assert!(server.get("/").await.text().contains("A Towpath tracker"));
    // A founding file is no link of ours.
    let body = json!({ "peer_id": "p", "file": { "name": "n", "hash": "1".repeat(64) } });
    server.post("/api/files/announce", &body).await.ok();
    assert_eq!(server.get(&format!("/f/{}", "1".repeat(64))).await.status, 404);
}
