//! Calls to the tracker: HTTP/1.1 over one connection that is kept, one call after another.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time;
use tokio_util::task::AbortOnDropHandle;
use towpath_core::node::{CallId, Input};
use towpath_core::tracker_api::{self, CallError, HttpCall, MAX_REPLY_BYTES, Response};

use crate::{Shared, dial, tls};

/// How long TCP and TLS may take.
const CONNECTING: Duration = Duration::from_secs(5);
/// How long a whole call may take.
const CALLING: Duration = Duration::from_secs(10);

/// One call for the task to make.
pub(crate) struct Call {
    pub(crate) call: CallId,
    pub(crate) request: tracker_api::Request,
    pub(crate) token: Option<String>,
}

/// Where a tracker is.
#[derive(Debug)]
pub(crate) struct Tracker {
    tls: bool,
    /// `host` or `host:port`, as it stands in the URL.
    pub(crate) authority: String,
    host: String,
    port: u16,
    /// Path of the URL without a slash at its end.
    base: String,
}

impl Tracker {
    /// Takes a base URL apart.
    pub(crate) fn parse(url: &str) -> io::Result<Self> {
        let wrong = || {
            let text = format!("{url:?} is no tracker: write https://HOST or http://HOST:PORT");
            io::Error::new(ErrorKind::InvalidInput, text)
        };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        Ok(Self {
            tls,
            authority: authority.to_string(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            base: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    pub(crate) fn relay_uri(&self) -> Result<Uri, String> {
        let scheme = if self.tls { "wss" } else { "ws" };
        let uri = format!("{scheme}://{}{}/relay", self.authority, self.base);
        uri.parse().map_err(|error| format!("{uri} is no address: {error}"))
    }

    /// Opens a connection, with TLS where the URL says so.
    ///
    /// # Errors
    /// One sentence for people.
    pub(crate) async fn open(&self) -> Result<Box<dyn tls::Stream>, String> {
        let opening = async {
            let stream = dial::host(&self.host, self.port).await?;
            if !self.tls {
                return Ok(Box::new(stream) as Box<dyn tls::Stream>);
            }
            tls::wrap(stream, &self.host).await
        };
        let late = || Err(ErrorKind::TimedOut.into());
        let opened = time::timeout(CONNECTING, opening).await.unwrap_or_else(|_| late());
        opened.map_err(|error: io::Error| self.sentence(&error))
    }

    /// What went wrong, for people.
    pub(crate) fn sentence(&self, error: &io::Error) -> String {
        let at = format!("the tracker at {}", self.authority);
        match error.kind() {
            ErrorKind::ConnectionRefused => format!("{at} refused the connection: is it running?"),
            ErrorKind::TimedOut => format!("{at} did not answer in time"),
            ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
                format!("there is no way to {at}: is this machine online?")
            }
            ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => {
                format!("{at} closed the connection")
            }
            // What rustls makes of a certificate that it does not take.
            ErrorKind::InvalidData => format!("{at} cannot prove who it is: {error}"),
            _ => format!("{at} cannot be reached: {error}"),
        }
    }
}

/// Makes the calls of one peer.
pub(crate) async fn run(
    shared: Arc<Shared>,
    tracker: Arc<Tracker>,
    mut calls: UnboundedReceiver<Call>,
) {
    let mut kept = None;
    while let Some(Call { call, request, token }) = calls.recv().await {
        let result = answer(&tracker, &mut kept, &request, token.as_deref()).await;
        shared.tell(Input::Reply { call, result });
    }
}

/// Makes one call without a peer, for those who only ask.
///
/// # Errors
/// Whatever is not an answer.
pub async fn call(url: &str, request: &tracker_api::Request) -> Result<Response, CallError> {
    let tracker = Tracker::parse(url).map_err(|error| CallError::Unreachable(error.to_string()))?;
    answer(&tracker, &mut None, request, None).await
}

async fn answer(
    tracker: &Tracker,
    kept: &mut Option<Connection>,
    request: &tracker_api::Request,
    token: Option<&str>,
) -> Result<Response, CallError> {
    let http = tracker_api::encode_request(request);
    let making = exchange(tracker, kept, &http, token);
    let reply = time::timeout(CALLING, making).await.unwrap_or_else(|_| {
        Err(CallError::Unreachable(tracker.sentence(&ErrorKind::TimedOut.into())))
    })?;
    tracker_api::decode_reply(request, reply.status, reply.retry_after, &reply.body)
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Reply {
    status: u16,
    retry_after: Option<u32>,
    body: Bytes,
}

/// One call. A kept connection that turns out to be closed is replaced once; calls may be repeated.
async fn exchange(
    tracker: &Tracker,
    kept: &mut Option<Connection>,
    call: &HttpCall,
    token: Option<&str>,
) -> Result<Reply, CallError> {
    if let Some(mut connection) = kept.take().filter(|kept| !kept.sender.is_closed())
        && let Ok(reply) = send(tracker, &mut connection, call, token).await
    {
        *kept = Some(connection);
        return Ok(reply);
    }
    let stream = tracker.open().await.map_err(CallError::Unreachable)?;
    let (sender, driver) =
        handshake(TokioIo::new(stream)).await.map_err(|e| broken(tracker, &e))?;
    let driver = tokio::spawn(async move {
        // Its end is seen by the call that is under way, if there is one.
        let _ = driver.await;
    });
    let mut connection = Connection { sender, _driver: AbortOnDropHandle::new(driver) };
    let reply = send(tracker, &mut connection, call, token).await?;
    *kept = Some(connection);
    Ok(reply)
}

async fn send(
    tracker: &Tracker,
    connection: &mut Connection,
    call: &HttpCall,
    token: Option<&str>,
) -> Result<Reply, CallError> {
    let mut request = Request::builder()
        .method(call.method)
        .uri(format!("{}{}", tracker.base, call.path))
        .header(HOST, &tracker.authority);
    if call.body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    if let Some(token) = token {
        // spec T5
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = Full::from(call.body.clone().unwrap_or_default());
    let request = request.body(body).map_err(|_| CallError::Garbage("token"))?;
    connection.sender.ready().await.map_err(|error| broken(tracker, &error))?;
    let reply = connection.sender.send_request(request).await;
    let (head, body) = reply.map_err(|error| broken(tracker, &error))?.into_parts();
    let retry_after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    // spec T4
    let body = Limited::new(body, MAX_REPLY_BYTES).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            return CallError::Garbage("reply_too_long");
        }
        CallError::Unreachable(tracker.sentence(&ErrorKind::UnexpectedEof.into()))
    })?;
    Ok(Reply {
        status: head.status.as_u16(),
        retry_after: retry_after.and_then(|seconds| seconds.parse().ok()),
        body: body.to_bytes(),
    })
}

fn broken(tracker: &Tracker, error: &hyper::Error) -> CallError {
    if error.is_parse() {
        return CallError::Garbage("not_http");
    }
    CallError::Unreachable(tracker.sentence(&ErrorKind::UnexpectedEof.into()))
}

#[cfg(test)]
mod tests;
