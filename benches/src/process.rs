//! Children that are measured: time, processor seconds and peak memory, as the kernel counts them.
//!
//! Processor time is read when the child has ended and before it is reaped, so that nothing of it
//! is missing; peak memory (`VmHWM`) only grows, and is read every few milliseconds while the child
//! lives.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// What a child has cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cost {
    /// From its start to its end.
    pub(crate) seconds: f64,
    /// User and system time.
    pub(crate) cpu_seconds: f64,
    /// Peak of its resident memory.
    pub(crate) peak_bytes: u64,
}

/// A child that runs.
pub(crate) struct Measured {
    child: Child,
    started: Instant,
    peak_bytes: Arc<AtomicU64>,
}

impl Measured {
    /// Starts it, without input; its output goes nowhere unless the command says otherwise.
    pub(crate) fn start(command: &mut Command) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let started = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        let peak_bytes = Arc::new(AtomicU64::new(0));
        let (id, peak) = (child.id(), Arc::clone(&peak_bytes));
        thread::spawn(move || {
            while let Some(now) = peak_of(id) {
                peak.fetch_max(now, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        Ok(Self { child, started, peak_bytes })
    }

    /// The lines of its standard output, which the command must pipe.
    pub(crate) fn lines(&mut self) -> mpsc::Receiver<String> {
        let stdout = self.child.stdout.take().expect("the command pipes its output");
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        lines
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has cost so far.
    pub(crate) fn so_far(&self) -> Cost {
        Cost {
            seconds: self.started.elapsed().as_secs_f64(),
            cpu_seconds: cpu_of(self.child.id()),
            peak_bytes: self.peak_bytes.load(Ordering::Relaxed),
        }
    }

    /// Waits for its end; an error if it failed.
    pub(crate) fn finish(mut self) -> Result<Cost, String> {
        let pid = Pid::from_child(&self.child);
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)
            .map_err(|error| format!("cannot wait: {error}"))?;
        let cost = self.so_far();
        let status = self.child.wait().map_err(|error| format!("cannot wait: {error}"))?;
        if status.success() { Ok(cost) } else { Err(format!("a child ended with {status}")) }
    }

    /// Ends it as a user would, and says what it has cost.
    pub(crate) fn stop(mut self) -> Cost {
        let pid = Pid::from_child(&self.child);
        // If it has ended already there is nothing to end.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let cost = self.so_far();
        let _ = self.child.wait();
        cost
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn peak_of(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// User and system time in seconds, children that it has waited for included, from `/proc/PID/stat`
/// (fields 14 to 17, in hundredths).
fn cpu_of(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(4).filter_map(|t| t.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}
