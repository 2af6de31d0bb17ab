//! `towpath share`: hashes what is to be shared, prints a link, serves until stopped.
//!
//! Without a tracker's URL one runs inside this process. Its port and its data belong to the share
//! and are kept, so that the link survives a restart.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use towpath_core::id::{ContentKey, Descriptor, Instance};
use towpath_core::link::Link;
use towpath_core::node::{Event, Input};
use towpath_core::path::PathKind;
use towpath_store::{Prepared, Source};
use towpath_tokio::Content;

use crate::failure::Failure;
use crate::own_tracker::OwnTracker;
use crate::report::{PROGRESS_INTERVAL, Report};
use crate::run::{self, Context, Running, Scratch};
use crate::settings::io_failure;
use crate::{cli, units};

const CONTENT: ContentKey = ContentKey(0);
/// Receivers that are remembered; more than ever are served at once.
const MAX_RECEIVERS: usize = 4_096;
/// A receiver of whom nothing was heard for so long is not shown any more.
const ACTIVE: Duration = Duration::from_secs(10);

/// Shares `args.paths`.
pub(crate) async fn share(
    args: cli::Share,
    context: &Context,
    report: &mut Report,
) -> Result<(), Failure> {
    let (paths, _scratch) = spooled(args.paths.clone(), context).await?;
    let data = context.data.path().to_path_buf();
    let work = move |told: &mut dyn FnMut(Prepared)| Source::prepare(&data, &paths, told);
    let source = Arc::new(run::told(context, report, "hashing", work).await?);
    let descriptor = source.descriptor();
    let secret = match args.public {
        true => None,
        false => Some(context.data.secret(descriptor.id())?),
    };
    let (url, own) = tracker(&args, context, descriptor).await?;
    let tracker = url.trim_end_matches('/').to_owned();
    let link =
        Link { tracker, locator: descriptor.locator(secret.as_ref()), secret: secret.clone() };
    let peer = run::start_peer(context, &args.network, url).await?;
    peer.register(CONTENT, Content::Source(Arc::clone(&source)))?;
    peer.send(Input::Share {
        content: CONTENT,
        descriptor,
        secret,
        name: source.name().to_owned(),
        contents: source.contents(),
    });
    introduce(&source, &args, own.as_ref(), report);
    let mut serving = Serving {
        peer,
        link: link.to_string(),
        descriptor,
        length_bytes: source.length_bytes(),
        wanted: if args.once { Some(1) } else { args.count },
        complete: 0,
        sent_bytes: 0,
        announced: false,
        receivers: BTreeMap::new(),
    };
    let result = serving.run(context, report).await;
    report.end_bar();
    let Serving { peer, complete, sent_bytes, .. } = serving;
    report.say(&format!(
        "{complete} complete {}, {} sent{}",
        if complete == 1 { "receiver" } else { "receivers" },
        units::bytes(sent_bytes),
        left_out(&source)
    ));
    peer.stop().await;
    if let Some(own) = own {
        own.stop().await;
    }
    result
}

/// `-` becomes a file: a share must be readable again and at any place.
async fn spooled(
    mut paths: Vec<PathBuf>,
    context: &Context,
) -> Result<(Vec<PathBuf>, Option<Scratch>), Failure> {
    if !paths.iter().any(|path| path.as_os_str() == "-") {
        return Ok((paths, None));
    }
    let dir = context.data.path().join(format!("stdin-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|error| io_failure("cannot make", &dir, &error))?;
    let scratch = Scratch(dir.clone());
    let file = dir.join("stdin");
    for path in paths.iter_mut().filter(|path| path.as_os_str() == "-") {
        path.clone_from(&file);
    }
    towpath_tokio::blocking(move || spool(&file)).await?;
    Ok((paths, Some(scratch)))
}

fn spool(path: &Path) -> Result<(), Failure> {
    let copy = || {
        let mut file = std::fs::File::create(path)?;
        std::io::copy(&mut std::io::stdin().lock(), &mut file)?;
        file.flush()
    };
    copy().map_err(|error| io_failure("cannot keep standard input in", path, &error))
}

async fn tracker(
    args: &cli::Share,
    context: &Context,
    descriptor: Descriptor,
) -> Result<(String, Option<OwnTracker>), Failure> {
    let given = args.tracker.clone().or_else(|| context.config.tracker.clone());
    if let Some(url) = given.filter(|_| args.advertise.is_none()) {
        let is_url = url.starts_with("http://") || url.starts_with("https://");
        let text = format!("'{url}' is not a tracker: it must begin with https:// or http://");
        return if is_url { Ok((url, None)) } else { Err(Failure::new("usage", text)) };
    }
    let dir = context.data.share_dir(descriptor.id())?;
    let own = OwnTracker::start(&dir, args.advertise.as_deref()).await?;
    Ok((own.url.clone(), Some(own)))
}

/// What it is and who can reach it.
fn introduce(source: &Source, args: &cli::Share, own: Option<&OwnTracker>, report: &Report) {
    let what = match source.contents() {
        None => "one file".to_owned(),
        Some(_) => format!("{} files", units::count(source.files())),
    };
    let who = if args.public {
        "public: everybody who asks the tracker"
    } else {
        "private: only who has the link"
    };
    let length = units::bytes(source.length_bytes());
    report.say(&format!("{}: {length}, {what}; {who}{}", source.name(), left_out(source)));
    if let Some(own) = own {
        report.say(&own.reach());
    }
}

fn left_out(source: &Source) -> String {
    let skipped = source.skipped();
    let mut parts = Vec::new();
    for (n, what) in [
        (skipped.links, "links that leave it were left out"),
        (skipped.special, "special files were left out"),
        (skipped.mode_bits, "setuid, setgid or sticky bits were dropped"),
    ] {
        if n > 0 {
            parts.push(format!("; {} {what}", units::count(n)));
        }
    }
    parts.concat()
}

/// A share that is served.
struct Serving {
    peer: Running,
    link: String,
    descriptor: Descriptor,
    length_bytes: u64,
    wanted: Option<u64>,
    complete: u64,
    sent_bytes: u64,
    announced: bool,
    receivers: BTreeMap<Instance, Receiver>,
}

/// Somebody who fetches.
struct Receiver {
    path: PathKind,
    sent_bytes: u64,
    done: bool,
    began: Instant,
    heard: Instant,
    since: Instant,
    since_bytes: u64,
}

impl Serving {
    async fn run(&mut self, context: &Context, report: &mut Report) -> Result<(), Failure> {
        let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.peer.next_event() => {
                    let Some(event) = event else {
                        return Err(Failure::new("internal", "the peer ended by itself"));
                    };
                    self.event(event, report);
                    if self.wanted.is_some_and(|wanted| self.complete >= wanted) {
                        return Ok(());
                    }
                }
                _ = ticks.tick() => self.show(report),
                () = context.interrupt.wait() => return Ok(()),
            }
        }
    }

    fn event(&mut self, event: Event, report: &Report) {
        match event {
            Event::Announced(_) if !self.announced => {
                self.announced = true;
                report.event(&json!({
                    "event": "sharing", "link": self.link,
                    "id": self.descriptor.id().to_string(), "length_bytes": self.length_bytes,
                }));
                report.print_link(&self.link);
            }
            Event::Receiver { peer, path, sent_bytes, done, .. } => {
                self.receiver(peer, path, sent_bytes, done, report);
            }
            Event::TrackerTrouble(text) => report.say(&format!("{text}; trying again")),
            Event::Failed(_, failure) => {
                let failure = Failure::from(failure);
                report.event(&json!({
                    "event": "error", "kind": failure.kind, "message": failure.message,
                }));
                report.say(&failure.message);
            }
            Event::Announced(_)
            | Event::Waiting(_)
            | Event::Described { .. }
            | Event::Path { .. }
            | Event::Unreachable { .. }
            | Event::PeerDropped { .. }
            | Event::SpaceComplete(..)
            | Event::Stopped => {}
        }
    }

    fn receiver(
        &mut self,
        peer: Instance,
        path: PathKind,
        sent_bytes: u64,
        done: bool,
        report: &Report,
    ) {
        report.event(&json!({
            "event": "receiver", "peer": peer.peer.to_string(),
            "instance": format!("{:016x}", peer.number), "path": path.to_string(),
            "sent_bytes": sent_bytes, "done": done,
        }));
        if !self.receivers.contains_key(&peer) {
            report.say(&format!("{}: {path}, fetching", peer.peer.short()));
        }
        let now = Instant::now();
        let receiver = self.receivers.entry(peer).or_insert(Receiver {
            path,
            sent_bytes: 0,
            done: false,
            began: now,
            heard: now,
            since: now,
            since_bytes: 0,
        });
        self.sent_bytes += sent_bytes.saturating_sub(receiver.sent_bytes);
        receiver.path = path;
        receiver.sent_bytes = sent_bytes;
        receiver.heard = now;
        if done && !receiver.done {
            receiver.done = true;
            self.complete += 1;
            let seconds = receiver.began.elapsed().as_secs_f64();
            let sent = units::bytes(sent_bytes);
            report.say(&format!("{}: {path}, done: {sent} in {seconds:.1} s", peer.peer.short()));
        }
        if self.receivers.len() > MAX_RECEIVERS {
            self.receivers.pop_first();
        }
    }

    fn show(&mut self, report: &mut Report) {
        let mut parts = Vec::new();
        let active = |receiver: &Receiver| !receiver.done && receiver.heard.elapsed() < ACTIVE;
        let number = self.receivers.values().filter(|receiver| active(receiver)).count();
        let shown = self.receivers.iter_mut().filter(|(_, receiver)| active(receiver));
        for (peer, receiver) in shown.take(4) {
            let seconds = receiver.since.elapsed().as_secs_f64();
            let sent = receiver.sent_bytes - receiver.since_bytes;
            let rate = sent as f64 / seconds.max(0.001);
            parts.push(format!(
                "{} {} {}/s {}",
                peer.peer.short(),
                receiver.path,
                units::bytes(rate as u64),
                units::bytes(receiver.sent_bytes)
            ));
            if seconds > 5.0 {
                receiver.since = Instant::now();
                receiver.since_bytes = receiver.sent_bytes;
            }
        }
        if number > 4 {
            parts.push(format!("and {} more", number - 4));
        }
        report.status(&parts.join("; "));
    }
}
