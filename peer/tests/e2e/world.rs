//! Runs the real `towpath` command for the tests of this folder: one data folder, children that are
//! killed when the test ends, events read line by line with a bound on every wait.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;

/// No step of a test takes longer than this on the slowest machine that we know.
const PATIENCE: Duration = Duration::from_secs(60);

/// A scratch folder with a data folder inside.
pub(crate) struct World {
    dir: tempfile::TempDir,
}

/// A running `towpath share`.
pub(crate) struct Share {
    child: Child,
    lines: mpsc::Receiver<String>,
    pub(crate) link: String,
    pub(crate) first: Value,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of bytes that do not repeat.
    pub(crate) fn file(&self, name: &str, length: usize) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes(length, name.len() as u64)).unwrap();
        path
    }

    pub(crate) fn towpath(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_towpath"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("TOWPATH_DATA", self.path("data"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env_remove("TOWPATH_TRACKER")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs to the end, within our patience.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        finish(self.towpath(args).spawn().unwrap())
    }

    /// Starts `share --json` with these arguments and waits for its link.
    pub(crate) fn share(&self, args: &[&str]) -> Share {
        self.share_as(self.towpath(&[&["share", "--json"], args].concat()))
    }

    pub(crate) fn share_as(&self, mut command: Command) -> Share {
        let mut child = command.spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        let first = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            child.kill().unwrap();
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("share printed nothing: {said}");
        });
        let first: Value = serde_json::from_str(&first).unwrap();
        assert_eq!(first["event"], "sharing", "{first}");
        let link = first["link"].as_str().unwrap().to_owned();
        Share { child, lines, link, first }
    }
}

impl Share {
    /// The next event that `wanted` accepts.
    pub(crate) fn event(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect("the event comes in time");
            let event: Value = serde_json::from_str(&line).unwrap();
            if wanted(&event) {
                return event;
            }
        }
    }

    /// Waits until it ends by itself.
    pub(crate) fn exit_code(mut self) -> Option<i32> {
        wait(&mut self.child)
    }

    /// Stops it as a user would.
    pub(crate) fn stop(mut self) -> Option<i32> {
        signal(&self.child, "TERM");
        wait(&mut self.child)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn signal(child: &Child, name: &str) {
    let status =
        Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn wait(child: &mut Child) -> Option<i32> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Collects what a child says and waits for its end.
pub(crate) fn finish(mut child: Child) -> Output {
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let out = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stdout.read_to_end(&mut bytes).unwrap();
        bytes
    });
    let err = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stderr.read_to_end(&mut bytes).unwrap();
        bytes
    });
    wait(&mut child);
    let status = child.wait().unwrap();
    Output { status, stdout: out.join().unwrap(), stderr: err.join().unwrap() }
}

fn lines_of(stdout: std::process::ChildStdout) -> mpsc::Receiver<String> {
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Bytes that do not repeat.
pub(crate) fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(length).collect()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The last event of a `--json` run.
pub(crate) fn last_event(output: &Output) -> Value {
    let said = text(&output.stdout);
    let line = said.lines().last().unwrap_or_else(|| panic!("nothing: {}", text(&output.stderr)));
    serde_json::from_str(line).unwrap()
}
