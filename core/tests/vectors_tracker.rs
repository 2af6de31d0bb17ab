//! The vectors of the spec's chapter "Tracker": calls byte for byte, and what answers mean.

use serde_json::Value;
use towpath_core::id::{Descriptor, Instance, Kind, Locator};
use towpath_core::session::Suite;
use towpath_core::tracker_api::{
    CallError, PublicFile, Request, Response, decode_reply, encode_request, instance_text,
    parse_instance,
};

fn file() -> Value {
    serde_json::from_str(include_str!("../../spec/vectors/tracker.json")).expect("a JSON file")
}

fn me() -> Instance {
    parse_instance(file()["me"].as_str().expect("a string")).expect("a native peer")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is a string in {value}"))
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("{name} is a list in {value}"))
}

fn flag(value: &Value, name: &str) -> bool {
    value[name].as_bool().unwrap_or_else(|| panic!("{name} is true or false in {value}"))
}

fn suites(value: &Value) -> Vec<Suite> {
    let suite = |n: &Value| if n == 1 { Suite::AesGcm } else { Suite::ChaChaPoly };
    list(value, "suites").iter().map(suite).collect()
}

fn locator(value: &Value) -> Locator {
    text(value, "locator").parse().expect("a locator")
}

fn request(value: &Value) -> Request {
    let (name, about) = value.as_object().and_then(|o| o.iter().next()).expect("one request");
    match name.as_str() {
        "register" => Request::Register {
            me: me(),
            addresses: list(about, "addresses")
                .iter()
                .map(|a| a.as_str().and_then(|a| a.parse().ok()).expect("an address"))
                .collect(),
            suites: suites(about),
            relay: flag(about, "relay"),
        },
        "announce" => Request::Announce {
            me: me(),
            locator: locator(about),
            public: about.get("public").map(|public| PublicFile {
                name: text(public, "name").to_owned(),
                descriptor: Descriptor {
                    kind: if public["kind"] == 0 { Kind::File } else { Kind::Manifest },
                    length_bytes: public["length_bytes"].as_u64().expect("a length"),
                    root: text(public, "root").parse().expect("a root"),
                },
            }),
            seeder: flag(about, "seeder"),
        },
        "heartbeat" => Request::Heartbeat {
            me: me(),
            locators: list(about, "locators")
                .iter()
                .map(|l| l.as_str().and_then(|l| l.parse().ok()).expect("a locator"))
                .collect(),
        },
        "lookup" => Request::Lookup { locator: locator(about) },
        "remove" => Request::Remove { me: me() },
        other => panic!("no such request: {other}"),
    }
}

#[test]
fn calls_are_written_byte_for_byte() {
    let file = file();
    let calls = list(&file, "calls");
    assert!(calls.len() >= 7);
    for vector in calls {
        let call = encode_request(&request(&vector["request"]));
        assert_eq!(call.method, text(vector, "method"));
        assert_eq!(call.path, text(vector, "path"));
        let body = call.body.map(|body| String::from_utf8(body).expect("JSON is UTF-8"));
        assert_eq!(body.as_deref(), vector["body"].as_str());
    }
}

// Spec T1, T2, T3, T4, T19
#[test]
fn answers_mean_what_the_spec_says() {
    let file = file();
    let asked = |name: &str| {
        let call = list(&file, "calls").iter().find(|call| call["request"].get(name).is_some());
        request(&call.expect("there is a call of each kind")["request"])
    };
    let answers = list(&file, "answers");
    assert!(answers.len() >= 19);
    for vector in answers {
        let status = vector["status"].as_u64().and_then(|s| u16::try_from(s).ok());
        let retry = vector.get("retry_after").and_then(Value::as_u64).map(|n| n as u32);
        let reply = decode_reply(
            &asked(text(vector, "to")),
            status.expect("a status"),
            retry,
            text(vector, "body").as_bytes(),
        );
        check(vector, &reply);
    }
}

fn check(vector: &Value, reply: &Result<Response, CallError>) {
    let means = &vector["means"];
    match (means.as_str(), reply) {
        (Some("garbage"), Err(CallError::Garbage(_)))
        | (Some("not_found"), Err(CallError::NotFound))
        | (Some("unauthorized"), Err(CallError::Unauthorized)) => {}
        (None, Err(CallError::Busy { retry_after_seconds })) => {
            assert_eq!(means["busy"], *retry_after_seconds, "{vector}");
        }
        (None, Err(CallError::Refused(why))) => assert_eq!(means["refused"], *why, "{vector}"),
        (None, Ok(Response::Done { next_heartbeat_seconds })) => {
            let done = means.get("done").expect("it is done");
            assert_eq!(done.as_u64(), next_heartbeat_seconds.map(u64::from), "{vector}");
        }
        (None, Ok(Response::Peers(peers))) => {
            let wanted = list(means, "peers");
            assert_eq!(peers.len(), wanted.len(), "{vector}");
            for (peer, wanted) in peers.iter().zip(wanted) {
                assert_eq!(instance_text(&peer.instance), text(wanted, "peer_id"));
                let addresses: Vec<String> =
                    peer.addresses.iter().map(ToString::to_string).collect();
                assert_eq!(wanted["addresses"], serde_json::json!(addresses));
                assert_eq!(peer.suites, suites(wanted));
                assert_eq!(peer.relay, flag(wanted, "relay"));
                assert_eq!(peer.seeder, flag(wanted, "seeder"));
            }
        }
        (_, other) => panic!("{vector} became {other:?}"),
    }
}
