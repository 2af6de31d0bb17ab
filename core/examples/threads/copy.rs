//! What is around the driver: files, a tracker in this process, and an application that copies.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::BytesMut;
use towpath_core::crypto::public_key;
use towpath_core::id::{ChunkRef, ContentKey, Hash, Instance, Kind, Space};
use towpath_core::node::{Config, Event, Input, Sink, StoreResult};
use towpath_core::path::Policy;
use towpath_core::session::ChunkFrame;
use towpath_core::tracker_api::{CallError, PeerEntry, Request, Response};
use towpath_core::wire::{RequestId, Unavailable};
use towpath_store::{Opened, Source, Target};

use super::{Peer, start};

/// What a peer needs besides a clock, sockets and threads: the bytes of its only share or download,
/// and a tracker. Called on threads of its own.
pub(crate) trait Outside: Send + Sync + 'static {
    fn read(&self, request: RequestId, chunk: ChunkRef) -> Result<ChunkFrame, Unavailable>;
    fn store(&self, chunk: ChunkRef, proof: &[Hash], data: &[u8]) -> StoreResult;
    fn call(&self, request: &Request, token: Option<&str>) -> Result<Response, CallError>;
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system has random bytes");
    bytes
}

/// The store, and whoever calls the tracker.
pub(crate) struct Files {
    pub(crate) content: OnceLock<Content>,
    pub(crate) tracker: Arc<Tracker>,
}

pub(crate) enum Content {
    Source(Arc<Source>),
    Target(Arc<Target>),
}

pub(crate) type Tracker =
    dyn Fn(&Request, Option<&str>) -> Result<Response, CallError> + Send + Sync;

impl Outside for Files {
    fn read(&self, request: RequestId, chunk: ChunkRef) -> Result<ChunkFrame, Unavailable> {
        match self.content.get() {
            Some(Content::Source(source)) => source.read_chunk(request, chunk, BytesMut::new()),
            Some(Content::Target(target)) => target.read_chunk(request, chunk, BytesMut::new()),
            None => Err(Unavailable::Withdrawn),
        }
    }

    fn store(&self, chunk: ChunkRef, proof: &[Hash], data: &[u8]) -> StoreResult {
        match self.content.get() {
            Some(Content::Target(target)) => target.store_chunk(chunk, proof, data),
            _ => StoreResult::Failed("there is nowhere to write to".into()),
        }
    }

    fn call(&self, request: &Request, token: Option<&str>) -> Result<Response, CallError> {
        (self.tracker)(request, token)
    }
}

/// A tracker that knows one sharer.
fn tracker() -> Arc<Tracker> {
    let sharer = Mutex::new(None);
    Arc::new(move |request: &Request, _: Option<&str>| {
        let mut sharer = sharer.lock().expect("no thread panics");
        if let Request::Register { me, addresses, suites, .. } = request {
            let (addresses, suites) = (addresses.clone(), suites.clone());
            let (instance, relay, seeder) = (*me, false, true);
            *sharer = Some(PeerEntry { instance, addresses, suites, relay, seeder });
        }
        Ok(match request {
            Request::Lookup { .. } => Response::Peers(sharer.clone().into_iter().collect()),
            _ => Response::Done { next_heartbeat_seconds: None },
        })
    })
}

/// Starts a peer that says where it listens.
pub(crate) fn peer(
    files: &Arc<Files>,
    secret_key: [u8; 32],
    limit_up: Option<u64>,
) -> std::io::Result<(Peer, Instance)> {
    let number = u64::from_be_bytes(random());
    let me = Instance { peer: public_key(&secret_key), number };
    let config = Config {
        me,
        prefer_aes: true,
        accept_strangers: false,
        limit_up_bytes_per_second: limit_up,
        limit_down_bytes_per_second: None,
    };
    let peer = start(secret_key, config, files.clone())?;
    peer.node.send(Input::Listening { addresses: vec![peer.address] }).expect("it runs");
    Ok((peer, me))
}

const KEY: ContentKey = ContentKey(1);

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<PathBuf> = std::env::args().skip(1).map(PathBuf::from).collect();
    let [from, to] = &args[..] else { return Err("threads FROM TO".into()) };
    let tracker = tracker();
    let files = || Arc::new(Files { content: OnceLock::new(), tracker: tracker.clone() });

    let ours = files();
    let (sharer, _) = peer(&ours, random(), None)?;
    // Trackers answer those who are logged in at their relay; this one does not ask.
    sharer.node.send(Input::Relay { token: Some("none".into()) })?;
    let cache = std::env::temp_dir().join("towpath-threads");
    let source = Source::prepare(&cache, std::slice::from_ref(from), &mut |_| {})?;
    let (descriptor, name, contents) =
        (source.descriptor(), source.name().into(), source.contents());
    let _ = ours.content.set(Content::Source(Arc::new(source)));
    let share = Input::Share { content: KEY, descriptor, secret: None, name, contents };
    sharer.node.send(share)?;
    while sharer.events.recv()? != Event::Announced(KEY) {}

    let theirs = files();
    let (getter, _) = peer(&theirs, random(), None)?;
    getter.node.send(Input::Get {
        content: KEY,
        locator: descriptor.locator(None),
        secret: None,
        policy: Policy::Direct,
        sink: Sink::Store,
        serve: true,
        timeout: None,
    })?;
    get(&getter, &theirs, to)
}

/// Answers a getter's events until the target stands under its name.
fn get(peer: &Peer, files: &Files, out: &Path) -> Result<(), Box<dyn Error>> {
    let mut kind = Kind::File;
    loop {
        let space = match peer.events.recv()? {
            Event::Described { descriptor, .. } => {
                let opened = Target::open(out, descriptor, false, &mut |_| {})?;
                let Opened::Partial(target) = opened else { return Ok(()) };
                let _ = files.content.set(Content::Target(Arc::new(target)));
                kind = descriptor.kind;
                Space::Root
            }
            Event::SpaceComplete(_, Space::Root) if kind == Kind::Manifest => Space::Contents,
            Event::SpaceComplete(..) => break,
            Event::Failed(_, why) => return Err(format!("{why:?}").into()),
            _ => continue,
        };
        let Some(Content::Target(target)) = files.content.get() else { continue };
        let (shape, have) = target.begin(space, &mut |_| {})?;
        peer.node.send(Input::Begin { content: KEY, space, shape, have })?;
    }
    let Some(Content::Target(target)) = files.content.get() else { return Ok(()) };
    target.finish()?;
    peer.node.send(Input::Finished(KEY))?;
    Ok(())
}
