//! What all requests share, and what can be said to a caller whose request is wrong.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::response::{IntoResponse, Response};
use hyper::{HeaderMap, StatusCode, header};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use towpath_core::id::Instance;
use towpath_core::relay::hub::check_token;
use towpath_core::time::UnixTime;

use crate::directory::Directory;
use crate::keys::Keys;
use crate::limiter::Limiter;
use crate::limits::{BODY_BUDGET_BYTES, Limits};
use crate::model::{Change, Changed, PeerKey};
use crate::relay::Hub;
use crate::store::{Store, StoreError, unix_now};

/// What a tracker is made of.
pub(crate) struct Parts {
    pub(crate) keys: Keys,
    pub(crate) directory: Arc<Directory>,
    pub(crate) store: Store,
    pub(crate) limits: Limits,
    pub(crate) trusted_proxies: Vec<IpAddr>,
    pub(crate) public_url: Option<String>,
    /// How this process speaks itself.
    pub(crate) scheme: &'static str,
    pub(crate) stop: CancellationToken,
}

/// The same, at work.
pub(crate) struct App {
    pub(crate) keys: Keys,
    pub(crate) directory: Arc<Directory>,
    pub(crate) store: Store,
    pub(crate) limits: Limits,
    pub(crate) trusted_proxies: Vec<IpAddr>,
    pub(crate) public_url: Option<String>,
    pub(crate) scheme: &'static str,
    pub(crate) stop: CancellationToken,
    pub(crate) limiter: Limiter,
    /// A permit for each byte of a body that is not small.
    pub(crate) bodies: Semaphore,
    pub(crate) hub: Hub,
    /// Every task that must end before the process does.
    pub(crate) tasks: TaskTracker,
}

impl App {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let Parts { keys, directory, store, limits, trusted_proxies, public_url, scheme, stop } =
            parts;
        let limiter = Limiter::new(limits.request_burst, limits.requests_per_second);
        let (hub, hub_inputs) = Hub::new();
        let app = Arc::new(Self {
            keys,
            directory,
            store,
            limits,
            trusted_proxies,
            public_url,
            scheme,
            stop,
            limiter,
            bodies: Semaphore::new(BODY_BUDGET_BYTES),
            hub,
            tasks: TaskTracker::new(),
        });
        app.tasks.spawn(crate::relay::run(Arc::clone(&app), hub_inputs));
        app
    }

    /// Whose token a request carries. The key's address is noted: it spoke from there.
    pub(crate) fn token_holder(&self, headers: &HeaderMap, ip: IpAddr) -> Option<Instance> {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let instance = check_token(&self.keys.token, token.trim(), UnixTime(unix_now()))?;
        self.directory.spoke(Instant::now(), instance.peer, ip);
        Some(instance)
    }

    /// Makes a change, durably.
    // spec T14: answered when it is on disk
    pub(crate) async fn change(&self, change: Change) -> Result<Changed, Refusal> {
        Ok(self.store.change(change).await?)
    }

    /// Brings a peer that speaks for the first time, or again, into memory with all that it had
    /// announced; false if nothing is known of it.
    pub(crate) async fn recall(&self, peer: &PeerKey) -> Result<bool, Refusal> {
        if self.directory.peer(Instant::now(), peer).is_some() {
            return Ok(true);
        }
        match self.change(Change::Recall(peer.clone())).await? {
            Changed::Recalled(found) => Ok(found.is_some()),
            Changed::Done | Changed::File(_) | Changed::Existed(_) => Ok(false),
        }
    }
}

/// Whether this can stand for a host in a URL: a name or an address, with or without a port.
pub(crate) fn is_host(text: &str) -> bool {
    let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b':' | b'[' | b']');
    !text.is_empty() && text.len() <= 261 && text.bytes().all(plain)
}

/// An answer that says no.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    sentence: String,
    retry_after_seconds: Option<u32>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self { status, sentence: sentence.into(), retry_after_seconds: None }
    }

    pub(crate) fn bad(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }

    pub(crate) fn not_found(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, sentence)
    }

    pub(crate) fn later(sentence: impl Into<String>, seconds: u32) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            sentence: sentence.into(),
            retry_after_seconds: Some(seconds),
        }
    }

    /// Without the right token.
    pub(crate) fn unauthorized(peer: &PeerKey) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            format!(
                "Only {peer} itself may say this: log in at /relay and send the token as \
                 'Authorization: Bearer TOKEN'."
            ),
        )
    }

    /// Too many calls from one address, in the words of the founding system.
    pub(crate) fn too_many(seconds: u32) -> Response {
        let body = json!({ "error": "rate_limit_exceeded", "message": "Too many requests" });
        let retry = [(header::RETRY_AFTER, seconds.to_string())];
        (StatusCode::TOO_MANY_REQUESTS, retry, Json(body)).into_response()
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::later("The tracker is busy. Try again.", 2),
            StoreError::Failed(_) => {
                Self::later("The tracker's database does not answer. Try again later.", 10)
            }
        }
    }
}

// spec T2
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.sentence }))).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}
