//! Vectors of `spec/vectors` that the session must reproduce byte for byte.

#![allow(clippy::unwrap_used)] // helpers of tests: a failure is a failed test

use serde_json::Value;
use towpath_core::crypto::noise::{Handshake, Pattern};
use towpath_core::id::PeerId;
use towpath_core::session::Suite;

fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("hex text");
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn key(value: &Value) -> [u8; 32] {
    unhex(value).try_into().unwrap()
}

fn load(text: &str) -> Vec<Value> {
    let value: Value = serde_json::from_str(text).unwrap();
    value["vectors"].as_array().unwrap().clone()
}

#[test]
fn official_noise_vectors() {
    let vectors = load(include_str!("../../spec/vectors/noise.json"));
    assert_eq!(vectors.len(), 4);
    for vector in vectors {
        let name = vector["protocol_name"].as_str().unwrap();
        let pattern = if name.contains("_IK_") { Pattern::Ik } else { Pattern::Xx };
        let suite = if name.contains("AESGCM") { Suite::AesGcm } else { Suite::ChaChaPoly };
        let new = |initiator: bool, who: &str| {
            let part = |name: &str| &vector[format!("{who}_{name}")];
            let remote = part("remote_static").as_str().map(|_| PeerId(key(part("remote_static"))));
            let (secret, ephemeral) = (key(part("static")), key(part("ephemeral")));
            let prologue = unhex(part("prologue"));
            Handshake::new(pattern, suite, initiator, &prologue, secret, ephemeral, remote)
        };
        let (mut a, mut b) = (new(true, "init"), new(false, "resp"));
        let messages = vector["messages"].as_array().unwrap();
        let count = pattern.message_bytes().len();
        for (number, message) in messages[..count].iter().enumerate() {
            let (from, to) = if number % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
            let (payload, wire) = (unhex(&message["payload"]), unhex(&message["ciphertext"]));
            assert_eq!(from.write_payload(&payload).unwrap(), wire, "{name} message {number}");
            assert_eq!(to.read_payload(&wire).unwrap(), payload);
        }
        let (mut a, mut b) = (a.finish(), b.finish());
        assert_eq!(a.handshake_hash, key(&vector["handshake_hash"]));
        assert_eq!(b.handshake_hash, a.handshake_hash);
        assert_eq!(a.remote, towpath_core::crypto::public_key(&key(&vector["resp_static"])));
        for (number, message) in messages.iter().enumerate().skip(count) {
            let (from, to) = if number % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
            let (payload, wire) = (unhex(&message["payload"]), unhex(&message["ciphertext"]));
            let mut sealed = payload.clone();
            let tag = from.send.seal(&mut sealed);
            sealed.extend_from_slice(&tag);
            assert_eq!(sealed, wire, "{name} transport message {number}");
            let mut opened = vec![0; payload.len()];
            to.receive.open_into(&wire, &mut opened).unwrap();
            assert_eq!(opened, payload);
        }
    }
}
