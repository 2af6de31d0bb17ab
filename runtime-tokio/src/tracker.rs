//! Calls to the tracker: several at once, over connections that are kept.

use std::sync::Arc;

use futures_channel::mpsc::UnboundedReceiver;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::{select, time};
use tokio_util::compat::TokioAsyncReadCompatExt;
use towpath_core::node::Input;
use towpath_core::tracker_api::{CallError, Request, Response};
use towpath_runtime::limits::{CALLING, CONNECTING, MAX_CALLS, MAX_KEPT_CONNECTIONS};
use towpath_runtime::peer::Commands;
use towpath_runtime::tracker::{Call, Connection, Tracker};

use crate::{dial, tls};

/// Opens a connection, with TLS where the URL says so. One sentence for people, if it cannot.
pub(crate) async fn open(tracker: &Tracker) -> Result<Connection, String> {
    let opening = async {
        let stream = dial::host(&tracker.host, tracker.port).await?;
        if !tracker.tls {
            return Ok(Box::new(stream.compat()) as Connection);
        }
        tls::wrap(stream, &tracker.host).await
    };
    let opened = time::timeout(CONNECTING, opening).await;
    opened.unwrap_or_else(|late| Err(late.into())).map_err(|error| tracker.sentence(&error))
}

/// Makes the calls of one peer.
pub(crate) async fn run(
    commands: Commands,
    tracker: Arc<Tracker>,
    mut calls: UnboundedReceiver<Call>,
) {
    let mut kept: Vec<Connection> = Vec::new();
    let mut answers = FuturesUnordered::new();
    loop {
        select! {
            Some(Call { call, request, token }) = calls.next(), if answers.len() < MAX_CALLS => {
                let (tracker, mut connection) = (&tracker, kept.pop());
                answers.push(async move {
                    let result =
                        answer(tracker, &mut connection, &request, token.as_deref()).await;
                    (call, result, connection)
                });
            }
            Some((call, result, connection)) = answers.next() => {
                kept.extend(connection.filter(|_| kept.len() < MAX_KEPT_CONNECTIONS));
                commands.send(Input::Reply { call, result });
            }
            else => return,
        }
    }
}

/// Makes one call without a peer, for those who only ask.
///
/// # Errors
/// Whatever is not an answer.
pub async fn call(url: &str, request: &Request) -> Result<Response, CallError> {
    let tracker = Tracker::parse(url).map_err(|error| CallError::Unreachable(error.to_string()))?;
    answer(&tracker, &mut None, request, None).await
}

async fn answer(
    tracker: &Tracker,
    kept: &mut Option<Connection>,
    request: &Request,
    token: Option<&str>,
) -> Result<Response, CallError> {
    let answer = tracker.answer(kept, request, token, || open(tracker));
    time::timeout(CALLING, answer).await.unwrap_or_else(|_| Err(tracker.late()))
}

#[cfg(test)]
mod tests;
