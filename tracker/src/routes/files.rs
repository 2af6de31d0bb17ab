//! Announcing, listing, searching, looking up: `/api/files`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, Query, State};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use towpath_core::id::{Descriptor, Hash, Kind, Locator, PeerId, to_hex};
use towpath_core::limits::{
    MAX_ANNOUNCED_CHUNKS, MAX_FILE_BYTES, MAX_LOOKUP_PEERS, MAX_NAME_BYTES,
};
use towpath_core::tracker_api::json::{AnnounceBody, DoneReply, FileBody, PeerBody};
use towpath_core::tracker_api::kind_text;

use super::peers::must_own;
use super::{
    AnnounceJson, Answer, Caller, JsonBody, Token, json as reply, peer_key, plain_text, rfc3339,
};
use crate::app::{App, Refusal};
use crate::directory::{Listed, PeerView};
use crate::limits::{MAX_PAGE_FILES, MAX_QUERY_BYTES};
use crate::model::{Change, FileKey, FileRow, PeerKey, PeerRow};
use crate::store::unix_now;

/// Numbers of chunks in one answer, all peers together: founding clients get them spelt out.
const MAX_CHUNK_NUMBERS: usize = 1_000_000;

/// `POST /api/files/announce`
pub(super) async fn announce(
    State(app): State<Arc<App>>,
    Caller(ip): Caller,
    token: Token,
    JsonBody(body): AnnounceJson<AnnounceBody>,
) -> Answer {
    let by = peer_key(&body.peer_id)?;
    token.must_be(&by)?;
    let file = match &by {
        PeerKey::Native(_) => native_file(&by, &body)?,
        PeerKey::Founding(_) => {
            must_own(&app, &by, ip)?;
            founding_file(&by, &body.file)?
        }
    };
    let answer =
        DoneReply { success: true, file_id: Some(file.key.text()), ..DoneReply::default() };
    let seeder = body.is_seeder.unwrap_or(true);
    if app.directory.is_known(Instant::now(), &by, &file, seeder) {
        return reply(&answer);
    }
    app.recall(&by).await?;
    app.directory.room_for(Instant::now(), &by).map_err(|sentence| Refusal::later(sentence, 60))?;
    let chunks = match &by {
        PeerKey::Native(_) => None,
        PeerKey::Founding(_) => serde_json::to_string(&body.file.chunks).ok(),
    };
    let by = Box::new(unregistered(by, ip));
    app.change(Change::Announce { by, file: Box::new(file), chunks, seeder }).await?;
    reply(&answer)
}

/// What is known of a peer that announces before it registers: that a circuit may reach it.
fn unregistered(key: PeerKey, ip: IpAddr) -> PeerRow {
    let native = matches!(key, PeerKey::Native(_));
    PeerRow {
        key,
        owner_ip: (!native).then_some(ip),
        founding_address: None,
        hostname: None,
        addresses: Vec::new(),
        suites: Vec::new(),
        relay: native,
        registered_at: unix_now(),
    }
}

fn native_file(by: &PeerKey, body: &AnnounceBody) -> Result<FileRow, Refusal> {
    let file = &body.file;
    let locator: Locator = file
        .hash
        .parse()
        .map_err(|_| Refusal::bad("file.hash must be a locator of 64 lower-case hex digits."))?;
    let mut row = FileRow {
        key: FileKey::Native(locator),
        public: body.public,
        name: String::new(),
        named_by: by.clone(),
        size: 0,
        kind: None,
        root: None,
        chunk_size: 0,
        chunk_count: 0,
        added_at: unix_now(),
    };
    if body.public {
        describe(&mut row, locator, file)?;
    // spec T15
    } else if *file != (FileBody { hash: file.hash.clone(), ..FileBody::default() }) {
        return Err(Refusal::bad(
            "private_is_nameless: a private announce carries nothing but file.hash. Say \
             \"public\": true if the share is public.",
        ));
    }
    Ok(row)
}

/// A public share says what it is, and its id proves it.
fn describe(row: &mut FileRow, locator: Locator, file: &FileBody) -> Result<(), Refusal> {
    let kind = match file.kind.as_deref() {
        Some("file") => Kind::File,
        Some("manifest") => Kind::Manifest,
        Some(_) | None => return Err(Refusal::bad("file.kind must be \"file\" or \"manifest\".")),
    };
    let root: Hash = file
        .merkle_root
        .as_deref()
        .and_then(|root| root.parse().ok())
        .ok_or_else(|| Refusal::bad("file.merkle_root must be 64 lower-case hex digits."))?;
    if file.size > MAX_FILE_BYTES {
        return Err(Refusal::bad(format!("file.size is more than {MAX_FILE_BYTES} bytes.")));
    }
    let descriptor = Descriptor { kind, length_bytes: file.size, root };
    // spec T16
    if descriptor.locator(None) != locator {
        return Err(Refusal::bad(
            "id_mismatch: file.hash is not the id of this kind, size and merkle_root.",
        ));
    }
    row.name = name(&file.name)?;
    row.size = file.size;
    row.kind = Some(kind);
    row.root = Some(to_hex(&root.0));
    Ok(())
}

fn founding_file(by: &PeerKey, file: &FileBody) -> Result<FileRow, Refusal> {
    let key = FileKey::founding(&file.hash).ok_or_else(|| {
        Refusal::bad("file.hash must be one plain word, such as a SHA-256 in hex.")
    })?;
    if file.size > MAX_FILE_BYTES || file.chunk_size > MAX_FILE_BYTES {
        return Err(Refusal::bad(format!("file.size is more than {MAX_FILE_BYTES} bytes.")));
    }
    if file.chunks.len() > MAX_ANNOUNCED_CHUNKS {
        return Err(Refusal::bad(format!(
            "file.chunks has more than {MAX_ANNOUNCED_CHUNKS} entries."
        )));
    }
    Ok(FileRow {
        key,
        public: true,
        name: name(&file.name)?,
        named_by: by.clone(),
        size: file.size,
        kind: None,
        root: None,
        chunk_size: file.chunk_size,
        chunk_count: file.chunks.len() as u64,
        added_at: unix_now(),
    })
}

fn name(said: &str) -> Result<String, Refusal> {
    let name = plain_text(said);
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        return Err(Refusal::bad(format!("file.name must have 1 to {MAX_NAME_BYTES} bytes.")));
    }
    Ok(name)
}

/// Query of a list or a search.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    q: Option<String>,
    limit: Option<usize>,
    offset: Option<usize>,
}

/// A file in a list.
#[derive(Debug, Serialize)]
struct ListedBody {
    hash: String,
    name: String,
    size: u64,
    seeders: usize,
    leechers: usize,
    added_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    merkle_root: Option<String>,
}

impl ListedBody {
    fn new(listed: &Listed) -> Self {
        let row = &listed.row;
        Self {
            hash: row.key.text(),
            name: row.name.clone(),
            size: row.size,
            seeders: listed.seeders,
            leechers: listed.leechers,
            added_at: rfc3339(row.added_at),
            kind: row.kind.map(kind_text),
            merkle_root: row.root.clone(),
        }
    }
}

fn page(app: &App, query: &ListQuery) -> Option<Vec<ListedBody>> {
    let limit = query.limit.unwrap_or(MAX_PAGE_FILES).min(MAX_PAGE_FILES);
    let offset = query.offset.unwrap_or(0);
    let files = app.directory.list(Instant::now(), query.q.as_deref(), offset, limit);
    // The founding system says `null` where there is nothing.
    (!files.is_empty()).then(|| files.iter().map(ListedBody::new).collect())
}

/// `GET /api/files`
pub(super) async fn list(State(app): State<Arc<App>>, Query(query): Query<ListQuery>) -> Answer {
    let query = ListQuery { q: None, ..query };
    reply(&json!({ "files": page(&app, &query) }))
}

/// `GET /api/files/search?q=`
pub(super) async fn search(State(app): State<Arc<App>>, Query(query): Query<ListQuery>) -> Answer {
    let Some(q) = query.q.as_ref().filter(|q| !q.is_empty()) else {
        return Err(Refusal::bad("Query parameter 'q' is required"));
    };
    if q.len() > MAX_QUERY_BYTES {
        return Err(Refusal::bad(format!(
            "Query parameter 'q' is longer than {MAX_QUERY_BYTES} bytes."
        )));
    }
    let files = page(&app, &query);
    let count = files.as_ref().map_or(0, Vec::len);
    reply(&json!({ "query": q, "count": count, "files": files }))
}

/// Query of a lookup.
#[derive(Debug, Deserialize)]
pub(super) struct LookupQuery {
    /// `native` or `founding`; both, founding first, if it is not said.
    namespace: Option<String>,
}

/// Answer to a lookup: the founding system's names, and those of a list beside them.
#[derive(Debug, Serialize)]
struct LookupBody {
    file_hash: String,
    file_name: String,
    file_size: u64,
    chunk_count: u64,
    chunk_size: u64,
    chunks: Option<Box<RawValue>>,
    peers: Option<Vec<PeerBody>>,
    public: bool,
    #[serde(flatten)]
    listed: ListedBody,
}

/// `GET /api/files/{hash}/peers` and `GET /api/files/{hash}`
pub(super) async fn lookup(
    State(app): State<Arc<App>>,
    Path(hash): Path<String>,
    Query(query): Query<LookupQuery>,
) -> Answer {
    let native = hash.parse().ok().map(FileKey::Native);
    let founding = FileKey::founding(&hash);
    let keys = match query.namespace.as_deref() {
        Some("native") => [native, None],
        Some("founding") => [founding, None],
        Some(_) => {
            return Err(Refusal::bad("Query parameter 'namespace' is native or founding."));
        }
        None => [founding, native],
    };
    for key in keys.iter().flatten() {
        if let Some((listed, peers)) = online(&app, key) {
            return found(&app, &listed, &peers).await;
        }
    }
    for key in keys.iter().flatten() {
        if let Some(row) = app.store.file(key).await? {
            let listed = Listed { row: Arc::new(row), seeders: 0, leechers: 0 };
            return found(&app, &listed, &[]).await;
        }
    }
    Err(Refusal::not_found("File not found"))
}

/// What memory knows of a file: who is online and has it.
pub(super) fn online(app: &App, key: &FileKey) -> Option<(Listed, Vec<PeerView>)> {
    let mut random = [0; 8];
    // Without randomness the same peers are named to everybody, which is no harm.
    let _ = getrandom::fill(&mut random);
    app.directory.lookup(Instant::now(), key, MAX_LOOKUP_PEERS, usize::from_ne_bytes(random))
}

async fn found(app: &App, listed: &Listed, peers: &[PeerView]) -> Answer {
    let row = &listed.row;
    let chunks = if row.key.is_native() { None } else { app.store.chunks(&row.key).await? };
    let max = MAX_CHUNK_NUMBERS / usize::try_from(row.chunk_count).unwrap_or(usize::MAX).max(1);
    let peers: Vec<PeerBody> =
        peers.iter().take(max.max(1)).map(|peer| peer_body(peer, row.chunk_count)).collect();
    reply(&LookupBody {
        file_hash: row.key.text(),
        file_name: row.name.clone(),
        file_size: row.size,
        chunk_count: row.chunk_count,
        chunk_size: row.chunk_size,
        chunks: chunks.and_then(|text| RawValue::from_string(text).ok()),
        peers: (!peers.is_empty()).then_some(peers),
        public: row.public,
        listed: ListedBody::new(listed),
    })
}

fn peer_body(peer: &PeerView, chunk_count: u64) -> PeerBody {
    let row = &peer.row;
    let first = peer.addresses.first();
    let mut body = PeerBody {
        peer_id: row.key.to_string(),
        ip: first.map(|address| address.ip().to_string()).unwrap_or_default(),
        port: first.map_or(0, |address| address.port()),
        hostname: row.hostname.clone(),
        is_seeder: peer.seeder,
        ..PeerBody::default()
    };
    match &row.key {
        PeerKey::Founding(_) => body.chunks_available = (0..chunk_count).collect(),
        PeerKey::Native(instance) => {
            let PeerId(key) = instance.peer;
            body.key = Some(to_hex(&key));
            body.instance = Some(to_hex(&instance.number.to_be_bytes()));
            body.addresses = peer.addresses.iter().map(ToString::to_string).collect();
            body.suites = row.suites.clone();
            body.relay = Some(row.relay);
        }
    }
    body
}

/// `DELETE /api/files/{hash}`: the caller, by its token, has it no more.
pub(super) async fn withdraw(
    State(app): State<Arc<App>>,
    token: Token,
    Path(hash): Path<String>,
) -> Answer {
    let Token(Some(instance)) = token else {
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "Only who announced it may withdraw it: log in at /relay and send the token as \
             'Authorization: Bearer TOKEN'.",
        ));
    };
    let locator = hash.parse().map_err(|_| Refusal::not_found("File not found"))?;
    app.change(Change::Withdraw(PeerKey::Native(instance), FileKey::Native(locator))).await?;
    reply(&DoneReply { success: true, ..DoneReply::default() })
}
