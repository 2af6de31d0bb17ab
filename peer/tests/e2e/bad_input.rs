//! Links, trackers and targets that are wrong: one clear sentence and the right exit code each.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::world::{World, text};

const LOCATOR: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const SECRET: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn fails(args: &[&str], code: i32, says: &str) {
    let world = World::new();
    let got = world.run(args);
    let said = text(&got.stderr);
    assert_eq!(got.status.code(), Some(code), "{args:?}: {said}");
    assert!(said.to_lowercase().contains(says), "{args:?}: {said}");
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{said}");
}

#[test]
fn wrong_and_cut_links_are_named() {
    fails(&["get", "hello"], 3, "link");
    fails(&["get", "ftp://host/f/x"], 3, "link");
    fails(&["get", &format!("http://127.0.0.1:1/f/{}", &LOCATOR[..60])], 3, "copy it whole");
    let cut = format!("http://127.0.0.1:1/f/{LOCATOR}#{}", &SECRET[..40]);
    fails(&["get", &cut], 3, "copy it whole");
}

#[test]
fn wrong_usage_has_its_code() {
    fails(&["get"], 2, "usage");
    fails(&["share"], 2, "usage");
    fails(&["share", "x", "--limit-up", "fast"], 2, "rate");
    let link = format!("http://127.0.0.1:1/f/{LOCATOR}#{SECRET}");
    let got = World::new().run(&["get", &link, "-o", "-", "--json"]);
    assert_eq!(got.status.code(), Some(2));
}

#[test]
fn a_missing_source_is_named() {
    fails(&["share", "no-such-file"], 9, "no-such-file");
    fails(&["inspect", "no-such-file"], 9, "no-such-file");
}

#[test]
fn a_tracker_that_is_down_is_waited_for_and_named() {
    let link = format!("http://127.0.0.1:1/f/{LOCATOR}#{SECRET}");
    fails(&["get", &link, "--timeout", "1"], 5, "127.0.0.1:1");
}

#[test]
fn an_unknown_id_is_nobody_online() {
    let world = World::new();
    world.file("a", 10);
    let share = world.share(&["a"]);
    let other = share.link.split("/f/").next().unwrap().to_owned();
    let link = format!("{other}/f/{LOCATOR}#{SECRET}");
    let got = world.run(&["get", &link, "--timeout", "1"]);
    assert_eq!(got.status.code(), Some(4), "{}", text(&got.stderr));
}

#[test]
fn a_wrong_secret_gets_nothing() {
    let world = World::new();
    world.file("a", 10);
    let share = world.share(&["a"]);
    let link = format!("{}#{SECRET}", share.link.split('#').next().unwrap());
    let got = world.run(&["get", &link, "--timeout", "2", "-o", "b", "--json"]);
    assert!(!got.status.success());
    assert!(!world.path("b").exists());
    assert!(text(&got.stdout).contains("peer_dropped"), "{}", text(&got.stdout));
}

/// A tracker that answers every request with the same bytes.
fn lying_tracker(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer);
            });
        }
    });
    format!("http://{address}/f/{LOCATOR}#{SECRET}")
}

#[test]
fn a_tracker_that_answers_garbage_is_survived() {
    let answers: [&'static [u8]; 6] = [
        b"\x00\x01\x02garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n<htm>",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 27\r\n\r\n{\"peers\":[{\"peer_id\":\"x\"}]}",
        b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n",
        b"",
    ];
    for answer in answers {
        let link = lying_tracker(answer);
        let world = World::new();
        let got = world.run(&["get", &link, "--timeout", "1", "--json"]);
        let code = got.status.code().unwrap();
        assert!(code == 4 || code == 5, "{code}: {}", text(&got.stdout));
        assert!(!text(&got.stderr).contains("panicked"), "{}", text(&got.stderr));
    }
}
