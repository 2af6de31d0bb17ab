//! The REST calls and the page for people: paths, bounded bodies, and whose call it is.
//!
//! Paths, JSON names and texts are those of the founding system, so that its clients keep working;
//! what native peers need stands beside them (spec chapter "Tracker").

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts};
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use bytes::BytesMut;
use http_body_util::BodyExt as _;
use hyper::{Request, StatusCode, header};
use serde::de::DeserializeOwned;
use tokio::sync::SemaphorePermit;
use towpath_core::id::Instance;

use crate::app::{App, Refusal};
use crate::limits::{MAX_ANNOUNCE_BYTES, MAX_BODY_BYTES, SMALL_BODY_BYTES};
use crate::model::PeerKey;

mod admin;
mod files;
mod page;
mod peers;

/// Whence a request came, a proxy's word included.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller(pub(crate) IpAddr);

/// All routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/health", get(|| async { "OK" }))
        .route("/", get(page::home))
        .route("/f/{locator}", get(page::share))
        .route("/api/peers/register", post(peers::register))
        .route("/api/peers/heartbeat", post(peers::heartbeat))
        .route("/api/peers/{id}", delete(peers::remove))
        .route("/api/relay/peers", get(peers::relay))
        .route("/api/files", get(files::list))
        .route("/api/files/announce", post(files::announce))
        .route("/api/files/search", get(files::search))
        .route("/api/files/{hash}", get(files::lookup).delete(files::withdraw))
        .route("/api/files/{hash}/peers", get(files::lookup))
        .route("/api/admin/peers", get(admin::peers))
        .route("/api/admin/peers/{id}", delete(admin::remove_peer))
        .route("/api/admin/files/{hash}", delete(admin::remove_file))
        .fallback(|| async { (StatusCode::NOT_FOUND, "404 page not found") })
        .with_state(app)
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Refusal> {
        let caller = parts.extensions.get().copied();
        Ok(caller.expect("the server names the caller of every request"))
    }
}

/// Whose token the request carries, if it carries a good one.
#[derive(Debug, Clone, Copy)]
struct Token(Option<Instance>);

impl FromRequestParts<Arc<App>> for Token {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let Caller(ip) = Caller::from_request_parts(parts, app).await?;
        Ok(Self(app.token_holder(&parts.headers, ip)))
    }
}

impl Token {
    /// Nobody speaks for a native peer but itself.
    // spec T5b
    fn must_be(self, peer: &PeerKey) -> Result<(), Refusal> {
        match peer {
            PeerKey::Native(instance) if self.0 != Some(*instance) => {
                Err(Refusal::unauthorized(peer))
            }
            PeerKey::Native(_) | PeerKey::Founding(_) => Ok(()),
        }
    }
}

/// A JSON body of at most `MAX` bytes. What all connections hold of bodies together is bounded too.
struct JsonBody<T, const MAX: usize = MAX_BODY_BYTES>(T);

type AnnounceJson<T> = JsonBody<T, MAX_ANNOUNCE_BYTES>;

impl<T: DeserializeOwned, const MAX: usize> FromRequest<Arc<App>> for JsonBody<T, MAX> {
    type Rejection = Refusal;

    async fn from_request(request: Request<Body>, app: &Arc<App>) -> Result<Self, Refusal> {
        let length = request.headers().get(header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > MAX) {
            return Err(too_long(MAX));
        }
        let (bytes, _budget) = read(app, request.into_body(), MAX).await?;
        match serde_json::from_slice(&bytes) {
            Ok(body) => Ok(Self(body)),
            Err(error) => {
                // spec K4: where it is wrong, not what it says
                tracing::debug!(%error, "bad body");
                Err(Refusal::bad("Invalid request body"))
            }
        }
    }
}

/// Reads a body as it comes: only bytes that are here count against the budget, so that claiming a
/// long one costs others nothing.
async fn read(
    app: &App,
    mut body: Body,
    max: usize,
) -> Result<(BytesMut, Option<SemaphorePermit<'_>>), Refusal> {
    let mut bytes = BytesMut::new();
    let mut budget: Option<SemaphorePermit<'_>> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::bad("The body ended early."))?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > max {
            return Err(too_long(max));
        }
        if bytes.len() + data.len() > SMALL_BODY_BYTES {
            let more = u32::try_from(data.len()).unwrap_or(u32::MAX);
            let more = app.bodies.try_acquire_many(more);
            let more = more.map_err(|_| {
                Refusal::later("Too many long bodies are being read. Try again.", 5)
            })?;
            match &mut budget {
                Some(budget) => budget.merge(more),
                None => budget = Some(more),
            }
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes, budget))
}

fn too_long(max: usize) -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("The body is longer than {max} bytes, which is the most that this call takes."),
    )
}

/// A `peer_id` from a body or a path.
fn peer_key(text: &str) -> Result<PeerKey, Refusal> {
    PeerKey::parse(text).ok_or_else(|| {
        Refusal::bad(
            "peer_id is neither KEY.INSTANCE in hex nor a plain identifier such as a UUID.",
        )
    })
}

/// Text that strangers wrote and strangers will see, on one line without tricks.
fn plain_text(text: &str) -> String {
    let trick = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(|c| !trick(*c)).collect()
}

/// Seconds since 1970 as RFC 3339, in UTC.
fn rfc3339(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400);
    let rest = seconds.rem_euclid(86_400);
    // Days since 0000-03-01 fall into cycles of 400 years, which make the leap days regular.
    let shifted = days + 719_468;
    let cycle = shifted.div_euclid(146_097);
    let day_of_cycle = shifted.rem_euclid(146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524
        - day_of_cycle / 146_096)
        / 365;
    let day_of_year =
        day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_cycle + cycle * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// What a handler answers.
type Answer = Result<Response, Refusal>;

fn json(body: &impl serde::Serialize) -> Answer {
    Ok(axum::Json(body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_on_both_sides_of_leap_days() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }

    #[test]
    fn tricks_are_taken_out_of_names() {
        assert_eq!(plain_text("a\u{202e}fdp.exe\n\u{1b}[2J"), "afdp.exe[2J");
        assert_eq!(plain_text("Grüße 日本"), "Grüße 日本");
    }
}
