//! One file from many: three seeders with an upload limit, one of them killed or lying, and ten
//! getters at one seeder. Each is a process of its own; the tracker is one, too.
//!
//! A seeder sends at most 20 MB/s, so that the machine is not what is measured. The liar is
//! `fuzz/examples/liar.rs`.

use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::Measured;
use crate::transfer::{binary, remove};

const PATIENCE: Duration = Duration::from_secs(300);
const LIMIT: &str = "20MB";
const LIMIT_BYTES: &str = "20000000";
const GETTERS: usize = 10;

/// A tracker, and what is shared there.
struct Swarm<'a> {
    dir: &'a Path,
    source: &'a Path,
    bytes: u64,
    url: String,
    link: String,
    tracker: Option<Measured>,
    /// The seeders, and their lines: a pipe that nobody reads would stop them.
    shares: Vec<(Measured, Receiver<String>)>,
}

/// How a get went.
struct Got {
    seconds: f64,
    /// What came beyond the file's length.
    wasted_bytes: u64,
    /// Who was dropped, and why.
    dropped: Vec<(String, String)>,
    /// MB/s after half of the file was there.
    second_half: f64,
}

impl<'a> Swarm<'a> {
    fn start(dir: &'a Path, source: &'a Path, bytes: u64) -> Result<Self, String> {
        let mut command = Command::new(binary("towpath-tracker")?);
        command.args(["--listen", "127.0.0.1:0", "--data"]).arg(dir.join("tracker"));
        let mut tracker = Measured::start(command.stdout(Stdio::piped()).stderr(Stdio::null()))?;
        let line = tracker.lines().recv_timeout(PATIENCE).map_err(|_| "no tracker".to_owned())?;
        let url = line.trim_start_matches("listening on ").to_owned();
        let (tracker, link, shares) = (Some(tracker), String::new(), Vec::new());
        Ok(Self { dir, source, bytes, url, link, tracker, shares })
    }

    /// One more seeder. All have the secrets of one data folder, hence the same link.
    fn share(&mut self) -> Result<(), String> {
        let mut command = Command::new(binary("towpath")?);
        command.args(["share", "--tracker", &self.url, "--limit-up", LIMIT, "--data"]);
        command.arg(self.dir.join("data-share")).arg(self.source);
        let mut share = Measured::start(command.stdout(Stdio::piped()).stderr(Stdio::null()))?;
        let lines = share.lines();
        self.link = lines.recv_timeout(PATIENCE).map_err(|_| "no link".to_owned())?;
        self.shares.push((share, lines));
        Ok(())
    }

    /// A seeder that lies; its key.
    fn lie(&mut self) -> Result<String, String> {
        let liar = binary("examples/liar")?;
        let mut command = Command::new(liar);
        command.arg(&self.link).arg(self.source).arg(LIMIT_BYTES);
        let mut liar = Measured::start(command.stdout(Stdio::piped()))?;
        let lines = liar.lines();
        let line = lines.recv_timeout(PATIENCE).map_err(|_| "no liar".to_owned())?;
        self.shares.push((liar, lines));
        Ok(line.trim_start_matches("lying as ").to_owned())
    }

    fn start_get(&self, number: usize) -> Result<(Measured, Receiver<String>, PathBuf), String> {
        let target = self.dir.join(format!("target-{number}"));
        let mut command = Command::new(binary("towpath")?);
        command.args(["get", &self.link, "--json", "--data"]);
        command.arg(self.dir.join(format!("data-get-{number}"))).arg("-o").arg(&target);
        let mut get = Measured::start(command.stdout(Stdio::piped()).stderr(Stdio::null()))?;
        let lines = get.lines();
        Ok((get, lines, target))
    }

    /// One get to its end; `half_way` runs when half of the file is there.
    fn get(&mut self, half_way: impl FnOnce(&mut Self)) -> Result<Got, String> {
        let started = Instant::now();
        let (get, lines, target) = self.start_get(0)?;
        let mut half_way = Some(half_way);
        let mut at_half = (0.0, 0);
        let mut dropped = Vec::new();
        let mut received = 0;
        while let Ok(line) = lines.recv_timeout(PATIENCE) {
            let event: Value = serde_json::from_str(&line).map_err(|error| error.to_string())?;
            let number = |name: &str| event[name].as_u64().unwrap_or(0);
            let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            match event["event"].as_str() {
                Some("progress") if number("verified_bytes") >= self.bytes / 2 => {
                    if let Some(half_way) = half_way.take() {
                        at_half = (started.elapsed().as_secs_f64(), number("verified_bytes"));
                        half_way(self);
                    }
                }
                Some("peer_dropped") => dropped.push((text("peer"), text("reason"))),
                Some("done") => received = number("received_bytes"),
                _ => {}
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        get.finish()?;
        assert_same(self.source, &target)?;
        remove(&target)?;
        let second_half = (self.bytes - at_half.1) as f64 / 1e6 / (seconds - at_half.0);
        let wasted_bytes = received.saturating_sub(self.bytes);
        Ok(Got { seconds, wasted_bytes, dropped, second_half })
    }

    /// So many gets at once: seconds until all have it, and what the seeder has sent.
    fn get_all(&self, number: usize) -> Result<f64, String> {
        let started = Instant::now();
        let gets: Vec<_> = (0..number).map(|n| self.start_get(n)).collect::<Result<_, _>>()?;
        let mut targets = Vec::new();
        for (get, lines, target) in gets {
            while lines.recv_timeout(PATIENCE).is_ok() {}
            get.finish()?;
            targets.push(target);
        }
        let seconds = started.elapsed().as_secs_f64();
        for target in targets {
            assert_same(self.source, &target)?;
            remove(&target)?;
        }
        Ok(seconds)
    }

    fn stop(mut self) -> Result<(), String> {
        for (share, _) in self.shares.drain(..) {
            share.stop();
        }
        if let Some(tracker) = self.tracker.take() {
            tracker.stop();
        }
        // The next swarm begins with nobody known.
        remove(&self.dir.join("tracker"))
    }
}

/// Measures all of it and prints a line each.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub(crate) fn measure(dir: &Path, source: &Path, bytes: u64) -> Result<(), String> {
    let rate = |seconds: f64| bytes as f64 / 1e6 / seconds;
    println!("| swarm, seeders limited to 20 MB/s | s | MB/s | |");
    println!("|---|---|---|---|");

    let mut swarm = Swarm::start(dir, source, bytes)?;
    (0..3).try_for_each(|_| swarm.share())?;
    let got = swarm.get(|_| {})?;
    let wasted = wasted(&got, bytes);
    println!("| three seeders | {:.2} | {:.1} | {wasted} |", got.seconds, rate(got.seconds));
    let got = swarm.get(|swarm| drop(swarm.shares.pop()))?;
    println!(
        "| three seeders, one killed half-way | {:.2} | {:.1} | second half at {:.1} MB/s |",
        got.seconds,
        rate(got.seconds),
        got.second_half
    );
    let liar = swarm.lie()?;
    let got = swarm.get(|_| {})?;
    let named = got.dropped.iter().any(|(peer, _)| *peer == liar);
    let reason = got.dropped.first().map_or("", |(_, reason)| reason);
    println!(
        "| two seeders and a liar | {:.2} | {:.1} | right bytes; liar {}: \"{reason}\"; {} |",
        got.seconds,
        rate(got.seconds),
        if named { "dropped" } else { "NOT NAMED" },
        self::wasted(&got, bytes)
    );
    swarm.stop()?;

    let mut swarm = Swarm::start(dir, source, bytes)?;
    swarm.share()?;
    let one = swarm.get_all(1)?;
    println!("| one seeder, one getter | {one:.2} | {:.1} | |", rate(one));
    let all = swarm.get_all(GETTERS)?;
    let ratio = all / one;
    println!("| one seeder, ten getters | {all:.2} | | {ratio:.2} × the time of one |");
    swarm.stop()
}

fn wasted(got: &Got, bytes: u64) -> String {
    let percent = got.wasted_bytes as f64 * 100.0 / bytes as f64;
    format!("{percent:.2} % wasted")
}

fn assert_same(a: &Path, b: &Path) -> Result<(), String> {
    let open = |path: &Path| {
        File::open(path).map_err(|error| format!("cannot open {}: {error}", path.display()))
    };
    let (mut a, mut b) = (BufReader::new(open(a)?), BufReader::new(open(b)?));
    let (mut one, mut two) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let n = a.read(&mut one).map_err(|error| error.to_string())?;
        if n == 0 {
            let rest = b.read(&mut two).map_err(|error| error.to_string())?;
            return if rest == 0 { Ok(()) } else { Err("more came than was shared".into()) };
        }
        b.read_exact(&mut two[..n]).map_err(|error| error.to_string())?;
        if one[..n] != two[..n] {
            return Err("the bytes that came are not those that were shared".into());
        }
    }
}

/// Makes the file and measures.
pub(crate) fn run(dir: &Path, mib: u64) -> Result<(), String> {
    let source = dir.join("swarm");
    crate::write_large(&source, mib << 20)?;
    let result = measure(dir, &source, mib << 20);
    let _ = fs::remove_file(&source);
    result
}
