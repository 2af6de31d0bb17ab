//! One WebSocket of the relay: messages in, messages out, in one task.
//!
//! Reading and writing are polled side by side, so that a peer that does not read is still heard.
//! What the socket takes is reported to the hub, which grants the senders that much more. After
//! [`RELAY_READ_TURN_BYTES`] it is the next connection's turn: when the processor is what there is
//! too little of, all get the same of it, however much each has in its socket.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use futures_channel::mpsc::{UnboundedReceiver, unbounded};
use futures_util::StreamExt as _;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::time;
use tokio_util::sync::PollSender;
use towpath_core::close::{CloseReason, LocalClose};
use towpath_core::relay::hub::{ConnId, Input};

use super::web::{End, Goodbye, Web, code};
use super::{ToHub, ToSocket};
use crate::limits::{MAX_RELAY_MESSAGE_BYTES, RELAY_READ_TURN_BYTES, RELAY_WRITE_BATCH_BYTES};
use crate::server::Stream;

/// The close frame and the other side's answer to it may take this long.
const GOODBYE: Duration = Duration::from_secs(2);

/// Takes over an upgraded connection. Yields what serves it to its end, for a task of its own:
/// what stays for hours is then no larger than an idle connection needs.
pub(super) async fn open(
    upgraded: Upgraded,
    conn: ConnId,
    ip: IpAddr,
    host: String,
    inputs: mpsc::Sender<ToHub>,
) -> Option<impl Future<Output = ()> + use<>> {
    let web = take_over(upgraded)?;
    let (out, outgoing) = unbounded();
    inputs.send(ToHub::Opened { conn, ip, host, out }).await.ok()?;
    let inputs = PollSender::new(inputs);
    let mut socket = Socket { web, conn, outgoing, inputs, waiting: None, sent: 0 };
    Some(async move {
        let goodbye = poll_fn(|cx| socket.poll(cx)).await;
        // Boxed: a connection is idle for hours and says goodbye once.
        Box::pin(part(socket, goodbye)).await;
    })
}

/// Says goodbye, and tells the hub.
async fn part(socket: Socket, goodbye: Option<Goodbye>) {
    let Socket { mut web, inputs, conn, .. } = socket;
    let last_words = async {
        let Some(goodbye) = goodbye else { return };
        web.close(&goodbye);
        if poll_fn(|cx| web.poll_drain(cx)).await.is_ok() {
            // A socket that is closed while bytes come in loses its last words.
            while poll_fn(|cx| web.poll_next(cx)).await.is_ok() {}
        }
    };
    let told = async {
        if let Some(inputs) = inputs.get_ref() {
            // Without a hub nobody needs to know.
            let _ = inputs.send(ToHub::Input(Input::Disconnected(conn))).await;
        }
    };
    let _ = tokio::join!(told, time::timeout(GOODBYE, last_words));
}

/// The stream that the server put in: without its type each read and write would be a virtual call.
fn take_over(upgraded: Upgraded) -> Option<Web<Stream>> {
    let Ok(parts) = upgraded.downcast::<TokioIo<Stream>>() else {
        tracing::error!("an upgraded connection is not one of ours");
        return None;
    };
    let stream = parts.io.into_inner().patient();
    Some(Web::new(stream, &parts.read_buf, MAX_RELAY_MESSAGE_BYTES))
}

struct Socket {
    web: Web<Stream>,
    conn: ConnId,
    outgoing: UnboundedReceiver<ToSocket>,
    inputs: PollSender<ToHub>,
    /// A message for which the hub has no room yet.
    waiting: Option<BytesMut>,
    /// Bytes that the socket took and the hub does not know of.
    sent: usize,
}

impl Socket {
    /// Ready when the connection is over: with the close frame to send, if it can still be sent.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Goodbye>> {
        let mut turn = RELAY_READ_TURN_BYTES;
        loop {
            // Both directions until neither can go on; each has arranged to be woken then.
            if let Poll::Ready(ended) = self.poll_outgoing(cx) {
                return Poll::Ready(ended);
            }
            if let Poll::Ready(ended) = self.poll_incoming(cx, &mut turn) {
                return Poll::Ready(ended);
            }
            if self.sent == 0 || self.poll_report(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>, turn: &mut usize) -> Poll<Option<Goodbye>> {
        loop {
            if *turn == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if self.waiting.is_none() {
                match ready!(self.web.poll_next(cx)) {
                    Ok(message) => self.waiting = Some(message),
                    Err(End::Closed) => return Poll::Ready(Some(normal())),
                    Err(End::Broken) => return Poll::Ready(None),
                    Err(End::Violation(goodbye)) => return Poll::Ready(Some(goodbye)),
                }
            }
            if ready!(self.inputs.poll_reserve(cx)).is_err() {
                return Poll::Ready(Some(stopped()));
            }
            if let Some(bytes) = self.waiting.take() {
                *turn = turn.saturating_sub(bytes.len());
                let message = ToHub::Input(Input::Message { conn: self.conn, bytes });
                if self.inputs.send_item(message).is_err() {
                    return Poll::Ready(Some(stopped()));
                }
            }
        }
    }

    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Option<Goodbye>> {
        loop {
            while self.web.backlog() < RELAY_WRITE_BATCH_BYTES {
                match self.outgoing.poll_next_unpin(cx) {
                    Poll::Ready(Some(ToSocket::Send(message))) => self.web.send(message),
                    Poll::Ready(Some(ToSocket::Close(reason))) => {
                        return Poll::Ready(Some(goodbye(&reason)));
                    }
                    Poll::Ready(None) => return Poll::Ready(Some(stopped())),
                    Poll::Pending => break,
                }
            }
            match ready!(self.web.poll_write(cx)) {
                Ok(bytes) => self.sent += bytes,
                Err(_) => return Poll::Ready(None),
            }
            if self.poll_report(cx).is_pending() {
                // Reported when there is room; meanwhile no more is written.
                return Poll::Pending;
            }
        }
    }

    /// Tells the hub what the socket took.
    fn poll_report(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.sent == 0 {
            return Poll::Ready(());
        }
        // A hub that is gone shows in the other direction.
        if ready!(self.inputs.poll_reserve(cx)).is_ok() {
            let bytes = std::mem::take(&mut self.sent);
            let report = ToHub::Input(Input::Sent { conn: self.conn, bytes });
            let _ = self.inputs.send_item(report);
        }
        Poll::Ready(())
    }
}

fn normal() -> Goodbye {
    Goodbye::new(code::NORMAL, String::new())
}

fn stopped() -> Goodbye {
    goodbye(&CloseReason::Local(LocalClose::Stopped))
}

fn goodbye(reason: &CloseReason) -> Goodbye {
    let code = match reason {
        CloseReason::Local(LocalClose::Stopped) => code::AWAY,
        CloseReason::Local(LocalClose::Limit(_)) => code::AGAIN,
        CloseReason::Local(LocalClose::Done | LocalClose::Superseded) | CloseReason::Remote(_) => {
            code::NORMAL
        }
        CloseReason::Timeout(_) => code::POLICY,
        CloseReason::Misbehaved(_) | CloseReason::Incompatible(_) => code::PROTOCOL,
    };
    Goodbye::new(code, reason.to_string())
}
