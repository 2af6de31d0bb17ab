//! The node's task.

use std::net::{SocketAddr, TcpStream};

use futures_channel::mpsc::{Receiver, UnboundedReceiver};
use futures_util::StreamExt;
use smol::Async;
use smol::future::FutureExt;
use towpath_runtime::clock::Clock;
use towpath_runtime::limits::{BATCH_WORDS, CLOSING};
use towpath_runtime::node::{Driver, Word};
use towpath_runtime::yield_once;

use crate::Task;
use crate::clock::{Alarm, timeout};

/// The tasks that live as long as the node's.
pub(crate) struct Tasks {
    /// Those that listen and call.
    pub(crate) services: [Task; 2],
    /// The relay's. It ends by itself when nobody can speak to it any more.
    pub(crate) relay: Task,
}

/// What the task slept for.
enum Woken {
    Word(Option<Word>),
    Came(Option<(Async<TcpStream>, SocketAddr)>),
    Due,
}

/// Runs the node until it has stopped.
pub(crate) async fn run(
    mut driver: Driver<Async<TcpStream>, Task>,
    clock: Clock,
    mut words: UnboundedReceiver<Word>,
    mut came: Receiver<(Async<TcpStream>, SocketAddr)>,
    tasks: Tasks,
) {
    let mut alarm = Alarm::new(clock);
    while !driver.is_stopped() {
        let due = driver.due();
        let word = async { Woken::Word(words.next().await) };
        let stream = async { Woken::Came(came.next().await) };
        let woken = word.or(stream).or(async {
            alarm.ring(due).await;
            Woken::Due
        });
        match woken.await {
            Woken::Word(Some(word)) => {
                driver.take(word);
                for _ in 1..BATCH_WORDS {
                    let Ok(word) = words.try_recv() else { break };
                    driver.take(word);
                }
            }
            Woken::Came(Some((stream, from))) => driver.came(stream, from),
            Woken::Due => driver.tick(),
            Woken::Word(None) | Woken::Came(None) => break,
        }
        yield_once().await;
    }
    drop(tasks.services);
    let said = async {
        while driver.has_links()
            && let Some(word) = words.next().await
        {
            driver.take(word);
        }
    };
    timeout(CLOSING, said).await;
    drop(driver);
    timeout(CLOSING, tasks.relay).await;
}
