//! Calls to the tracker: several at once, over connections that are kept.

use std::io::ErrorKind;
use std::sync::Arc;

use futures_channel::mpsc::UnboundedReceiver;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use smol::future::FutureExt;
use towpath_core::node::{CallId, Input};
use towpath_core::tracker_api::{CallError, Request, Response};
use towpath_runtime::limits::{CALLING, CONNECTING, MAX_CALLS, MAX_KEPT_CONNECTIONS};
use towpath_runtime::peer::Commands;
use towpath_runtime::tracker::{Call, Connection, Tracker};

use crate::clock::timeout;
use crate::{dial, tls};

/// Opens a connection, with TLS where the URL says so. One sentence for people, if it cannot.
pub(crate) async fn open(tracker: &Tracker) -> Result<Connection, String> {
    let opening = async {
        let stream = dial::host(&tracker.host, tracker.port).await?;
        if !tracker.tls {
            return Ok(Box::new(stream) as Connection);
        }
        tls::wrap(stream, &tracker.host).await
    };
    let opened = timeout(CONNECTING, opening).await;
    opened
        .unwrap_or_else(|| Err(ErrorKind::TimedOut.into()))
        .map_err(|error| tracker.sentence(&error))
}

/// What the task slept for.
enum Woken {
    Call(Option<Call>),
    Answer(CallId, Result<Response, CallError>, Option<Connection>),
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
        let room = answers.len() < MAX_CALLS;
        let call = async {
            if room { Woken::Call(calls.next().await) } else { std::future::pending().await }
        };
        let answered = async {
            let Some((call, result, connection)) = answers.next().await else {
                return std::future::pending().await;
            };
            Woken::Answer(call, result, connection)
        };
        match call.or(answered).await {
            Woken::Call(Some(Call { call, request, token })) => {
                let (tracker, mut connection) = (&tracker, kept.pop());
                answers.push(async move {
                    let result = answer(tracker, &mut connection, &request, token.as_deref()).await;
                    (call, result, connection)
                });
            }
            Woken::Call(None) => return,
            Woken::Answer(call, result, connection) => {
                kept.extend(connection.filter(|_| kept.len() < MAX_KEPT_CONNECTIONS));
                commands.send(Input::Reply { call, result });
            }
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
    timeout(CALLING, answer).await.unwrap_or_else(|| Err(tracker.late()))
}

#[cfg(test)]
mod tests;
