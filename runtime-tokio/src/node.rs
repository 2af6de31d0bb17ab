//! The node's task.

use std::net::SocketAddr;

use futures_channel::mpsc::{Receiver, UnboundedReceiver};
use futures_util::StreamExt;
use tokio::net::TcpStream;
use tokio::{select, time};
use towpath_runtime::clock::Clock;
use towpath_runtime::limits::{BATCH_WORDS, CLOSING};
use towpath_runtime::node::{Driver, Word};
use towpath_runtime::yield_once;

use crate::Task;
use crate::clock::Alarm;

/// The tasks that live as long as the node's.
pub(crate) struct Tasks {
    /// Those that listen and call.
    pub(crate) services: [Task; 2],
    /// The relay's. It ends by itself when nobody can speak to it any more.
    pub(crate) relay: Task,
}

/// Runs the node until it has stopped.
pub(crate) async fn run(
    mut driver: Driver<TcpStream, Task>,
    clock: Clock,
    mut words: UnboundedReceiver<Word>,
    mut came: Receiver<(TcpStream, SocketAddr)>,
    tasks: Tasks,
) {
    let mut alarm = Alarm::new(clock);
    while !driver.is_stopped() {
        let due = driver.due();
        select! {
            Some(word) = words.next() => {
                driver.take(word);
                for _ in 1..BATCH_WORDS {
                    let Ok(word) = words.try_recv() else { break };
                    driver.take(word);
                }
            }
            Some((stream, from)) = came.next() => driver.came(stream, from),
            () = alarm.ring(due) => driver.tick(),
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
    let _ = time::timeout(CLOSING, said).await;
    drop(driver);
    let _ = time::timeout(CLOSING, tasks.relay).await;
}
