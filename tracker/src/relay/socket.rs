//! One WebSocket of the relay: messages in, messages out, in one task.
//!
//! Reading and writing are polled side by side, so that a peer that does not read is still heard.
//! Outgoing messages are gathered and flushed together; what the socket took is reported to the
//! hub, which grants the senders that much more.

use std::future::poll_fn;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use async_tungstenite::tungstenite::{Error, Message};
use bytes::BytesMut;
use futures_util::{Sink as _, Stream as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::time;
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};
use tokio_util::sync::{CancellationToken, PollSender};
use towpath_core::close::{CloseReason, LocalClose};
use towpath_core::relay::hub::{ConnId, Input};

use super::{ToHub, ToSocket};
use crate::limits::{MAX_RELAY_MESSAGE_BYTES, RELAY_READ_BUFFER_BYTES, RELAY_WRITE_BATCH_BYTES};
use crate::server::Stream;

/// The close frame and the other side's answer to it may take this long.
const GOODBYE: Duration = Duration::from_secs(2);

/// Serves an upgraded connection to its end.
pub(super) async fn serve(
    upgraded: Upgraded,
    conn: ConnId,
    ip: IpAddr,
    host: String,
    inputs: mpsc::Sender<ToHub>,
    stop: CancellationToken,
) {
    // The type that the server put in: without it each read and write would be a virtual call.
    let Ok(parts) = upgraded.downcast::<TokioIo<Stream>>() else {
        tracing::error!("an upgraded connection is not one of ours");
        return;
    };
    let stream = parts.io.into_inner().patient().compat();
    let config = WebSocketConfig::default()
        .read_buffer_size(RELAY_READ_BUFFER_BYTES)
        .write_buffer_size(RELAY_WRITE_BATCH_BYTES)
        .max_write_buffer_size(4 * RELAY_WRITE_BATCH_BYTES)
        .max_message_size(Some(MAX_RELAY_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_RELAY_MESSAGE_BYTES));
    let early = parts.read_buf.to_vec();
    let web = WebSocketStream::from_partially_read(stream, early, Role::Server, Some(config)).await;
    let (out, outgoing) = mpsc::unbounded_channel();
    if inputs.send(ToHub::Opened { conn, ip, host, out }).await.is_err() {
        return;
    }
    let mut socket = Socket {
        web,
        conn,
        outgoing,
        inputs: PollSender::new(inputs.clone()),
        waiting: None,
        written: 0,
        sent: 0,
    };
    let reason = poll_fn(|cx| socket.poll(cx)).await;
    let Socket { web, .. } = socket;
    let told = inputs.send(ToHub::Input(Input::Disconnected(conn)));
    tokio::join!(told, goodbye(web, reason, &stop)).0.ok();
}

struct Socket {
    web: WebSocketStream<Compat<Stream>>,
    conn: ConnId,
    outgoing: mpsc::UnboundedReceiver<ToSocket>,
    inputs: PollSender<ToHub>,
    /// A message for which the hub has no room yet.
    waiting: Option<BytesMut>,
    /// Bytes given to the WebSocket and not flushed.
    written: usize,
    /// Bytes that the socket took and the hub does not know of.
    sent: usize,
}

/// How a connection ended: the close frame to send, if it can still be sent.
type Ended = Option<CloseFrame>;

impl Socket {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        // Both directions until neither can go on; each has arranged to be woken then.
        let incoming = self.poll_incoming(cx);
        if let Poll::Ready(ended) = incoming {
            return Poll::Ready(ended);
        }
        self.poll_outgoing(cx)
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            if self.waiting.is_some() || self.sent > 0 {
                if ready!(self.inputs.poll_reserve(cx)).is_err() {
                    return Poll::Ready(stopped());
                }
                let conn = self.conn;
                let input = match self.waiting.take() {
                    Some(bytes) => Input::Message { conn, bytes },
                    None => Input::Sent { conn, bytes: std::mem::take(&mut self.sent) },
                };
                if self.inputs.send_item(ToHub::Input(input)).is_err() {
                    return Poll::Ready(stopped());
                }
                continue;
            }
            match ready!(Pin::new(&mut self.web).poll_next(cx)) {
                Some(Ok(message)) => match take(message) {
                    ControlFlow::Continue(bytes) => self.waiting = bytes,
                    ControlFlow::Break(ended) => return Poll::Ready(ended),
                },
                Some(Err(error)) => return Poll::Ready(close_for(&error)),
                None => return Poll::Ready(None),
            }
        }
    }

    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            match Pin::new(&mut self.web).poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
            match self.outgoing.poll_recv(cx) {
                Poll::Ready(Some(ToSocket::Send(message))) => {
                    self.written += message.len();
                    if Pin::new(&mut self.web).start_send(Message::Binary(message)).is_err() {
                        return Poll::Ready(None);
                    }
                }
                Poll::Ready(Some(ToSocket::Close(reason))) => {
                    return Poll::Ready(Some(close_frame(&reason)));
                }
                Poll::Ready(None) => return Poll::Ready(stopped()),
                Poll::Pending => break,
            }
        }
        if self.written == 0 {
            return Poll::Pending;
        }
        match ready!(Pin::new(&mut self.web).poll_flush(cx)) {
            Ok(()) => {
                self.sent += std::mem::take(&mut self.written);
                // The report goes out with the incoming direction.
                self.poll_incoming(cx)
            }
            Err(_) => Poll::Ready(None),
        }
    }
}

/// What a message means: bytes for the hub, nothing, or the end.
fn take(message: Message) -> ControlFlow<Ended, Option<BytesMut>> {
    match message {
        Message::Binary(bytes) => ControlFlow::Continue(Some(match bytes.try_into_mut() {
            Ok(bytes) => bytes,
            Err(shared) => BytesMut::from(&shared[..]),
        })),
        Message::Ping(_) | Message::Pong(_) => ControlFlow::Continue(None),
        Message::Text(_) => ControlFlow::Break(Some(CloseFrame {
            code: CloseCode::Unsupported,
            reason: "binary messages only".into(),
        })),
        Message::Close(_) | Message::Frame(_) => ControlFlow::Break(None),
    }
}

fn stopped() -> Ended {
    Some(close_frame(&CloseReason::Local(LocalClose::Stopped)))
}

fn close_for(error: &Error) -> Ended {
    let (code, reason) = match error {
        Error::Capacity(_) => (CloseCode::Size, "message too long"),
        Error::Protocol(_) | Error::Utf8(_) => (CloseCode::Protocol, "not WebSocket"),
        _ => return None,
    };
    Some(CloseFrame { code, reason: reason.into() })
}

fn close_frame(reason: &CloseReason) -> CloseFrame {
    let code = match reason {
        CloseReason::Local(LocalClose::Stopped) => CloseCode::Away,
        CloseReason::Local(LocalClose::Limit(_)) => CloseCode::Again,
        CloseReason::Local(LocalClose::Done | LocalClose::Superseded) | CloseReason::Remote(_) => {
            CloseCode::Normal
        }
        CloseReason::Timeout(_) => CloseCode::Policy,
        CloseReason::Misbehaved(_) | CloseReason::Incompatible(_) => CloseCode::Protocol,
    };
    // The most that fits into a control frame (RFC 6455, section 5.5) beside the code.
    let mut text = reason.to_string();
    text.truncate(text.floor_char_boundary(123));
    CloseFrame { code, reason: text.into() }
}

/// Says why, and reads on for a moment: a socket that is closed while bytes come in loses its last
/// words.
async fn goodbye(mut web: WebSocketStream<Compat<Stream>>, frame: Ended, stop: &CancellationToken) {
    if frame.is_none() && !stop.is_cancelled() {
        return;
    }
    let last_words = async {
        if web.close(frame).await.is_ok() {
            while let Some(Ok(_)) = web.next().await {}
        }
    };
    let _ = time::timeout(GOODBYE, last_words).await;
}
