//! Where a tracker is, what goes wrong with it, and what its answers mean.

use std::io::{self, ErrorKind};

use futures_util::io::{AsyncRead, AsyncWrite};
use towpath_core::link::parse_tracker;
use towpath_core::node::CallId;
use towpath_core::tracker_api::{self, CallError, HttpCall, Response};

use crate::http;

/// One call for a driver to make.
#[derive(Debug)]
pub struct Call {
    /// The node's number for it.
    pub call: CallId,
    /// What to say.
    pub request: tracker_api::Request,
    /// Of the login at the relay, for calls that need one.
    pub token: Option<String>,
}

/// A connection to a tracker, with TLS or without.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The same, whatever it is made of.
pub type Connection = Box<dyn Stream>;

/// Where a tracker is.
#[derive(Debug)]
pub struct Tracker {
    /// Whether it is spoken to over TLS.
    pub tls: bool,
    /// `host` or `host:port`, as it stands in the URL.
    pub authority: String,
    /// A name or an address without brackets.
    pub host: String,
    /// Its port, also where the URL has none.
    pub port: u16,
}

impl Tracker {
    /// Takes a base URL apart.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(url: &str) -> io::Result<Self> {
        let wrong = || {
            let text = format!("{url:?} is no tracker: write https://HOST or http://HOST:PORT");
            io::Error::new(ErrorKind::InvalidInput, text)
        };
        let base = parse_tracker(url).map_err(|_| wrong())?;
        let (scheme, authority) = base.split_once("://").ok_or_else(wrong)?;
        let tls = scheme == "https";
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (authority, None),
        };
        Ok(Self {
            tls,
            authority: authority.to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port.unwrap_or(if tls { 443 } else { 80 }),
        })
    }

    /// Where its relay is.
    #[must_use]
    pub fn relay_url(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}/relay", self.authority)
    }

    /// What went wrong, for people.
    #[must_use]
    pub fn sentence(&self, error: &io::Error) -> String {
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

    /// What a call that did not end in time has for an answer.
    #[must_use]
    pub fn late(&self) -> CallError {
        self.unreachable(&ErrorKind::TimedOut.into())
    }

    fn unreachable(&self, error: &io::Error) -> CallError {
        CallError::Unreachable(self.sentence(error))
    }

    /// Makes one call. A `kept` connection that turns out to be closed is replaced once; calls may
    /// be repeated. The connection is kept if another call may follow on it.
    ///
    /// # Errors
    /// Whatever is not an answer.
    pub async fn answer<Opening>(
        &self,
        kept: &mut Option<Connection>,
        request: &tracker_api::Request,
        token: Option<&str>,
        open: impl FnOnce() -> Opening,
    ) -> Result<Response, CallError>
    where
        Opening: Future<Output = Result<Connection, String>>,
    {
        let call = tracker_api::encode_request(request);
        let reply = self.exchange(kept, &call, token, open).await?;
        tracker_api::decode_reply(request, reply.status, reply.retry_after, &reply.body)
    }

    async fn exchange<Opening>(
        &self,
        kept: &mut Option<Connection>,
        call: &HttpCall,
        token: Option<&str>,
        open: impl FnOnce() -> Opening,
    ) -> Result<http::Reply, CallError>
    where
        Opening: Future<Output = Result<Connection, String>>,
    {
        let head = http::request(&self.authority, call, token).map_err(CallError::Garbage)?;
        if let Some(mut connection) = kept.take()
            && let Ok(reply) = http::exchange(&mut connection, &head).await
        {
            *kept = reply.keep.then_some(connection);
            return Ok(reply);
        }
        let mut connection = open().await.map_err(CallError::Unreachable)?;
        let reply =
            http::exchange(&mut connection, &head).await.map_err(|broken| match broken {
                http::Broken::Io(error) => self.unreachable(&error),
                http::Broken::Garbage(rule) => CallError::Garbage(rule),
            })?;
        *kept = reply.keep.then_some(connection);
        Ok(reply)
    }
}

#[cfg(test)]
mod tests;
