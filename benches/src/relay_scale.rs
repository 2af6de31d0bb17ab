//! A relay with many clients: what an idle connection costs, how fairly circuits share it, and
//! what one reader that does not read costs the others.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::fleet::{Fleet, address};
use crate::process::Measured;
use crate::transfer::{binary, remove};

/// Idle connections after which memory is looked at first: what the first ones cost is the
/// tracker's own.
const WARM: usize = 200;
const SLOW_CIRCUITS: usize = 100;

struct Tracker {
    process: Measured,
    fleet: Fleet,
}

impl Tracker {
    fn start(dir: &Path) -> Result<Self, String> {
        let data = dir.join("tracker");
        if data.exists() {
            remove(&data)?;
        }
        let mut command = Command::new(binary("towpath-tracker")?);
        command.args(["--listen", "127.0.0.1:0", "--data"]).arg(data);
        let mut process = Measured::start(command.stdout(Stdio::piped()).stderr(Stdio::null()))?;
        let patience = Duration::from_secs(60);
        let line = process.lines().recv_timeout(patience).map_err(|_| "no tracker".to_owned())?;
        let fleet = Fleet::new(address(line.trim_start_matches("listening on "))?);
        Ok(Self { process, fleet })
    }

    /// A line of the kernel's account, in KiB.
    fn kib(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = fs::read_to_string(path).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    }

    fn join(&mut self, number: usize) -> Result<(), String> {
        (0..number).try_for_each(|_| self.fleet.join())
    }

    /// So many circuits, each between two clients of its own: even ones send to odd ones.
    fn open(&mut self, circuits: usize) -> Result<(), String> {
        self.join(2 * circuits)?;
        (0..circuits).for_each(|n| self.fleet.open(2 * n, 2 * n + 1));
        self.fleet.flush()?;
        self.fleet.run(Duration::from_secs(2))
    }

    /// Bytes that came over each circuit in this time.
    fn carry(&mut self, time: Duration) -> Result<Vec<u64>, String> {
        let count = |fleet: &Fleet| -> Vec<u64> {
            fleet.members.iter().skip(1).step_by(2).map(|member| member.received).collect()
        };
        let before = count(&self.fleet);
        self.fleet.run(time)?;
        Ok(count(&self.fleet).into_iter().zip(before).map(|(now, then)| now - then).collect())
    }
}

/// Measures all of it.
#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
pub(crate) fn run(dir: &Path, idle: usize, circuits: usize) -> Result<(), String> {
    raise_limit();
    let mut tracker = Tracker::start(dir)?;
    tracker.join(WARM)?;
    let before = tracker.kib("VmRSS");
    let started = Instant::now();
    tracker.join(idle)?;
    let rate = idle as f64 / started.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_secs(2));
    let kib = (tracker.kib("VmRSS") - before) as f64 / idle as f64;
    println!("{idle} idle connections: {kib:.2} KiB each ({rate:.0} logins/s)");
    drop(tracker);

    let mut tracker = Tracker::start(dir)?;
    tracker.open(circuits)?;
    let before = tracker.process.so_far().cpu_seconds;
    let time = Duration::from_secs(10);
    let got = tracker.carry(time)?;
    let cpu = tracker.process.so_far().cpu_seconds - before;
    let sum: u64 = got.iter().sum();
    let (least, most) = (got.iter().min().unwrap_or(&0), got.iter().max().unwrap_or(&0));
    println!(
        "{circuits} circuits: {:.0} MB/s, {:.2} relay CPU s/GiB, slowest : fastest {:.2}, peak \
         {} MiB",
        sum as f64 / 1e6 / time.as_secs_f64(),
        cpu / (sum as f64 / (1u64 << 30) as f64),
        *least as f64 / (*most).max(1) as f64,
        tracker.kib("VmHWM") / 1024,
    );
    let mut got = got;
    got.sort_unstable();
    let part = |n: usize| got[(got.len() - 1) * n / 100] as f64 / 1e6 / time.as_secs_f64();
    println!(
        "each, MB/s: least {:.2}, tenth {:.2}, median {:.2}, nine tenths {:.2}, most {:.2}",
        part(0),
        part(10),
        part(50),
        part(90),
        part(100)
    );
    drop(tracker);

    let mut tracker = Tracker::start(dir)?;
    tracker.open(SLOW_CIRCUITS)?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        for stalls in [false, true] {
            tracker.fleet.members[1].stalls = stalls;
            tracker.carry(Duration::from_millis(300))?;
            let others: u64 = tracker.carry(Duration::from_millis(1_500))?.iter().skip(1).sum();
            if stalls { with.push(others) } else { without.push(others) }
        }
    }
    let (with, without) = (median(&mut with), median(&mut without));
    println!(
        "one of {SLOW_CIRCUITS} readers stalls: the others carry {:.0} MB/s, and {:.0} when it \
         reads ({:+.1} %)",
        with / 1.5e6,
        without / 1.5e6,
        (with / without - 1.0) * 100.0
    );
    Ok(())
}

fn median(of: &mut [u64]) -> f64 {
    of.sort_unstable();
    of[of.len() / 2] as f64
}

/// As many sockets as we may have; the tracker inherits it.
fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    // What cannot be raised shows when a socket cannot be opened.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}
