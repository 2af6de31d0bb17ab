//! Plays a scenario with real peers, a real tracker, real sockets and real files.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use towpath_conformance::{Content, End, Scenario, TROUBLED_RATE, Trouble, Way};
use towpath_core::download::{ChunkSet, DropReason};
use towpath_core::id::{Descriptor, Hash, Kind, Locator, Secret, Space};
use towpath_core::merkle::chunk_count;
use towpath_core::node::{ContentsShape, Event, Failure, Input, PeerDropReason, Sink};
use towpath_core::path::Policy;
use towpath_runtime::random;
use towpath_store::{Opened, Source, Target};
use towpath_tracker::{Config, Listen, Running, Tracker};

use crate::drivers::{Driver, Files, KEY, Peer, RUNTIME, Setup};

/// Whatever takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a getter waits for somebody to be online where nobody comes.
const LONELY: Duration = Duration::from_secs(2);

pub(crate) fn play(scenario: &Scenario, sharer: &Driver, getter: &Driver) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let mut stage = Stage::set(scenario, folder.path(), sharer)?;
    thread::scope(|scope| {
        let mut fetches = Vec::new();
        for number in 0..scenario.getters {
            let out = folder.path().join(format!("copy {number}"));
            let get = stage.get(number, getter);
            fetches.push(scope.spawn(move || fetch(get, &out)));
        }
        stage.trouble()?;
        for fetched in fetches {
            let end = fetched.join().map_err(|_| "a getter panicked")??;
            stage.judge(&end)?;
        }
        Ok(())
    })
}

/// The sharer's side, and everything that both need.
struct Stage<'a> {
    scenario: &'a Scenario,
    folder: &'a Path,
    tracker: Option<Running>,
    url: String,
    driver: &'a Driver,
    sharer: Option<Box<dyn Peer>>,
    stranger: Option<Box<dyn Peer>>,
    secret: Option<Secret>,
    descriptor: Descriptor,
}

/// What a getter is told.
struct Get {
    peer: Box<dyn Peer>,
    input: Input,
    /// It dies when something has come, and begins again with this.
    again: Option<(Box<dyn Peer>, Input)>,
}

/// How it went.
struct Fetched {
    end: End,
    out: PathBuf,
    /// Chunks that were there when the second run began.
    resumed_with: u64,
}

impl<'a> Stage<'a> {
    fn set(scenario: &'a Scenario, folder: &'a Path, driver: &'a Driver) -> Result<Self, String> {
        write(&folder.join("from"), scenario.content).map_err(|error| error.to_string())?;
        let tracker = track(folder, 0)?;
        let url = tracker.url().to_owned();
        let secret = scenario.private.then(|| Secret::new(random()));
        let mut stage = Self {
            scenario,
            folder,
            tracker: Some(tracker),
            url,
            driver,
            sharer: None,
            stranger: None,
            secret,
            descriptor: Descriptor { kind: Kind::File, length_bytes: 0, root: Hash([0; 32]) },
        };
        if scenario.way == Way::AfterAStranger {
            stage.stranger = Some(stage.peer(9, driver));
        }
        stage.share()?;
        Ok(stage)
    }

    fn peer(&self, number: u8, driver: &Driver) -> Box<dyn Peer> {
        let limit_up = (self.scenario.trouble != Trouble::None).then_some(TROUBLED_RATE);
        let peer = (driver.start)(Setup {
            // As everybody's: who comes back is the same peer.
            key: [number + 1; 32],
            tracker: self.url.clone(),
            limit_up,
        });
        peer.send(Input::Listening { addresses: vec![peer.address()] });
        peer
    }

    /// Starts the sharer; returns when the tracker knows what it has.
    fn share(&mut self) -> Result<(), String> {
        let mut peer = self.peer(0, self.driver);
        let mut addresses = vec![peer.address()];
        match self.scenario.way {
            Way::Direct | Way::Relay => {}
            Way::Refused => {
                let gone = TcpListener::bind("127.0.0.1:0").and_then(|gone| gone.local_addr());
                addresses = vec![gone.map_err(|error| error.to_string())?];
            }
            Way::AfterAStranger => {
                addresses.splice(0..0, self.stranger.iter().map(|stranger| stranger.address()));
            }
        }
        peer.send(Input::Listening { addresses });
        let paths = [self.folder.join("from")];
        let source = Source::prepare(&self.folder.join("data"), &paths, &mut |_| {});
        let source = source.map_err(|error| error.to_string())?;
        self.descriptor = source.descriptor();
        let input = Input::Share {
            content: KEY,
            descriptor: self.descriptor,
            secret: self.secret.clone(),
            name: source.name().into(),
            contents: source.contents(),
        };
        peer.register(Files::Source(Arc::new(source)));
        peer.send(input);
        wait(&mut *peer, "announced", |event| *event == Event::Announced(KEY))?;
        self.sharer = Some(peer);
        Ok(())
    }

    fn get(&self, number: usize, driver: &Driver) -> Get {
        let mut locator = self.descriptor.locator(self.secret.as_ref());
        let mut secret = self.secret.clone();
        match self.scenario.trouble {
            Trouble::WrongSecret => secret = Some(Secret::new(random())),
            Trouble::WrongLocator => locator = Locator(random()),
            _ => {}
        }
        let input = || Input::Get {
            content: KEY,
            locator,
            secret: secret.clone(),
            policy: match self.scenario.way {
                Way::Direct | Way::AfterAStranger => Policy::Direct,
                Way::Refused => Policy::Auto,
                Way::Relay => Policy::Relay,
            },
            sink: if self.scenario.piped { Sink::Ordered } else { Sink::Store },
            serve: true,
            timeout: (self.scenario.end == End::NobodyOnline).then_some(LONELY),
        };
        let number = u8::try_from(number).expect("few getters");
        let dies = self.scenario.trouble == Trouble::GetterDies;
        let again = dies.then(|| (self.peer(2 + number, driver), input()));
        Get { peer: self.peer(1 + number, driver), input: input(), again }
    }

    /// Lets happen what the scenario wants, as soon as the first chunks are through.
    fn trouble(&mut self) -> Result<(), String> {
        let trouble = self.scenario.trouble;
        let early = [Trouble::None, Trouble::WrongSecret, Trouble::WrongLocator];
        if early.contains(&trouble) {
            return Ok(());
        }
        let mut sharer = self.sharer.take().ok_or("nobody shares")?;
        wait(&mut *sharer, "something is sent", |event| {
            matches!(event, Event::Receiver { sent_bytes: 1.., .. })
        })?;
        match trouble {
            Trouble::SharerDies => {
                drop(sharer);
                return self.share();
            }
            Trouble::SharerQuits => {
                sharer.stop();
                return Ok(());
            }
            Trouble::SourceChanges => {
                let changed = fs::write(self.folder.join("from"), b"something else");
                changed.map_err(|error| error.to_string())?;
            }
            Trouble::RelayBreaks => {
                if let Some(tracker) = self.tracker.take() {
                    RUNTIME.block_on(tracker.shutdown());
                }
                let port = self.url.rsplit(':').next().and_then(|port| port.parse().ok());
                self.tracker = Some(track(self.folder, port.ok_or("the URL has a port")?)?);
            }
            _ => {}
        }
        self.sharer = Some(sharer);
        Ok(())
    }

    fn judge(&self, fetched: &Fetched) -> Result<(), String> {
        if fetched.end != self.scenario.end {
            return Err(format!("it ended with {:?}", fetched.end));
        }
        if fetched.end != End::Arrives {
            return match fetched.out.exists() {
                true => Err("something stands at the target".into()),
                false => Ok(()),
            };
        }
        if self.scenario.trouble == Trouble::GetterDies && fetched.resumed_with == 0 {
            return Err("the second run began with nothing".into());
        }
        same(&self.folder.join("from"), &fetched.out)
    }
}

fn track(folder: &Path, port: u16) -> Result<Running, String> {
    let mut config = Config::new(folder.join("tracker"));
    config.listen = Listen::Address(([127, 0, 0, 1], port).into());
    RUNTIME.block_on(Tracker::start(config)).map_err(|error| error.to_string())
}

/// Answers the getter's events until it is clear how it ends.
fn fetch(get: Get, out: &Path) -> Result<Fetched, String> {
    let Get { peer, input, again } = get;
    let Some((second, input_again)) = again else { return run(peer, input, out, false) };
    run(peer, input, out, true)?;
    run(second, input_again, out, false)
}

/// One run; it `dies` as soon as something is there.
fn run(mut peer: Box<dyn Peer>, input: Input, out: &Path, dies: bool) -> Result<Fetched, String> {
    let is_piped = matches!(input, Input::Get { sink: Sink::Ordered, .. });
    peer.send(input);
    let mut opened: Option<(Arc<Target>, Kind)> = None;
    let mut resumed_with = 0;
    let started = Instant::now();
    let text = |error: towpath_store::Error| error.to_string();
    let end = loop {
        if started.elapsed() > PATIENCE {
            return Err("it took too long".into());
        }
        let Some(event) = peer.event(Duration::from_millis(100)) else {
            match &opened {
                Some((target, _)) if dies && target.has_any() => {
                    drop(peer);
                    // Its threads let go of the target one after another.
                    while Arc::strong_count(target) > 1 && started.elapsed() < PATIENCE {
                        thread::yield_now();
                    }
                    return Ok(Fetched { end: End::Arrives, out: out.into(), resumed_with });
                }
                _ => continue,
            }
        };
        let space = match event {
            Event::Described { descriptor, .. } if is_piped => {
                let file = fs::File::create(out).map_err(|error| error.to_string())?;
                peer.register(Files::Pipe(descriptor, file));
                let chunks = chunk_count(descriptor.length_bytes);
                let shape = ContentsShape { chunks, bytes: descriptor.length_bytes };
                let have = ChunkSet::empty(chunks);
                peer.send(Input::Begin { content: KEY, space: Space::Root, shape, have });
                continue;
            }
            Event::Described { descriptor, .. } => {
                let target = Target::open(out, descriptor, false, &mut |_| {}).map_err(text)?;
                let Opened::Partial(target) = target else { return Err("it is whole".into()) };
                let target = Arc::new(target);
                peer.register(Files::Target(target.clone()));
                opened = Some((target, descriptor.kind));
                Space::Root
            }
            Event::SpaceComplete(_, space) => match &opened {
                Some((_, Kind::Manifest)) if space == Space::Root => Space::Contents,
                _ => break End::Arrives,
            },
            Event::Failed(_, Failure::NobodyOnline) => break End::NobodyOnline,
            Event::Failed(_, other) => return Err(format!("{other:?}")),
            Event::PeerDropped { reason: PeerDropReason::NotTheShare, .. } => {
                break End::NotTheShare;
            }
            Event::PeerDropped {
                reason: PeerDropReason::Download(DropReason::SourceChanged),
                ..
            } => break End::SourceChanged,
            _ => continue,
        };
        let Some((target, _)) = &opened else { continue };
        let (shape, have) = target.begin(space, &mut |_| {}).map_err(text)?;
        resumed_with += have.count();
        peer.send(Input::Begin { content: KEY, space, shape, have });
    };
    if let (End::Arrives, Some((target, _))) = (end, opened) {
        target.finish().map_err(text)?;
        peer.send(Input::Finished(KEY));
    }
    peer.stop();
    Ok(Fetched { end, out: out.into(), resumed_with })
}

fn wait(peer: &mut dyn Peer, what: &str, wanted: impl Fn(&Event) -> bool) -> Result<(), String> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        if peer.event(Duration::from_secs(1)).is_some_and(|event| wanted(&event)) {
            return Ok(());
        }
    }
    Err(format!("the sharer waited in vain: {what}"))
}

fn write(at: &Path, content: Content) -> std::io::Result<()> {
    match content {
        Content::File(length) => fs::write(at, noise(length)),
        Content::Folder(files) => files.iter().try_for_each(|(name, length)| {
            let path = at.join(name);
            fs::create_dir_all(path.parent().unwrap_or(at))?;
            fs::write(path, noise(*length))
        }),
    }
}

fn noise(length: usize) -> Vec<u8> {
    (0..length as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Whether two trees are the same.
fn same(one: &Path, other: &Path) -> Result<(), String> {
    let differs = |why: &dyn std::fmt::Display| format!("{}: {why}", other.display());
    if !one.is_dir() {
        let [one, other] = [one, other].map(fs::read);
        let same = one.map_err(|e| differs(&e))? == other.map_err(|e| differs(&e))?;
        return if same { Ok(()) } else { Err(differs(&"other bytes")) };
    }
    let names = |path: &Path| -> std::io::Result<Vec<_>> {
        let mut names = fs::read_dir(path)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<Vec<_>, std::io::Error>>()?;
        names.sort();
        Ok(names)
    };
    let ours = names(one).map_err(|e| differs(&e))?;
    if names(other).map_err(|e| differs(&e))? != ours {
        return Err(differs(&"other names"));
    }
    ours.iter().try_for_each(|name| same(&one.join(name), &other.join(name)))
}
