//! Registering, heartbeats, going: `/api/peers`, and who is on the relay.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, State};
use hyper::StatusCode;
use serde_json::json;
use towpath_core::id::Instance;
use towpath_core::limits::{MAX_ADDRESSES_PER_PEER, MAX_SHARES_PER_INSTANCE};
use towpath_core::tracker_api::json::{DoneReply, HeartbeatBody, RegisterBody};
use towpath_core::tracker_api::{instance_text, parse_address, parse_suite};

use super::{Answer, Caller, JsonBody, Token, json as reply, peer_key, plain_text};
use crate::address::{fill_in, is_global};
use crate::app::{App, Refusal};
use crate::directory::Heartbeat;
use crate::limits::{HEARTBEAT_SECONDS, MAX_HOSTNAME_BYTES, MAX_PAGE_FILES};
use crate::model::{Change, FileKey, PeerKey, PeerRow};
use crate::store::unix_now;

/// `POST /api/peers/register`
pub(super) async fn register(
    State(app): State<Arc<App>>,
    Caller(ip): Caller,
    token: Token,
    JsonBody(body): JsonBody<RegisterBody>,
) -> Answer {
    let key = peer_key(&body.peer_id)?;
    token.must_be(&key)?;
    let row = match &key {
        PeerKey::Native(_) => native_row(&key, &body, ip)?,
        PeerKey::Founding(_) => {
            must_own(&app, &key, ip)?;
            founding_row(&key, &body, ip)
        }
    };
    app.recall(&key).await?;
    app.change(Change::Register(row)).await?;
    reply(&DoneReply {
        success: true,
        message: Some("Registered successfully".to_owned()),
        ..DoneReply::default()
    })
}

fn native_row(key: &PeerKey, body: &RegisterBody, ip: IpAddr) -> Result<PeerRow, Refusal> {
    if body.addresses.len() > MAX_ADDRESSES_PER_PEER {
        return Err(Refusal::bad(format!(
            "addresses has more than {MAX_ADDRESSES_PER_PEER} entries."
        )));
    }
    let mut addresses = Vec::new();
    for text in &body.addresses {
        // spec T8
        let parsed = text.parse().ok().map(|address: SocketAddr| fill_in(address, ip).to_string());
        let Some(address) = parsed.and_then(|text| parse_address(&text)) else {
            return Err(Refusal::bad(format!(
                "addresses holds {:?}, which is not an IP address with a port (192.0.2.1:5000, \
                 [2001:db8::1]:5000).",
                plain_text(text).chars().take(80).collect::<String>()
            )));
        };
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    // Suites of later versions are nothing to us or to peers of this version.
    let suites = body.suites.iter().filter(|suite| parse_suite(suite).is_some()).cloned().collect();
    Ok(PeerRow {
        key: key.clone(),
        owner_ip: None,
        founding_address: None,
        hostname: None,
        addresses,
        suites,
        relay: body.relay,
        registered_at: unix_now(),
    })
}

/// The founding system took any address for anybody. Here a public one must be the speaker's own.
fn founding_row(key: &PeerKey, body: &RegisterBody, speaker: IpAddr) -> PeerRow {
    let said = body.ip.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    let ip = said.filter(|ip| {
        !ip.is_loopback() && !ip.is_unspecified() && (!is_global(*ip) || *ip == speaker)
    });
    let hostname = body.hostname.as_deref().map(plain_text);
    PeerRow {
        key: key.clone(),
        owner_ip: Some(speaker),
        founding_address: Some(SocketAddr::new(ip.unwrap_or(speaker), body.port)),
        hostname: hostname.filter(|name| !name.is_empty() && name.len() <= MAX_HOSTNAME_BYTES),
        addresses: Vec::new(),
        suites: Vec::new(),
        relay: false,
        registered_at: unix_now(),
    }
}

/// Founding peers have no keys: while one is online, it belongs to the address that registered it.
pub(super) fn must_own(app: &App, key: &PeerKey, ip: IpAddr) -> Result<(), Refusal> {
    let owner = app.directory.peer(Instant::now(), key).and_then(|row| row.owner_ip);
    if owner.is_some_and(|owner| owner != ip) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "This peer_id is in use from another address. Choose another, or wait until it is \
             offline.",
        ));
    }
    Ok(())
}

/// `POST /api/peers/heartbeat`
pub(super) async fn heartbeat(
    State(app): State<Arc<App>>,
    Caller(ip): Caller,
    token: Token,
    JsonBody(body): JsonBody<HeartbeatBody>,
) -> Answer {
    let key = peer_key(&body.peer_id)?;
    token.must_be(&key)?;
    match &key {
        PeerKey::Native(_) => native_heartbeat(&app, &key, &body.files_hashes).await?,
        // As in the founding system it always succeeds, also where it does nothing.
        PeerKey::Founding(_) => {
            if app.recall(&key).await? && must_own(&app, &key, ip).is_ok() {
                app.directory.heard(Instant::now(), &key);
            }
        }
    }
    reply(&DoneReply {
        success: true,
        next_heartbeat_in: Some(HEARTBEAT_SECONDS),
        ..DoneReply::default()
    })
}

async fn native_heartbeat(app: &App, key: &PeerKey, hashes: &[String]) -> Result<(), Refusal> {
    if hashes.len() > MAX_SHARES_PER_INSTANCE {
        return Err(Refusal::bad(format!(
            "files_hashes has more than {MAX_SHARES_PER_INSTANCE} entries."
        )));
    }
    let locators = hashes.iter().map(|text| text.parse().map(FileKey::Native));
    let locators: Vec<FileKey> = locators
        .collect::<Result<_, _>>()
        .map_err(|_| Refusal::bad("files_hashes must be locators of 64 lower-case hex digits."))?;
    let mut said = app.directory.heartbeat(Instant::now(), key, &locators);
    if said == Heartbeat::Stranger && app.recall(key).await? {
        said = app.directory.heartbeat(Instant::now(), key, &locators);
    }
    // spec T11
    match said {
        Heartbeat::Stranger => Err(Refusal::not_found("Peer not found")),
        Heartbeat::Unknown => Err(Refusal::not_found("File not found")),
        Heartbeat::Fine { withdrawn } => {
            for file in withdrawn {
                app.change(Change::Withdraw(key.clone(), file)).await?;
            }
            Ok(())
        }
    }
}

/// `DELETE /api/peers/{id}`
pub(super) async fn remove(
    State(app): State<Arc<App>>,
    Caller(ip): Caller,
    token: Token,
    Path(id): Path<String>,
) -> Answer {
    let key = peer_key(&id)?;
    token.must_be(&key)?;
    let known = app.recall(&key).await?;
    // As in the founding system it always succeeds; but only the owner's does something.
    if known && must_own(&app, &key, ip).is_ok() {
        app.change(Change::Remove(key)).await?;
    }
    reply(&DoneReply { success: true, ..DoneReply::default() })
}

/// `GET /api/relay/peers`
pub(super) async fn relay(State(app): State<Arc<App>>) -> Answer {
    let peers = app.directory.relay_peers(Instant::now(), MAX_PAGE_FILES);
    let peers: Vec<String> =
        peers.iter().map(|instance: &Instance| instance_text(instance)).collect();
    reply(&json!({ "count": peers.len(), "peers": peers }))
}
