//! `towpath inspect` and `towpath id`: tell without doing.

use std::path::PathBuf;

use serde_json::json;
use towpath_core::crypto::public_key;
use towpath_core::id::Kind;
use towpath_core::link::Link;
use towpath_core::merkle::chunk_count;
use towpath_core::tracker_api::{CallError, Request, Response};
use towpath_store::{Prepared, Source};

use crate::failure::Failure;
use crate::report::Report;
use crate::run::{self, Context};
use crate::units;

/// Says what a link or a path is.
pub(crate) async fn inspect(
    what: &str,
    context: &Context,
    report: &mut Report,
) -> Result<(), Failure> {
    if what.contains("://") {
        let link = what.parse().map_err(|error| Failure::new("bad_link", format!("{error}")))?;
        inspect_link(&link, report).await
    } else {
        inspect_path(what, context, report).await
    }
}

async fn inspect_path(what: &str, context: &Context, report: &mut Report) -> Result<(), Failure> {
    let data = context.data.path().to_path_buf();
    let paths = [PathBuf::from(what)];
    let work = move |told: &mut dyn FnMut(Prepared)| Source::prepare(&data, &paths, told);
    let source = run::told(context, report, "hashing", work).await?;
    let descriptor = source.descriptor();
    let chunks = match source.contents() {
        Some(shape) => shape.chunks,
        None => chunk_count(descriptor.length_bytes),
    };
    let (id, root) = (descriptor.id().to_string(), descriptor.root.to_string());
    let length = source.length_bytes();
    if !report.event(&json!({
        "path": what, "id": id, "root": root, "length_bytes": length, "chunks": chunks,
    })) {
        let kind = match descriptor.kind {
            Kind::File => "file".to_owned(),
            Kind::Manifest => format!("folder, {} files", units::count(source.files())),
        };
        report.print(&format!("{what}: {kind}, {} ({length} bytes)", units::bytes(length)));
        report.print(&format!("id      {id}\nroot    {root}\nchunks  {chunks}"));
    }
    Ok(())
}

async fn inspect_link(link: &Link, report: &Report) -> Result<(), Failure> {
    let request = Request::Lookup { locator: link.locator };
    let online = match towpath_tokio::call(&link.tracker, &request).await {
        Ok(Response::Peers(peers)) => peers.len(),
        Err(CallError::NotFound) => 0,
        Ok(Response::Done { .. }) => 0,
        Err(error) => return Err(Failure::new("tracker", trouble(&link.tracker, &error))),
    };
    let kind = if link.secret.is_some() { "private" } else { "public" };
    if !report.event(&json!({
        "link": link.to_string(), "tracker": link.tracker, "locator": link.locator.to_string(),
        "public": link.secret.is_none(), "peers_online": online,
    })) {
        report.print(&format!("{kind} share at {}", link.tracker));
        report.print(&format!("locator       {}\npeers online  {online}", link.locator));
    }
    Ok(())
}

fn trouble(tracker: &str, error: &CallError) -> String {
    match error {
        CallError::Unreachable(text) => text.clone(),
        CallError::NotFound => format!("{tracker} does not know it"),
        CallError::Unauthorized => format!("{tracker} wants a login for that"),
        CallError::Busy { retry_after_seconds } => {
            format!("{tracker} is busy; try again in {retry_after_seconds} s")
        }
        CallError::Refused(text) => format!("{tracker} refused: {text}"),
        CallError::Garbage(rule) => {
            format!("{tracker} answered something that is not an answer ({rule})")
        }
    }
}

/// Prints our public key.
pub(crate) fn id(context: &Context, report: &Report) -> Result<(), Failure> {
    let id = public_key(&context.data.identity()?).to_string();
    if !report.event(&json!({ "id": id })) {
        report.print(&id);
    }
    Ok(())
}
