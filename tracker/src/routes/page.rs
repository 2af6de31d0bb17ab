//! The page behind a link, `/f/<locator>`: for a person who opened it in a browser.
//!
//! One self-contained document without anything from elsewhere; a content security policy allows
//! just its own style and script, by their hashes. The script puts the browser's own URL, with the
//! secret behind its `#`, into the command to paste. It sends nothing anywhere. All the same,
//! whoever serves a page could serve another script, and the page says so.

use std::sync::{Arc, LazyLock};

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use hyper::{HeaderMap, StatusCode, header};
use towpath_core::id::{Kind, Locator};

use super::files::online;
use super::{Answer, plain_text};
use crate::app::{App, is_host};
use crate::model::{FileKey, FileRow};

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        source_hash(STYLE),
        source_hash(SCRIPT)
    )
});

/// How a policy names an inline source.
fn source_hash(source: &str) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    let hash = sha2::Sha256::digest(source.as_bytes());
    format!("sha256-{}", base64::engine::general_purpose::STANDARD.encode(hash))
}

/// `GET /`
pub(super) async fn home() -> Response {
    page(
        StatusCode::OK,
        "Towpath tracker",
        "<h1>A Towpath tracker</h1>\
         <p>It introduces peers that share files with each other, end-to-end encrypted. \
         To share one:</p>\
         <div class=\"command\"><code>towpath share FILE</code></div>\
         <p>To fetch one, open its link, or paste the link behind <code>towpath get</code>.</p>",
    )
}

/// `GET /f/{locator}`
pub(super) async fn share(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(locator): Path<String>,
) -> Answer {
    let Ok(parsed) = locator.parse::<Locator>() else {
        return Ok(page(
            StatusCode::NOT_FOUND,
            "Not a link",
            "<h1>This is not a whole link</h1>\
             <p>It has to end with <code>/f/</code> and 64 hex digits, and for a private share \
             with <code>#</code> and 43 characters more. It may have been cut when it was \
             copied.</p>",
        ));
    };
    let key = FileKey::Native(parsed);
    let (row, peers) = match online(&app, &key) {
        Some((listed, _)) => (Some(listed.row.as_ref().clone()), listed.seeders + listed.leechers),
        None => (app.store.file(&key).await?, 0),
    };
    let status = if row.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let base = base_url(&app, &headers);
    Ok(page(status, &title(row.as_ref()), &body(row.as_ref(), peers, &base, &locator)))
}

fn title(row: Option<&FileRow>) -> String {
    match row {
        Some(row) if row.public => escape(&plain_text(&row.name)),
        Some(_) => "A private share".to_owned(),
        None => "Nothing known".to_owned(),
    }
}

// spec K3 and K11: of a private share how many have it; and whom one trusts here
fn body(row: Option<&FileRow>, peers: usize, base: &str, locator: &str) -> String {
    let what = match row {
        Some(row) if row.public => {
            let kind =
                if row.kind == Some(Kind::Manifest) { "A public folder" } else { "A public file" };
            let size = if row.kind == Some(Kind::Manifest) {
                String::new()
            } else {
                format!(" of {}", escape(&size_text(row.size)))
            };
            format!("<h1>{}</h1><p>{kind}{size}.</p>", title(Some(row)))
        }
        Some(_) => "<h1>A private share</h1><p>Its name, its size and its bytes are known only to \
                    those who have the whole link.</p>"
            .to_owned(),
        None => "<h1>Nothing is known under this link</h1><p>It may have been cut or mistyped, or \
                 it was not shared for a month.</p>"
            .to_owned(),
    };
    let online = match (row, peers) {
        (None, _) => String::new(),
        (_, 0) => {
            status("off", "Nobody who has it is online now. The command waits until somebody is.")
        }
        (_, 1) => status("on", "One peer that has it is online."),
        (_, n) => status("on", &format!("{n} peers that have it are online.")),
    };
    let private = row.is_none_or(|row| !row.public);
    let placeholder = if private { "#SECRET" } else { "" };
    let hint = if private {
        "<p class=\"hint\" id=\"cut\" hidden>This address has no secret at its end \
         (<code>#</code> and 43 characters). If the share is private, the link \
         was cut: ask for it again.</p>\
         <noscript><p class=\"hint\">Put the whole link from your address bar in place of this \
         one: the secret behind its <code>#</code> is known to your browser only.</p></noscript>"
    } else {
        ""
    };
    let trust = if private {
        " Who serves this page could read the secret in your address bar, so by opening it you \
         trust this tracker with it; the command never sends the secret anywhere."
    } else {
        ""
    };
    format!(
        "{what}{online}\
         <p>To fetch it, paste this into a terminal:</p>\
         <div class=\"command\">\
         <code id=\"command\">towpath get '{}/f/{locator}{placeholder}'</code>\
         <button id=\"copy\" type=\"button\" hidden>Copy</button></div>{hint}\
         <p class=\"hint\">The bytes come from those who have them, end-to-end encrypted and \
         checked byte by byte.{trust}</p>",
        escape(base)
    )
}

fn status(class: &str, text: &str) -> String {
    format!("<p class=\"status {class}\">{text}</p>")
}

/// As people reach us: configured, or as this browser did.
fn base_url(app: &App, headers: &HeaderMap) -> String {
    if let Some(url) = &app.public_url {
        return url.clone();
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.filter(|host| is_host(host)).unwrap_or("HOST");
    format!("{}://{host}", app.scheme)
}

fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{title} · Towpath</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<main>\n{body}\n\
         </main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    );
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, html).into_response()
}

/// For text and for quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// Decimal units, as transfers are measured.
fn size_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1_000 {
        return if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") };
    }
    let mut value = bytes as f64 / 1_000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1_000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1_000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (2_147_483_648, "2.1 GB"),
        ] {
            assert_eq!(size_text(bytes), text);
        }
    }

    #[test]
    fn nothing_gets_out_of_its_place() {
        assert_eq!(escape("<b a='\"'>&"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;");
    }
}
