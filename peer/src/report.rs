//! What a person or a script is told: lines and bars on standard error, or JSON on standard output.
//!
//! Standard output belongs to the link, to `-o -` and to `--json`; everything for eyes goes to
//! standard error. `--quiet` leaves only errors. Bars appear only on a terminal; elsewhere a line
//! every few seconds says the same.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::units;

/// How often progress is told: JSON "several times a second", bars smoothly, plain lines rarely.
pub(crate) const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
const PLAIN_LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Tells everything that a command has to tell.
pub(crate) struct Report {
    json: bool,
    quiet: bool,
    bar: Option<ProgressBar>,
    meter: Meter,
    last_line: Option<Instant>,
}

impl Report {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, bar: None, meter: Meter::default(), last_line: None }
    }

    /// Whether standard output belongs to `--json`.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// A line for people.
    pub(crate) fn say(&self, line: &str) {
        if self.quiet || self.json {
            return;
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// The one result that a script takes from standard output: the link.
    #[expect(clippy::print_stdout, reason = "standard output is where the link belongs")]
    pub(crate) fn print(&self, line: &str) {
        println!("{line}");
        let _ = std::io::stdout().flush();
    }

    /// One JSON object, if JSON is wanted; whether it is.
    #[expect(clippy::print_stdout, reason = "standard output is where --json belongs")]
    pub(crate) fn event(&self, value: &Value) -> bool {
        if self.json {
            println!("{value}");
            let _ = std::io::stdout().flush();
        }
        self.json
    }

    /// The link, unless an event has told it.
    pub(crate) fn print_link(&self, link: &str) {
        if !self.json {
            self.print(link);
        }
    }

    /// The failure that ends the command.
    pub(crate) fn fail(&mut self, failure: &Failure) {
        self.end_bar();
        self.event(&json!({
            "event": "error", "kind": failure.kind, "message": failure.message,
        }));
        if !self.json {
            eprintln!("towpath: {}", failure.message);
        }
    }

    /// Starts a new stage ("hashing", "fetching") of `total` bytes, `done` of which are there
    /// already.
    pub(crate) fn stage(&mut self, what: &'static str, total: u64, done: u64) {
        self.end_bar();
        self.meter = Meter::new(done);
        self.last_line = Some(Instant::now());
        if self.quiet || self.json || !std::io::stderr().is_terminal() {
            return;
        }
        let bar =
            ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {msg}");
        bar.set_style(style.expect("the template is right").progress_chars("━╸ "));
        bar.set_prefix(what);
        bar.tick();
        self.bar = Some(bar);
    }

    /// How far the stage is; `note` says more (peers, path).
    pub(crate) fn progress(&mut self, what: &str, done: u64, total: u64, note: &str) {
        let rate = self.meter.rate(done);
        let left = match (total.saturating_sub(done)).checked_div(rate) {
            Some(seconds) if done < total => {
                format!(", {} left", units::duration(Duration::from_secs(seconds)))
            }
            _ => String::new(),
        };
        let percent = (done * 100).checked_div(total).unwrap_or(100);
        let text = format!(
            "{percent}% {} of {}, {}/s{left}{note}",
            units::bytes(done),
            units::bytes(total),
            units::bytes(rate)
        );
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            bar.set_message(text);
        } else if self.last_line.is_none_or(|at| at.elapsed() >= PLAIN_LINE_INTERVAL) {
            self.last_line = Some(Instant::now());
            self.say(&format!("{what}: {text}"));
        }
    }

    /// What goes on now, for a command without an end; nothing to say takes it away.
    pub(crate) fn status(&mut self, text: &str) {
        if text.is_empty() {
            return self.end_bar();
        }
        if self.quiet || self.json {
            return;
        }
        if std::io::stderr().is_terminal() {
            let bar = self.bar.get_or_insert_with(|| {
                let target = ProgressDrawTarget::stderr_with_hz(10);
                let bar = ProgressBar::with_draw_target(None, target);
                bar.set_style(
                    ProgressStyle::with_template("{msg}").expect("the template is right"),
                );
                bar
            });
            bar.set_message(text.to_owned());
            bar.tick();
        } else if self.last_line.is_none_or(|at| at.elapsed() >= PLAIN_LINE_INTERVAL) {
            self.last_line = Some(Instant::now());
            self.say(text);
        }
    }

    /// Takes the bar away.
    pub(crate) fn end_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// A rate over the last seconds, so that the estimate of the time left is honest and calm.
#[derive(Default)]
struct Meter {
    samples: std::collections::VecDeque<(Instant, u64)>,
}

impl Meter {
    const WINDOW: Duration = Duration::from_secs(5);

    fn new(done: u64) -> Self {
        Self { samples: [(Instant::now(), done)].into() }
    }

    /// Bytes a second over the window.
    fn rate(&mut self, done: u64) -> u64 {
        let now = Instant::now();
        self.samples.push_back((now, done));
        while self.samples.len() > 2
            && self.samples.get(1).is_some_and(|(at, _)| now - *at > Self::WINDOW)
        {
            self.samples.pop_front();
        }
        let (since, before) = self.samples.front().copied().unwrap_or((now, done));
        let millis = u64::try_from((now - since).as_millis()).unwrap_or(u64::MAX);
        (done.saturating_sub(before) * 1_000).checked_div(millis).unwrap_or(0)
    }
}
