//! One task per stream, with the session over it.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};

use bytes::{Bytes, BytesMut};
use futures_util::{AsyncReadExt, StreamExt};
use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, recv};
use smol::Async;
use smol::future::FutureExt;
use towpath_runtime::limits::CLOSING;
use towpath_runtime::link::{Link, Plan, Word, Words};
use towpath_runtime::node::Over;
use towpath_runtime::yield_once;

use crate::clock::{Alarm, timeout};
use crate::{Task, dial, spawn};

/// Starts the task of a link.
pub(crate) fn start(plan: Plan, over: Over<Async<TcpStream>>, mut words: Words) -> Task {
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

/// What a task slept for.
enum Woken {
    Word(Option<Word>),
    Ready,
    Due,
}

/// Runs a session until it is over. The node hears of it by the session's events.
pub(crate) async fn run(mut link: Link, mut stream: Option<Async<TcpStream>>, mut words: Words) {
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
        let word = async { Woken::Word(words.next().await) };
        let woken = word.or(ready(stream.as_ref(), reads, writes)).or(async {
            alarm.ring(due).await;
            Woken::Due
        });
        match woken.await {
            Woken::Word(Some(word)) => link.take(word),
            Woken::Word(None) => return,
            Woken::Ready => {}
            Woken::Due => link.tick(),
        }
    }
    timeout(CLOSING, close(&mut link, &mut stream, &mut words)).await;
}

/// Writes the last bytes, then waits for the other side to close too: a TCP socket that is closed
/// with bytes unread resets the connection, and our last words with it. Strangers are not waited
/// for: there may be any number of them.
async fn close(link: &mut Link, stream: &mut Option<Async<TcpStream>>, words: &mut Words) {
    while link.wants_write() {
        if write(link, stream.as_ref()) {
            continue;
        }
        let word = async { Woken::Word(words.next().await) };
        if let Woken::Word(Some(word)) = word.or(ready(stream.as_ref(), false, true)).await {
            link.take(word);
        }
    }
    let Some(stream) = stream else { return };
    if link.is_known() && stream.get_ref().shutdown(Shutdown::Write).is_ok() {
        let mut rest = vec![0; 16 * 1024];
        while stream.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
    }
}

/// Waits until a TCP stream may be read or written; circuits wake by words.
async fn ready(stream: Option<&Async<TcpStream>>, read: bool, write: bool) -> Woken {
    let Some(stream) = stream else { return std::future::pending().await };
    let result = match (read, write) {
        (true, true) => stream.readable().or(stream.writable()).await,
        (true, false) => stream.readable().await,
        (false, true) => stream.writable().await,
        (false, false) => std::future::pending().await,
    };
    // What is wrong with it shows when it is read or written.
    let _ = result;
    Woken::Ready
}

fn write(link: &mut Link, stream: Option<&Async<TcpStream>>) -> bool {
    link.write(|slices| match stream {
        Some(stream) => stream.get_ref().write_vectored(slices),
        None => Err(io::ErrorKind::WouldBlock.into()),
    })
}

fn read(link: &mut Link, stream: Option<&Async<TcpStream>>) -> bool {
    link.read(|buffer: &mut BytesMut, max| match stream {
        Some(stream) => {
            let mut bytes = Vec::with_capacity(max);
            let (read, _) = recv(stream.get_ref(), spare_capacity(&mut bytes), RecvFlags::empty())?;
            // Without a copy: nobody else has these bytes.
            *buffer = BytesMut::from(Bytes::from(bytes));
            Ok(read)
        }
        None => Err(io::ErrorKind::WouldBlock.into()),
    })
}
