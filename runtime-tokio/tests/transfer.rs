//! Two peers and a tracker on the loopback: files and folders cross over TCP, through the relay,
//! into a pipe.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;
use towpath_core::download::ChunkSet;
use towpath_core::id::{ContentKey, Descriptor, Kind, Locator, Secret, Space};
use towpath_core::merkle;
use towpath_core::node::{ContentsShape, Event, Failure, Input, Progress, Sink};
use towpath_core::path::{PathKind, Policy};
use towpath_store::{Opened, Source, Target};
use towpath_tokio::{Content, Peer, PeerConfig, blocking};
use towpath_tracker::{Config, Listen, Running, Tracker};

const KEY: ContentKey = ContentKey(1);
const PATIENCE: Duration = Duration::from_secs(60);

fn bytes(length: usize) -> Vec<u8> {
    (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// A tracker on the loopback that keeps its data in `folder`.
async fn tracker(folder: &Path) -> Running {
    let mut config = Config::new(folder.join("tracker"));
    config.listen = Listen::Address("127.0.0.1:0".parse().unwrap());
    Tracker::start(config).await.unwrap()
}

async fn peer(number: u8, tracker: &str) -> Peer {
    let mut config = PeerConfig::new([number; 32], tracker.into());
    config.listen = Some("127.0.0.1:0".parse().unwrap());
    Peer::start(config).await.unwrap()
}

fn announce(peer: &Peer, address: SocketAddr) {
    peer.commands().send(Input::Listening { addresses: vec![address] });
}

/// The first event that is wanted, within the patience of this test.
async fn event(peer: &mut Peer, wanted: impl Fn(&Event) -> bool) -> Event {
    let waiting = async {
        loop {
            let event = peer.events.recv().await.expect("the peer runs");
            assert!(!matches!(event, Event::Failed(..)) || wanted(&event), "{event:?}");
            if wanted(&event) {
                return event;
            }
        }
    };
    timeout(PATIENCE, waiting).await.expect("it comes in time")
}

/// A peer that shares `path` and says where it listens.
async fn share(tracker: &str, path: &Path, secret: Option<Secret>) -> (Peer, Descriptor) {
    let mut peer = peer(1, tracker).await;
    announce(&peer, peer.listen_addr());
    let descriptor = share_from(&mut peer, path, secret).await;
    (peer, descriptor)
}

async fn share_from(peer: &mut Peer, path: &Path, secret: Option<Secret>) -> Descriptor {
    let data = path.parent().unwrap().join("data");
    let paths = [path.to_owned()];
    let source = blocking(move || Source::prepare(&data, &paths, &mut |_| {}).unwrap()).await;
    let descriptor = source.descriptor();
    let input = Input::Share {
        content: KEY,
        descriptor,
        secret,
        name: source.name().into(),
        contents: source.contents(),
    };
    peer.commands().register(KEY, Content::Source(Arc::new(source))).unwrap();
    peer.commands().send(input);
    event(peer, |event| *event == Event::Announced(KEY)).await;
    descriptor
}

fn get(locator: Locator, secret: Option<Secret>, policy: Policy, sink: Sink) -> Input {
    Input::Get { content: KEY, locator, secret, policy, sink, serve: true, timeout: None }
}

/// Fetches into `out`, wholly; what the progress was at the end.
async fn fetch(peer: &mut Peer, out: &Path, input: Input) -> (PathBuf, Progress) {
    let commands = peer.commands();
    commands.send(input);
    let described = event(peer, |event| matches!(event, Event::Described { .. })).await;
    let Event::Described { descriptor, .. } = described else { unreachable!() };
    let out = out.to_owned();
    let opened = blocking(move || Target::open(&out, descriptor, false, &mut |_| {})).await;
    let Opened::Partial(target) = opened.unwrap() else { panic!("nothing stands there") };
    let target = Arc::new(target);
    commands.register(KEY, Content::Target(target.clone())).unwrap();
    begin(peer, &target, Space::Root).await;
    if descriptor.kind == Kind::Manifest {
        begin(peer, &target, Space::Contents).await;
    }
    let done = blocking(move || target.finish().unwrap()).await;
    let progress = commands.progress(KEY).await;
    commands.send(Input::Finished(KEY));
    (done, progress)
}

async fn begin(peer: &mut Peer, target: &Arc<Target>, space: Space) {
    let target = target.clone();
    let (shape, have) = blocking(move || target.begin(space, &mut |_| {}).unwrap()).await;
    peer.commands().send(Input::Begin { content: KEY, space, shape, have });
    event(peer, |event| *event == Event::SpaceComplete(KEY, space)).await;
}

async fn crosses(policy: Policy, path: PathKind, length: usize) {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("file"), folder.path().join("copy"));
    fs::write(&from, bytes(length)).unwrap();
    let tracker = tracker(folder.path()).await;
    let secret = Secret::new([5; 32]);
    let (mut seeder, descriptor) = share(tracker.url(), &from, Some(secret.clone())).await;
    let locator = descriptor.locator(Some(&secret));
    let mut fetcher = peer(2, tracker.url()).await;
    let input = get(locator, Some(secret), policy, Sink::Store);
    let (done, progress) = fetch(&mut fetcher, &to, input).await;
    assert_eq!(done, to);
    assert_eq!(fs::read(&to).unwrap(), bytes(length));
    assert_eq!(progress.received_bytes, length as u64);
    assert_eq!(progress.by_path_bytes[path as usize], length as u64);
    // Its last words arrive although it goes at once.
    let me = fetcher.me();
    timeout(PATIENCE, fetcher.stop()).await.unwrap();
    let complete = |event: &Event| {
        matches!(event, Event::Receiver { peer, path: over, done: true, .. }
            if *peer == me && *over == path)
    };
    event(&mut seeder, complete).await;
    timeout(PATIENCE, seeder.stop()).await.unwrap();
    timeout(PATIENCE, tracker.shutdown()).await.unwrap();
}

#[tokio::test]
async fn a_file_crosses_over_tcp() {
    crosses(Policy::Auto, PathKind::Direct, 20_000_000).await;
}

#[tokio::test]
async fn a_file_crosses_through_the_relay() {
    crosses(Policy::Relay, PathKind::Relay, 20_000_000).await;
}

#[tokio::test]
async fn a_small_file_crosses_both_ways() {
    crosses(Policy::Direct, PathKind::Direct, 1).await;
    crosses(Policy::Relay, PathKind::Relay, 262_145).await;
}

#[tokio::test]
async fn a_folder_crosses() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    fs::create_dir_all(from.join("inner")).unwrap();
    let files = [("empty", 0), ("inner/large", 3_000_000), ("inner/small", 5), ("last", 262_144)];
    for (name, length) in files {
        fs::write(from.join(name), bytes(length)).unwrap();
    }
    let tracker = tracker(folder.path()).await;
    let (_seeder, descriptor) = share(tracker.url(), &from, None).await;
    let mut fetcher = peer(2, tracker.url()).await;
    let input = get(descriptor.locator(None), None, Policy::Auto, Sink::Store);
    fetch(&mut fetcher, &to, input).await;
    for (name, length) in files {
        assert!(fs::read(to.join(name)).unwrap() == bytes(length), "{name}");
    }
}

#[tokio::test]
async fn addresses_that_refuse_give_way_to_the_relay_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("file"), folder.path().join("copy"));
    fs::write(&from, bytes(1_000_000)).unwrap();
    let tracker = tracker(folder.path()).await;
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut seeder = peer(1, tracker.url()).await;
    announce(&seeder, gone);
    let descriptor = share_from(&mut seeder, &from, None).await;
    let mut fetcher = peer(2, tracker.url()).await;
    let input = get(descriptor.locator(None), None, Policy::Auto, Sink::Store);
    let (_, progress) = fetch(&mut fetcher, &to, input).await;
    assert_eq!(progress.by_path_bytes, [0, 0, 1_000_000]);
    assert!(fs::read(&to).unwrap() == bytes(1_000_000));
}

#[tokio::test]
async fn a_peer_that_is_dropped_leaves_no_task_behind() {
    let folder = tempfile::tempdir().unwrap();
    let reader = Reader::default();
    let (tracker, seeder, fetcher) = pipe(folder.path(), 30_000_000, &reader).await;
    drop((seeder, fetcher));
    timeout(PATIENCE, tracker.shutdown()).await.unwrap();
    let alive = || Handle::current().metrics().num_alive_tasks();
    let ended = async {
        while alive() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, ended).await.unwrap_or_else(|_| panic!("{} tasks are left", alive()));
}

/// What a pipe's other end has read, and what it makes of more.
#[derive(Clone, Default)]
struct Reader {
    read: Arc<Mutex<Vec<u8>>>,
    full: Option<(usize, Full)>,
}

#[derive(Clone)]
enum Full {
    /// It breaks.
    Breaks,
    /// It waits until the sender of this is dropped.
    Waits(Arc<Mutex<mpsc::Receiver<()>>>),
}

impl Write for Reader {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.read.lock().unwrap().len();
        match &self.full {
            Some((limit, Full::Breaks)) if length >= *limit => {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            Some((limit, Full::Waits(go))) if length >= *limit => {
                let _ = go.lock().unwrap().recv();
            }
            Some(_) | None => {}
        }
        self.read.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Starts fetching into `reader`; the peers that do it.
async fn pipe(folder: &Path, length: usize, reader: &Reader) -> (Running, Peer, Peer) {
    let from = folder.join("file");
    fs::write(&from, bytes(length)).unwrap();
    let tracker = tracker(folder).await;
    let (seeder, descriptor) = share(tracker.url(), &from, None).await;
    let mut fetcher = peer(2, tracker.url()).await;
    let commands = fetcher.commands();
    commands.send(get(descriptor.locator(None), None, Policy::Auto, Sink::Ordered));
    event(&mut fetcher, |event| matches!(event, Event::Described { .. })).await;
    let writer = Box::new(reader.clone());
    commands.register(KEY, Content::Ordered { descriptor, writer }).unwrap();
    let chunks = merkle::chunk_count(descriptor.length_bytes);
    let shape = ContentsShape { chunks, bytes: descriptor.length_bytes };
    let have = ChunkSet { bits: vec![0; chunks.div_ceil(8) as usize], len: chunks };
    commands.send(Input::Begin { content: KEY, space: Space::Root, shape, have });
    (tracker, seeder, fetcher)
}

#[tokio::test]
async fn a_file_comes_out_of_a_pipe_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let reader = Reader::default();
    let (_tracker, _seeder, mut fetcher) = pipe(folder.path(), 30_000_000, &reader).await;
    event(&mut fetcher, |event| *event == Event::SpaceComplete(KEY, Space::Root)).await;
    assert!(*reader.read.lock().unwrap() == bytes(30_000_000));
}

#[tokio::test]
async fn a_pipe_that_breaks_fails_the_download() {
    let folder = tempfile::tempdir().unwrap();
    let reader = Reader { full: Some((1_000_000, Full::Breaks)), ..Reader::default() };
    let (_tracker, _seeder, mut fetcher) = pipe(folder.path(), 30_000_000, &reader).await;
    let failed = event(&mut fetcher, |event| matches!(event, Event::Failed(..))).await;
    let Event::Failed(KEY, Failure::Store(why)) = failed else { panic!("{failed:?}") };
    assert!(why.contains("output"), "{why}");
}

#[tokio::test]
async fn a_reader_that_stops_stops_the_network() {
    let folder = tempfile::tempdir().unwrap();
    let (go, waits) = mpsc::channel();
    let waits = Full::Waits(Arc::new(Mutex::new(waits)));
    let reader = Reader { full: Some((1_000_000, waits)), ..Reader::default() };
    let (_tracker, _seeder, mut fetcher) = pipe(folder.path(), 50_000_000, &reader).await;
    let commands = fetcher.commands();
    let mut received = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = commands.progress(KEY).await.received_bytes;
        if now > 0 && now == received {
            break;
        }
        received = now;
    }
    assert!(received <= 16 << 20, "{received}");
    drop(go);
    event(&mut fetcher, |event| *event == Event::SpaceComplete(KEY, Space::Root)).await;
    assert!(*reader.read.lock().unwrap() == bytes(50_000_000));
}
