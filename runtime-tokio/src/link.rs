//! One task per stream, with the session over it.

use std::io;

use bytes::{BufMut, BytesMut};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::{select, time};
use towpath_runtime::limits::CLOSING;
use towpath_runtime::link::{Link, Plan, Word, Words};
use towpath_runtime::node::Over;
use towpath_runtime::yield_once;

use crate::clock::Alarm;
use crate::{Task, dial, spawn};

/// Starts the task of a link.
pub(crate) fn start(plan: Plan, over: Over<TcpStream>, mut words: Words) -> Task {
    match over {
        Over::Dial(to) => spawn(dial::run(plan, to, words)),
        Over::Stream(stream) => spawn(run(plan.begin(None), Some(stream), words)),
        Over::Circuit(circuit) => spawn(run(plan.begin(Some(circuit)), None, words)),
        Over::Opening(circuit) => spawn(async move {
            if matches!(words.next().await, Some(Word::Opened)) {
                run(plan.begin(Some(circuit)), None, words).await;
            }
        }),
    }
}

/// Runs a session until it is over. The node hears of it by the session's events.
pub(crate) async fn run(mut link: Link, mut stream: Option<TcpStream>, mut words: Words) {
    let mut alarm = Alarm::new(link.clock());
    while !link.is_closing() {
        let mut moved = false;
        while let Ok(word) = words.try_recv() {
            link.take(word);
            moved = true;
        }
        moved |= write(&mut link, stream.as_ref());
        moved |= read(&mut link, stream.as_ref());
        if moved {
            yield_once().await;
            continue;
        }
        let (reads, writes, due) = (link.wants_read(), link.wants_write(), link.due());
        select! {
            word = words.next() => match word {
                Some(word) => link.take(word),
                None => return,
            },
            () = ready(stream.as_ref(), reads, writes) => {}
            () = alarm.ring(due) => link.tick(),
        }
    }
    let _ = time::timeout(CLOSING, close(&mut link, &mut stream, &mut words)).await;
}

/// Writes the last bytes, then waits for the other side to close too: a TCP socket that is closed
/// with bytes unread resets the connection, and our last words with it. Strangers are not waited
/// for: there may be any number of them.
async fn close(link: &mut Link, stream: &mut Option<TcpStream>, words: &mut Words) {
    while link.wants_write() {
        if write(link, stream.as_ref()) {
            continue;
        }
        select! {
            Some(word) = words.next() => link.take(word),
            () = ready(stream.as_ref(), false, true) => {}
        }
    }
    let Some(stream) = stream else { return };
    if link.is_known() && stream.shutdown().await.is_ok() {
        let mut rest = vec![0; 16 * 1024];
        while stream.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
    }
}

/// Waits until a TCP stream may be read or written; circuits wake by words.
async fn ready(stream: Option<&TcpStream>, read: bool, write: bool) {
    let Some(stream) = stream else { return std::future::pending().await };
    select! {
        _ = stream.readable(), if read => {}
        _ = stream.writable(), if write => {}
        else => std::future::pending().await,
    }
}

fn write(link: &mut Link, stream: Option<&TcpStream>) -> bool {
    link.write(|slices| match stream {
        Some(stream) => stream.try_write_vectored(slices),
        None => Err(io::ErrorKind::WouldBlock.into()),
    })
}

fn read(link: &mut Link, stream: Option<&TcpStream>) -> bool {
    link.read(|buffer: &mut BytesMut, max| match stream {
        Some(stream) => {
            // Takes the same memory again once the session has let go of what was read before.
            buffer.reserve(max);
            stream.try_read_buf(&mut buffer.limit(max))
        }
        None => Err(io::ErrorKind::WouldBlock.into()),
    })
}
