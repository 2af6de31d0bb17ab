//! One file from many: seeders that are limited, one that dies, one that lies.

use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::liar;
use crate::world::{World, last_event, text};

const LENGTH: usize = 96_000_000;
const LIMIT: &str = "24MB";

/// A liar in a thread of its own, which ends with the test.
struct Liar {
    peer: String,
    _end: tokio::sync::oneshot::Sender<()>,
}

fn lie(link: &str, path: PathBuf, data: PathBuf) -> Liar {
    let link = link.to_owned();
    let (tell, told) = mpsc::channel();
    let (_end, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let peer = liar::lie(&link, &path, &data, Some(24_000_000)).await.unwrap();
            tell.send(peer.me().peer.to_string()).unwrap();
            // It ends when the sender is dropped.
            let _ = ended.await;
        });
    });
    let peer = told.recv_timeout(Duration::from_secs(60)).expect("it lies in time");
    Liar { peer, _end }
}

fn tracker_of(link: &str) -> String {
    link.split("/f/").next().unwrap().to_owned()
}

#[test]
fn a_liar_among_three_seeders_is_named_and_dropped_and_wastes_little() {
    let world = World::new();
    let source = world.file("a", LENGTH);
    let first = world.share(&["a", "--limit-up", LIMIT]);
    let tracker = tracker_of(&first.link);
    let second = world.share(&["a", "--limit-up", LIMIT, "--tracker", &tracker]);
    assert_eq!(first.link, second.link, "the same file, secret and tracker");
    let liar = lie(&first.link, source.clone(), world.path("data of the liar"));
    let got = world.run(&["get", &first.link, "-o", "b", "--json"]);
    assert!(got.status.success(), "{}", text(&got.stderr));
    assert!(std::fs::read(world.path("b")).unwrap() == std::fs::read(source).unwrap());
    let said = text(&got.stdout);
    let dropped: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["event"] == "peer_dropped")
        .collect();
    assert_eq!(dropped.len(), 1, "{said}");
    assert_eq!(dropped[0]["peer"], liar.peer.as_str());
    assert_eq!(dropped[0]["reason"], "it sent a chunk that is not what was shared");
    let received = last_event(&got)["received_bytes"].as_u64().unwrap() as usize;
    assert!(received <= LENGTH + LENGTH / 100, "{} bytes wasted", received - LENGTH);
}

#[test]
fn a_seeder_that_dies_half_way_is_replaced_by_the_others() {
    let world = World::new();
    let source = world.file("a", LENGTH);
    let first = world.share(&["a", "--limit-up", LIMIT]);
    let tracker = tracker_of(&first.link);
    let second = world.share(&["a", "--limit-up", LIMIT, "--tracker", &tracker]);
    let get = world.towpath(&["get", &first.link, "-o", "b", "--json"]).spawn().unwrap();
    let much = |event: &Value| event["sent_bytes"].as_u64().is_some_and(|sent| sent > 5_000_000);
    second.event(much);
    drop(second);
    let got = crate::world::finish(get);
    assert!(got.status.success(), "{}", text(&got.stderr));
    assert!(std::fs::read(world.path("b")).unwrap() == std::fs::read(source).unwrap());
}
