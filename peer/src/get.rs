//! `towpath get`: from a link to a whole, verified target.
//!
//! 1. The node finds somebody who has it and learns what it is (`Described`).
//! 2. The target is opened (or found whole), its room checked, and what an earlier run left is
//!    counted.
//! 3. Chunks come until the space is complete; a folder's manifest first, then its contents.
//! 4. The target is put under its name, the peers are told, and one line says how it went.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use towpath_core::id::{ContentKey, Descriptor, Kind, Space};
use towpath_core::link::Link;
use towpath_core::merkle::chunk_count;
use towpath_core::node::{ContentsShape, Event, Input, PeerDropReason, Progress, Sink};
use towpath_core::path::{PathKind, Reason};
use towpath_core::{download, name};
use towpath_store::{Opened, Prepared, Source, Target};
use towpath_tokio::Content;

use crate::cli;
use crate::failure::Failure;
use crate::report::{PROGRESS_INTERVAL, Report};
use crate::run::{self, Context, Running};
use crate::units;

const CONTENT: ContentKey = ContentKey(0);
const WHOLE_ALREADY: &str = "the target was whole already";

/// Where the bytes go.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Output {
    /// Standard output.
    Pipe,
    /// Into this folder, under the suggested name.
    Inside(PathBuf),
    /// Under this name.
    Named(PathBuf),
}

impl Output {
    fn new(wish: Option<PathBuf>) -> Self {
        match wish {
            None => Self::Inside(PathBuf::from(".")),
            Some(path) if path.as_os_str() == "-" => Self::Pipe,
            Some(path) if path.is_dir() || ends_with_slash(&path) => Self::Inside(path),
            Some(path) => Self::Named(path),
        }
    }

    fn target(&self, suggested: &str) -> Option<PathBuf> {
        match self {
            Self::Pipe => None,
            Self::Inside(folder) => Some(folder.join(name::sanitize(suggested))),
            Self::Named(path) => Some(path.clone()),
        }
    }
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().last() == Some(&b'/')
}

/// Fetches what `args.link` names.
pub(crate) async fn get(
    args: cli::Get,
    context: &Context,
    report: &mut Report,
) -> Result<(), Failure> {
    let link: Link =
        args.link.parse().map_err(|error| Failure::new("bad_link", format!("{error}")))?;
    let output = Output::new(args.output);
    if output == Output::Pipe && report.is_json() {
        let text = "--json and -o - both want standard output; leave one out";
        return Err(Failure::new("usage", text));
    }
    if let Output::Inside(folder) = &output {
        std::fs::create_dir_all(folder)
            .map_err(|error| crate::settings::io_failure("cannot make", folder, &error))?;
    }
    if let Output::Named(target) = &output
        && is_whole(target, &link, context, report).await?
    {
        return Ok(());
    }
    let sink = if output == Output::Pipe { Sink::Ordered } else { Sink::Store };
    let peer = run::start_peer(context, &args.network, link.tracker.clone()).await?;
    let mut fetch = Fetch {
        context,
        peer,
        output,
        force: args.force,
        started: Instant::now(),
        what: None,
        target: None,
        total_bytes: 0,
        root_bytes: 0,
        reason: None,
        last_trouble: None,
        unreachable: BTreeSet::new(),
    };
    fetch.peer.send(Input::Get {
        content: CONTENT,
        locator: link.locator,
        secret: link.secret,
        policy: args.network.path.into(),
        sink,
        serve: !args.no_serve && sink == Sink::Store,
        timeout: args.timeout.map(Duration::from_secs),
    });
    let result = fetch.run(report).await;
    report.end_bar();
    fetch.peer.stop().await;
    result
}

/// A fetch under way.
struct Fetch<'a> {
    context: &'a Context,
    peer: Running,
    output: Output,
    force: bool,
    started: Instant,
    what: Option<Described>,
    target: Option<Arc<Target>>,
    /// Bytes of the space that is being fetched.
    total_bytes: u64,
    /// Bytes of the manifest, once it is whole.
    root_bytes: u64,
    /// Why the path that was chosen last.
    reason: Option<(PathKind, Reason)>,
    last_trouble: Option<String>,
    /// What was said of peers that cannot be reached.
    unreachable: BTreeSet<String>,
}

/// What is being fetched.
struct Described {
    descriptor: Descriptor,
    shown: String,
}

/// Whether to go on.
enum Step {
    Continue,
    Done,
}

impl Fetch<'_> {
    async fn run(&mut self, report: &mut Report) -> Result<(), Failure> {
        let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = self.peer.next_event() => {
                    let Some(event) = event else {
                        return Err(Failure::new("internal", "the peer ended by itself"));
                    };
                    if matches!(self.event(event, report).await?, Step::Done) {
                        return Ok(());
                    }
                }
                _ = ticks.tick() => self.progress(report).await,
                () = self.context.interrupt.wait() => {
                    return Err(Failure::new(
                        "interrupted",
                        "interrupted; the same command goes on where it stopped",
                    ));
                }
            }
        }
    }

    async fn event(&mut self, event: Event, report: &mut Report) -> Result<Step, Failure> {
        match event {
            Event::Described { descriptor, name, .. } => {
                return self.described(descriptor, &name, report).await;
            }
            Event::SpaceComplete(_, space) => return self.complete(space, report).await,
            Event::Failed(_, failure) => return Err(self.failed(failure.into())),
            Event::Waiting(_) => report.say("nobody who has this is online; waiting for somebody"),
            Event::TrackerTrouble(text) => {
                report.say(&format!("{text}; trying again"));
                self.last_trouble = Some(text);
            }
            Event::Path { peer, path, reason, .. } => {
                report.event(&json!({
                    "event": "path", "peer": peer.to_string(), "path": path.to_string(),
                    "reason": reason.to_string(),
                }));
                report.say(&format!("{}: {path}, {reason}", peer.short()));
                // Who came by itself does not explain how the others were reached.
                if reason != Reason::PeerCame || self.reason.is_none() {
                    self.reason = Some((path, reason));
                }
            }
            Event::Unreachable { peer, reason, .. } => {
                let line = format!("{}: not reachable: {reason}", peer.short());
                // Every instance of a peer that has gone is tried; once is enough to know.
                if self.unreachable.insert(line.clone()) {
                    report.say(&line);
                }
            }
            Event::PeerDropped { peer, reason, .. } => {
                let reason = drop_sentence(&reason);
                report.event(&json!({
                    "event": "peer_dropped", "peer": peer.to_string(), "reason": reason,
                }));
                report.say(&format!("{}: dropped: {reason}", peer.short()));
            }
            Event::Announced(_) | Event::Receiver { .. } | Event::Stopped => {}
        }
        Ok(Step::Continue)
    }

    /// A download that failed because nobody was there says so of the tracker if that was the
    /// reason.
    fn failed(&mut self, failure: Failure) -> Failure {
        match self.last_trouble.take() {
            Some(trouble) if failure.kind == "nobody_online" => Failure::new("tracker", trouble),
            _ => failure,
        }
    }

    async fn described(
        &mut self,
        descriptor: Descriptor,
        suggested: &str,
        report: &mut Report,
    ) -> Result<Step, Failure> {
        let shown = name::sanitize(suggested);
        self.what = Some(Described { descriptor, shown: shown.clone() });
        if descriptor.kind == Kind::File {
            report.say(&format!("{shown}: {}, one file", units::bytes(descriptor.length_bytes)));
        }
        let Some(out) = self.output.target(suggested) else {
            return self.begin_pipe(descriptor, report);
        };
        let force = self.force;
        let work =
            move |told: &mut dyn FnMut(Prepared)| Target::open(&out, descriptor, force, told);
        let target = match run::told(self.context, report, "checking", work).await? {
            Opened::Whole(_) => return self.done(&shown, 0, report).await,
            Opened::Partial(target) => Arc::new(target),
        };
        self.target = Some(Arc::clone(&target));
        self.peer.register(CONTENT, Content::Target(target))?;
        self.begin(Space::Root, report).await?;
        Ok(Step::Continue)
    }

    fn begin_pipe(&mut self, descriptor: Descriptor, report: &mut Report) -> Result<Step, Failure> {
        if descriptor.kind == Kind::Manifest {
            let text = "this is a folder, which cannot go to standard output; say -o DIR";
            return Err(Failure::new("usage", text));
        }
        let writer = Box::new(std::io::stdout());
        self.peer.register(CONTENT, Content::Ordered { descriptor, writer })?;
        let chunks = chunk_count(descriptor.length_bytes);
        let shape = ContentsShape { chunks, bytes: descriptor.length_bytes };
        self.total_bytes = shape.bytes;
        report.stage("fetching", shape.bytes, 0);
        let have = download::ChunkSet::empty(chunks);
        self.peer.send(Input::Begin { content: CONTENT, space: Space::Root, shape, have });
        Ok(Step::Continue)
    }

    async fn begin(&mut self, space: Space, report: &mut Report) -> Result<(), Failure> {
        let target = Arc::clone(self.target.as_ref().expect("opened before its spaces begin"));
        let work = move |told: &mut dyn FnMut(Prepared)| target.begin(space, told);
        let (shape, have) = run::told(self.context, report, "checking", work).await?;
        self.total_bytes = self.root_bytes + shape.bytes;
        if space == Space::Contents {
            let shown = self.what.as_ref().map_or("", |what| &what.shown);
            let files = self.target.as_ref().map_or(0, |target| target.files());
            report.say(&format!(
                "{shown}: {}, {} files",
                units::bytes(shape.bytes),
                units::count(files)
            ));
        }
        report.stage("fetching", self.total_bytes, self.root_bytes);
        self.peer.send(Input::Begin { content: CONTENT, space, shape, have });
        Ok(())
    }

    async fn complete(&mut self, space: Space, report: &mut Report) -> Result<Step, Failure> {
        let what = self.what.as_ref().expect("described before it is complete");
        let shown = what.shown.clone();
        if space == Space::Root && what.descriptor.kind == Kind::Manifest {
            self.root_bytes = what.descriptor.length_bytes;
            self.begin(Space::Contents, report).await?;
            return Ok(Step::Continue);
        }
        let total = self.total_bytes;
        if let Some(target) = self.target.clone() {
            run::blocking(move || target.finish()).await?;
        }
        self.peer.send(Input::Finished(CONTENT));
        self.done(&shown, total, report).await
    }

    /// The last line.
    async fn done(
        &self,
        shown: &str,
        total_bytes: u64,
        report: &mut Report,
    ) -> Result<Step, Failure> {
        let progress = self.peer.progress(CONTENT).await;
        let reason = match &self.reason {
            _ if progress.received_bytes == 0 => WHOLE_ALREADY.to_owned(),
            Some((_, reason)) => reason.to_string(),
            None => String::new(),
        };
        let length = self.what.as_ref().map_or(total_bytes, |what| match what.descriptor.kind {
            Kind::File => what.descriptor.length_bytes,
            Kind::Manifest => total_bytes.max(what.descriptor.length_bytes),
        });
        tell_done(shown, length, self.started.elapsed(), &progress, &reason, report);
        Ok(Step::Done)
    }

    async fn progress(&self, report: &mut Report) {
        if self.what.is_none() {
            return;
        }
        let progress = self.peer.progress(CONTENT).await;
        let done = self.root_bytes + progress.verified_bytes;
        report.event(&json!({
            "event": "progress", "verified_bytes": done,
            "received_bytes": progress.received_bytes,
        }));
        let path = self.reason.as_ref().map_or(String::new(), |(path, _)| format!(", {path}"));
        let people = if progress.peers == 1 { "peer" } else { "peers" };
        let note = format!(", {} {people}{path}", progress.peers);
        report.progress("fetching", done.min(self.total_bytes), self.total_bytes, &note);
    }
}

/// Whether the target is what the link names, whole. Then nobody needs to be online.
async fn is_whole(
    target: &Path,
    link: &Link,
    context: &Context,
    report: &mut Report,
) -> Result<bool, Failure> {
    if !target.exists() {
        return Ok(false);
    }
    let started = Instant::now();
    let (data, paths) = (context.data.path().to_path_buf(), [target.to_path_buf()]);
    let work = move |told: &mut dyn FnMut(Prepared)| Source::prepare(&data, &paths, told);
    // What cannot be read is not whole; opening it as a target will say why.
    let Ok(found) = run::told(context, report, "checking", work).await else { return Ok(false) };
    if found.descriptor().locator(link.secret.as_ref()) != link.locator {
        return Ok(false);
    }
    let shown = target.display().to_string();
    let nothing = Progress::default();
    tell_done(&shown, found.length_bytes(), started.elapsed(), &nothing, WHOLE_ALREADY, report);
    Ok(true)
}

/// The last event and the last line.
fn tell_done(
    shown: &str,
    length: u64,
    took: Duration,
    progress: &Progress,
    reason: &str,
    report: &mut Report,
) {
    report.end_bar();
    let seconds = took.as_secs_f64();
    let [direct, punched, relay] = progress.by_path_bytes;
    report.event(&json!({
        "event": "done", "length_bytes": length, "received_bytes": progress.received_bytes,
        "seconds": seconds,
        "by_path": { "direct": direct, "punched": punched, "relay": relay },
        "reason": reason,
    }));
    report.say(&last_line(shown, length, seconds, progress, reason));
}

fn last_line(shown: &str, length: u64, seconds: f64, progress: &Progress, reason: &str) -> String {
    if progress.received_bytes == 0 {
        return format!("{shown}: {}, {reason}", units::bytes(length));
    }
    let rate = progress.received_bytes as f64 / 1e6 / seconds.max(1e-6);
    let paths: Vec<String> = [PathKind::Direct, PathKind::Punched, PathKind::Relay]
        .into_iter()
        .zip(progress.by_path_bytes)
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(path, bytes)| format!("{path} {}", units::bytes(bytes)))
        .collect();
    format!(
        "{shown}: {} in {seconds:.1} s, {rate:.1} MB/s; {} ({reason})",
        units::bytes(length),
        paths.join(", ")
    )
}

fn drop_sentence(reason: &PeerDropReason) -> String {
    match reason {
        PeerDropReason::Download(download::DropReason::FalseChunk) => {
            "it sent a chunk that is not what was shared".into()
        }
        PeerDropReason::Download(download::DropReason::Silent) => "it does not answer".into(),
        PeerDropReason::Download(download::DropReason::SourceChanged) => {
            "its source changed since it was shared".into()
        }
        PeerDropReason::NotTheShare => "it does not have what the link names".into(),
        PeerDropReason::Closed(reason) => reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_follow_the_rules() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().to_path_buf();
        assert_eq!(Output::new(Some("-".into())), Output::Pipe);
        assert_eq!(Output::new(Some(folder.clone())), Output::Inside(folder.clone()));
        assert_eq!(Output::new(Some("new/".into())), Output::Inside("new/".into()));
        assert_eq!(Output::new(None).target("../../.x"), Some(PathBuf::from("./x")));
        assert_eq!(Output::new(Some("y".into())).target("x"), Some(PathBuf::from("y")));
    }
}
