//! One transfer by Towpath: a tracker, a share, a get, each a process of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Row;
use crate::process::Measured;

/// Hashing a large file before the link appears takes its time.
const PATIENCE: Duration = Duration::from_secs(300);

pub(crate) fn binary(name: &str) -> Result<PathBuf, String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let path = me.with_file_name(name);
    if path.exists() {
        return Ok(path);
    }
    let hint = "cargo build --release -p towpath -p towpath-tracker; for the liar\n    \
                cargo build --release -p towpath-fuzz --example liar";
    Err(format!("{} is missing: {hint}", path.display()))
}

/// Carries `source` over `path` (`direct` or `relay`) and measures from the start of `get` to its
/// end.
pub(crate) fn towpath(dir: &Path, source: &Path, bytes: u64, path: &str) -> Result<Row, String> {
    let target = dir.join("target");
    warm(&target, bytes)?;
    let mut tracker = Measured::start(
        Command::new(binary("towpath-tracker")?)
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(dir.join("tracker"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    )?;
    let line = tracker.lines().recv_timeout(PATIENCE).map_err(|_| "no tracker".to_owned())?;
    let url = line.trim_start_matches("listening on ").to_owned();
    let mut share = Measured::start(
        Command::new(binary("towpath")?)
            .args(["share", "--tracker", &url, "--data"])
            .arg(dir.join("data-share"))
            .arg(source)
            .stdout(Stdio::piped())
            .stderr(Stdio::null()),
    )?;
    let link = share.lines().recv_timeout(PATIENCE).map_err(|_| "no link".to_owned())?;
    let before = (tracker.so_far(), share.so_far());
    let get = Measured::start(
        Command::new(binary("towpath")?)
            .args(["get", &link, "--path", path, "--quiet", "--data"])
            .arg(dir.join("data-get"))
            .arg("-o")
            .arg(&target)
            .stdout(Stdio::null()),
    )?;
    let got = get.finish()?;
    let mut shared = share.stop();
    shared.cpu_seconds -= before.1.cpu_seconds;
    let mut tracked = tracker.stop();
    tracked.cpu_seconds -= before.0.cpu_seconds;
    remove(&target)?;
    let what = if source.is_dir() { "towpath, small files" } else { "towpath" };
    Ok(Row {
        name: format!("{what}, {path}"),
        bytes,
        seconds: got.seconds,
        sides: vec![("share", shared), ("get", got), ("tracker", tracked)],
    })
}

/// Writes as much as the target will take once, and deletes it.
pub(crate) fn warm(target: &Path, bytes: u64) -> Result<(), String> {
    use std::io::Write as _;
    let error = |error: std::io::Error| format!("cannot write {}: {error}", target.display());
    let mut file = fs::File::create(target).map_err(error)?;
    let block = vec![1; 1 << 20];
    for _ in 0..bytes.div_ceil(1 << 20) {
        file.write_all(&block).map_err(error)?;
    }
    remove(target)
}

pub(crate) fn remove(path: &Path) -> Result<(), String> {
    let gone = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    gone.map_err(|error| format!("cannot remove {}: {error}", path.display()))
}
