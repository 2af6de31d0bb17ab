//! The relay's task.

use std::future::poll_fn;
use std::sync::Arc;

use futures_channel::mpsc::UnboundedReceiver;
use futures_util::StreamExt;
use smol::future::FutureExt;
use towpath_runtime::clock::Clock;
use towpath_runtime::limits::{BATCH_WORDS, CLOSING};
use towpath_runtime::relay::{Relay, Word, upgrade};
use towpath_runtime::tracker::Tracker;
use towpath_runtime::yield_once;

use crate::clock::{Alarm, timeout};
use crate::tracker;

/// What the task slept for.
enum Woken {
    Word(Option<Word>),
    Moved,
    Due,
}

/// Runs the relay client until nobody can speak to it any more.
pub(crate) async fn run(
    mut relay: Relay,
    clock: Clock,
    tracker: Arc<Tracker>,
    mut words: UnboundedReceiver<Word>,
) {
    let mut alarm = Alarm::new(clock);
    loop {
        if relay.wants_socket() {
            let tracker = tracker.clone();
            relay.open(async move { upgrade(&tracker, tracker::open(&tracker).await?).await });
        }
        let due = relay.due();
        let word = async { Woken::Word(words.next().await) };
        let moved = async {
            poll_fn(|cx| relay.poll(cx)).await;
            Woken::Moved
        };
        let woken = word.or(moved).or(async {
            alarm.ring(due).await;
            Woken::Due
        });
        match woken.await {
            Woken::Word(Some(word)) => {
                relay.take(word);
                for _ in 1..BATCH_WORDS {
                    let Ok(word) = words.try_recv() else { break };
                    relay.take(word);
                }
            }
            Woken::Word(None) => break,
            Woken::Moved => {}
            Woken::Due => relay.tick(),
        }
        // Whoever got something from this turn works on it before the next.
        yield_once().await;
    }
    timeout(CLOSING, relay.close()).await;
}
