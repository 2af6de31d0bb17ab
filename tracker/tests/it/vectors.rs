//! The conversation of `spec/vectors/tracker_server.json`: every call and its whole answer.

use serde_json::Value;

use crate::client::call;
use crate::harness::Server;
use crate::peer::Peer;

/// Whether `is` is what is expected; `*` at the end of an expected text stands for anything.
fn fits(is: &Value, expected: &Value) -> bool {
    match (is, expected) {
        (Value::String(is), Value::String(expected)) => match expected.strip_suffix('*') {
            Some(start) => is.starts_with(start),
            None => is == expected,
        },
        (Value::Array(is), Value::Array(expected)) => {
            is.len() == expected.len() && is.iter().zip(expected).all(|(is, it)| fits(is, it))
        }
        (Value::Object(is), Value::Object(expected)) => {
            is.len() == expected.len()
                && expected.iter().all(|(name, it)| is.get(name).is_some_and(|is| fits(is, it)))
        }
        (is, expected) => is == expected,
    }
}

// Spec T1, T2, T5, T5b, T8, T11, T15, T15b, T16
#[tokio::test]
async fn a_whole_conversation_is_as_the_vectors_say() {
    let file = include_str!("../../../spec/vectors/tracker_server.json");
    let file: Value = serde_json::from_str(file).unwrap();
    let server = Server::start().await;
    let (a, b) = (Peer::login(&server, 0x11, 1).await, Peer::login(&server, 0x22, 2).await);
    assert_eq!((a.id().as_str(), b.id().as_str()), {
        let id = |name: &str| file["peers"][name]["peer_id"].as_str().unwrap();
        (id("A"), id("B"))
    });
    let steps = file["steps"].as_array().unwrap();
    assert!(steps.len() > 50);
    for (number, step) in steps.iter().enumerate() {
        let (method, path) = step["call"].as_str().unwrap().split_once(' ').unwrap();
        let body = step["body"].as_str().unwrap_or_default().to_owned();
        let reply = match step["as"].as_str() {
            Some("A") => a.http(method, path, body).await,
            Some(_) => b.http(method, path, body).await,
            None => call(server.addr(), method, path, &[], body).await,
        };
        let said = format!("step {number}, {step}\nanswered {} {}", reply.status, reply.text());
        assert_eq!(step["status"], reply.status, "{said}");
        match step["text"].as_str() {
            Some(text) => assert_eq!(reply.text(), text, "{said}"),
            None => assert!(fits(&reply.json(), &step["json"]), "{said}"),
        }
    }
}
