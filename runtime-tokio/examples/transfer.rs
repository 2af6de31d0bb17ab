//! Measures one transfer: `transfer FILE COPY [direct|relay]`, two peers and a tracker, a thread
//! each.

#![expect(clippy::print_stdout, reason = "it measures, and says what")]

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use tokio::runtime::Builder;
use towpath_core::id::{ContentKey, Locator, Space};
use towpath_core::node::{Event, Input, Sink};
use towpath_core::path::Policy;
use towpath_store::{Opened, Source, Target};
use towpath_tokio::{Content, Peer, PeerConfig, blocking};
use towpath_tracker::{Config, Listen, Tracker};

/// As in the binaries: glibc gives the top of its heap back after every burst.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEY: ContentKey = ContentKey(1);

fn main() {
    let mut args = std::env::args().skip(1);
    let (from, to) = (args.next().expect("FILE"), PathBuf::from(args.next().expect("COPY")));
    let policy = match args.next().as_deref() {
        Some("relay") => Policy::Relay,
        _ => Policy::Direct,
    };
    let (ready, tracker) = mpsc::channel();
    thread::spawn(move || runtime(track(ready)));
    let tracker = tracker.recv().expect("it listens");
    let (ready, shared) = mpsc::channel();
    let url = tracker.clone();
    thread::spawn(move || runtime(share(url, from.into(), ready)));
    let locator = shared.recv().expect("it is shared");
    runtime(fetch(tracker, locator, to, policy));
}

fn runtime(task: impl Future<Output = ()>) {
    Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(task);
}

async fn track(ready: mpsc::Sender<String>) {
    let mut config = Config::new(std::env::temp_dir().join("towpath-transfer-tracker"));
    config.listen = Listen::Address(([127, 0, 0, 1], 0).into());
    let tracker = Tracker::start(config).await.expect("a tracker");
    ready.send(tracker.url().to_owned()).expect("main waits");
    std::future::pending().await
}

async fn peer(number: u8, tracker: &str) -> Peer {
    let mut config = PeerConfig::new([number; 32], tracker.into());
    config.listen = "127.0.0.1:0".parse().ok();
    let peer = Peer::start(config).await.expect("a peer");
    peer.commands().send(Input::Listening { addresses: vec![peer.listen_addr()] });
    peer
}

async fn share(tracker: String, from: PathBuf, ready: mpsc::Sender<Locator>) {
    let mut peer = peer(1, &tracker).await;
    let data = std::env::temp_dir().join("towpath-transfer");
    let source = blocking(move || Source::prepare(&data, &[from], &mut |_| {}));
    let source = source.await.expect("a source");
    let descriptor = source.descriptor();
    let name = source.name().into();
    let contents = source.contents();
    peer.commands().register(KEY, Content::Source(Arc::new(source))).expect("no thread needed");
    let input = Input::Share { content: KEY, descriptor, secret: None, name, contents };
    peer.commands().send(input);
    while let Some(event) = peer.events.recv().await {
        if event == Event::Announced(KEY) {
            ready.send(descriptor.locator(None)).expect("main waits");
        }
    }
}

async fn fetch(tracker: String, locator: Locator, out: PathBuf, policy: Policy) {
    let mut peer = peer(2, &tracker).await;
    let commands = peer.commands();
    let start = Instant::now();
    let (sink, serve) = (Sink::Store, true);
    commands.send(Input::Get {
        content: KEY,
        locator,
        secret: None,
        policy,
        sink,
        serve,
        timeout: None,
    });
    let mut opened = None;
    while let Some(event) = peer.events.recv().await {
        match event {
            Event::Described { descriptor, .. } => {
                let out = out.clone();
                let target = blocking(move || Target::open(&out, descriptor, false, &mut |_| {}));
                let Opened::Partial(target) = target.await.expect("a target") else {
                    return println!("it is there already");
                };
                let target = Arc::new(target);
                commands.register(KEY, Content::Target(target.clone())).expect("no thread needed");
                opened = Some((target.clone(), descriptor.length_bytes));
                let begun = blocking(move || target.begin(Space::Root, &mut |_| {}));
                let (shape, have) = begun.await.expect("room");
                commands.send(Input::Begin { content: KEY, space: Space::Root, shape, have });
            }
            Event::SpaceComplete(..) => break,
            other => println!("{other:?}"),
        }
    }
    let (target, length_bytes) = opened.expect("it was described");
    let received = start.elapsed();
    blocking(move || target.finish().expect("it is whole")).await;
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} MB/s ({seconds:.3} s, finish {:.3} s)",
        (length_bytes as f64 / seconds / 1e6) as u64,
        seconds - received.as_secs_f64()
    );
}
