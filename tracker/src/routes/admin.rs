//! What only the operator may do: `/api/admin`, with the key from the data folder as `X-API-Key`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, State};
use hyper::{HeaderMap, StatusCode};
use serde_json::json;
use towpath_core::id::Secret;
use towpath_core::id::from_hex;

use super::{Answer, json as reply, peer_key, rfc3339};
use crate::app::{App, Refusal};
use crate::model::{Change, Changed, FileKey};

fn must_be_admin(app: &App, headers: &HeaderMap) -> Result<(), Refusal> {
    let said = headers.get("x-api-key").and_then(|value| value.to_str().ok());
    let said = said.and_then(|text| from_hex(text).ok()).map(Secret::new);
    // Compared in constant time.
    if said.is_some() && said == from_hex(&app.keys.admin).ok().map(Secret::new) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::UNAUTHORIZED,
        "Invalid or missing API key: send what admin.key in the data folder holds as X-API-Key.",
    ))
}

/// `GET /api/admin/peers`
pub(super) async fn peers(State(app): State<Arc<App>>, headers: HeaderMap) -> Answer {
    must_be_admin(&app, &headers)?;
    let peers: Vec<_> = app
        .directory
        .peers(Instant::now())
        .iter()
        .map(|row| {
            let address = row.founding_address.or_else(|| row.addresses.first().copied());
            json!({
                "id": row.key.to_string(),
                "ip": address.map(|address| address.ip().to_string()).unwrap_or_default(),
                "port": address.map_or(0, |address| address.port()),
                "hostname": row.hostname.as_deref().unwrap_or_default(),
                "is_online": true,
                "registered_at": rfc3339(row.registered_at),
            })
        })
        .collect();
    reply(&json!({ "count": peers.len(), "peers": peers }))
}

/// `DELETE /api/admin/peers/{id}`
pub(super) async fn remove_peer(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Answer {
    must_be_admin(&app, &headers)?;
    match app.change(Change::Remove(peer_key(&id)?)).await? {
        Changed::Existed(true) => {
            reply(&json!({ "message": "Peer kicked successfully", "peer_id": id }))
        }
        _ => Err(Refusal::not_found("Peer not found")),
    }
}

/// `DELETE /api/admin/files/{hash}`
pub(super) async fn remove_file(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(hash): Path<String>,
) -> Answer {
    must_be_admin(&app, &headers)?;
    let keys = [hash.parse().ok().map(FileKey::Native), FileKey::founding(&hash)];
    let mut existed = false;
    for key in keys.into_iter().flatten() {
        let changed = app.change(Change::DeleteFile(key)).await?;
        existed |= matches!(changed, Changed::Existed(true));
    }
    if !existed {
        return Err(Refusal::not_found("File not found"));
    }
    reply(&json!({ "message": "File deleted successfully", "hash": hash }))
}
