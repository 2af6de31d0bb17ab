//! A tracker that lies: what it says instead of the truth, as bytes, read as a runtime reads them.
//!
//! It may deny everything and invent everybody; what its words mean to an honest peer is decided by
//! [`decode_reply`], which is part of what is tried here.

use std::fmt::Write as _;
use std::net::SocketAddr;

use towpath_core::rng::Rng;
use towpath_core::tracker_api::{
    CallError, PeerEntry, Request, Response, decode_reply, instance_text, suite_text,
};

use towpath_core::id::{Instance, PeerId};

/// What is counted of it.
pub const LIES: &[&str] = &[
    "lying tracker: thousands of peers",
    "lying tracker: wrong keys for addresses",
    "lying tracker: nobody",
    "lying tracker: garbage",
    "lying tracker: endless list",
    "lying tracker: odd interval",
    "lying tracker: refuses",
    "lying tracker: names the caller",
    "lying tracker: wrong metadata",
];

/// A lie instead of the truth, and which.
///
/// # Errors
/// What the lie means to who asked.
pub fn lie(
    rng: &mut Rng,
    me: Option<Instance>,
    request: &Request,
    truth: &Result<Response, CallError>,
) -> (Result<Response, CallError>, &'static str) {
    let known = match truth {
        Ok(Response::Peers(entries)) => entries.as_slice(),
        Ok(Response::Done { .. }) | Err(_) => &[],
    };
    let which = if matches!(request, Request::Lookup { .. }) {
        rng.below(LIES.len() as u64) as usize
    } else {
        [3, 4, 5, 6][rng.below(4) as usize]
    };
    let (mut status, mut retry) = (200, None);
    let body = match which {
        0 => peers(&(0..3_000).map(|_| invented(rng, known)).collect::<Vec<_>>(), ""),
        1 => peers(&crossed(rng, known), ""),
        2 if rng.below(2) == 0 => {
            status = 404;
            r#"{"error":"nobody has that"}"#.into()
        }
        2 => peers(&[], ""),
        3 => garbage(rng),
        4 => format!(r#"{{"peers":[{}"#, r#"{"peer_id":"x"},"#.repeat(1 << 17)),
        5 => {
            let pace = [0, 1, u64::from(u32::MAX), u64::MAX][rng.below(4) as usize];
            format!(r#"{{"success":true,"next_heartbeat_in":{pace},"peers":[]}}"#)
        }
        6 => {
            status = [401, 403, 429, 500, 503, 302, 599][rng.below(7) as usize];
            retry = [None, Some(0), Some(1), Some(u32::MAX)][rng.below(4) as usize];
            [r#"{"error":"no"}"#, "no", ""][rng.below(3) as usize].into()
        }
        7 => peers(&me.into_iter().map(|me| caller(me, known)).collect::<Vec<_>>(), ""),
        _ => {
            let length = rng.next_u64();
            let wrong = format!(
                r#""file_name":"../../x","file_size":{length},"chunk_count":9,"chunk_size":1,"#
            );
            peers(known, &wrong)
        }
    };
    (decode_reply(request, status, retry, body.as_bytes()), LIES[which])
}

fn peers(entries: &[PeerEntry], more: &str) -> String {
    let mut body = format!(r#"{{{more}"peers":["#);
    for (number, entry) in entries.iter().enumerate() {
        let comma = if number > 0 { "," } else { "" };
        let addresses: Vec<String> =
            entry.addresses.iter().map(|address| format!("\"{address}\"")).collect();
        let suites: Vec<String> =
            entry.suites.iter().map(|suite| format!("\"{}\"", suite_text(*suite))).collect();
        let _ = write!(
            body,
            r#"{comma}{{"peer_id":"{}","addresses":[{}],"suites":[{}],"relay":{},"is_seeder":{}}}"#,
            instance_text(&entry.instance),
            addresses.join(","),
            suites.join(","),
            entry.relay,
            entry.seeder,
        );
    }
    body.push_str("]}");
    body
}

fn key(rng: &mut Rng) -> PeerId {
    let mut key = [0; 32];
    for part in key.chunks_mut(8) {
        part.copy_from_slice(&rng.next_u64().to_be_bytes());
    }
    PeerId(key)
}

/// Somebody who does not exist, where somebody else is, or where nobody is.
fn invented(rng: &mut Rng, known: &[PeerEntry]) -> PeerEntry {
    let mut addresses: Vec<SocketAddr> =
        known.iter().flat_map(|entry| entry.addresses.clone()).collect();
    addresses.push(SocketAddr::from(([192, 0, 2, 1], 4_000)));
    rng.shuffle(&mut addresses);
    addresses.truncate(1 + rng.below(2) as usize);
    let instance = Instance { peer: key(rng), number: rng.next_u64() };
    let relay = rng.below(2) == 0;
    PeerEntry { instance, addresses, suites: Vec::new(), relay, seeder: true }
}

/// Everybody at somebody else's address, and under another number.
fn crossed(rng: &mut Rng, known: &[PeerEntry]) -> Vec<PeerEntry> {
    let mut addresses: Vec<Vec<SocketAddr>> =
        known.iter().map(|entry| entry.addresses.clone()).collect();
    rng.shuffle(&mut addresses);
    let mut crossed = known.to_vec();
    for (entry, addresses) in crossed.iter_mut().zip(addresses) {
        entry.addresses = addresses;
        if rng.below(2) == 0 {
            entry.instance.number ^= 1;
        }
    }
    crossed
}

fn caller(me: Instance, known: &[PeerEntry]) -> PeerEntry {
    let addresses = known.iter().flat_map(|entry| entry.addresses.clone()).collect();
    PeerEntry { instance: me, addresses, suites: Vec::new(), relay: true, seeder: true }
}

fn garbage(rng: &mut Rng) -> String {
    match rng.below(5) {
        0 => String::new(),
        1 => "[".repeat(100_000),
        2 => r#"{"peers":[{"peer_id":7}]}"#.into(),
        3 => r#"{"success":"yes","peers":{}}"#.into(),
        _ => "<html>\u{0}\u{202e}</html>".into(),
    }
}
