//! The smallest HTTP client that will do: one connection a call.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::harness::Server;

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.text()))
    }

    /// The body of a 200.
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// The sentence of a refusal with this status.
    pub(crate) fn refused(self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

/// One call, with headers and a body.
pub(crate) async fn call(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Reply {
    let mut request = Request::new(Full::new(body.into()));
    *request.method_mut() = method.parse::<Method>().unwrap();
    *request.uri_mut() = path.parse().unwrap();
    let put = request.headers_mut();
    put.insert("host", HeaderValue::from_str(&to.to_string()).unwrap());
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        put.append(name, HeaderValue::from_str(value).unwrap());
    }
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    connection.abort();
    Reply { status: head.status.as_u16(), headers: head.headers, body }
}

impl Server {
    pub(crate) async fn get(&self, path: &str) -> Reply {
        call(self.addr(), "GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        call(self.addr(), "POST", path, &[], body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        call(self.addr(), "DELETE", path, &[], "").await
    }
}
