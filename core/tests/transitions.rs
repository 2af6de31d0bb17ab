//! What every machine does in every state with every input, as text.
//!
//! A real machine is brought into each state and fed each input; what it says and where it goes is
//! written down in `core/tests/transitions/*.txt`, which can be read as documentation and which
//! this test compares. If a change is meant, renew the tables, look at the diff and commit it:
//! `TOWPATH_RENEW=1 cargo test -p towpath-core --test transitions`.

#[path = "transitions/client.rs"]
mod client;
#[path = "transitions/download.rs"]
mod download;
#[path = "transitions/hub.rs"]
mod hub;
#[path = "transitions/node.rs"]
mod node;
#[path = "transitions/path.rs"]
mod path;
#[path = "transitions/relay.rs"]
mod relay;
#[path = "transitions/session.rs"]
mod session;

use std::fmt::Write;
use std::time::Duration;

use towpath_core::time::Instant;

/// The states and inputs of one machine.
struct Table<M> {
    name: &'static str,
    /// What the table is about, for readers.
    about: &'static str,
    states: Vec<State<M>>,
    inputs: Vec<Input<M>>,
    /// Everything that the machine says, in short.
    drain: fn(&mut M) -> Vec<String>,
    /// The name of the state that it is in: a name in `states` begins with it.
    state: fn(&M) -> String,
}

/// A name, and how to bring a machine there.
struct State<M>(&'static str, fn() -> M);

/// A name, and what is done; `false` if nobody can do that in this state.
struct Input<M>(&'static str, fn(&mut M) -> bool);

/// The moment at which all machines begin.
const START: Instant = Instant::from_nanos(1_000_000_000_000);

/// When to tick a machine that waits until `deadline`; one that waits for nothing gets it late.
fn tick_time(now: Instant, deadline: Instant) -> Instant {
    if deadline == Instant::NEVER { now + Duration::from_secs(3_600) } else { deadline.max(now) }
}

/// A debug text without these names around numbers: `link: LinkId(1)` becomes `link: 1`.
fn bare(text: &str, name: &str) -> String {
    let open = format!("{name}(");
    let mut parts = text.split(&open);
    let mut bare = parts.next().unwrap_or_default().to_string();
    for part in parts {
        bare.push_str(&part.replacen(')', "", 1));
    }
    bare
}

impl<M> Table<M> {
    fn check(&self) {
        let text = self.write();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transitions");
        let path = folder.join(format!("{}.txt", self.name));
        if std::env::var_os("TOWPATH_RENEW").is_some() {
            std::fs::write(&path, &text).expect("the table can be written");
        }
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let differs = before.lines().zip(text.lines()).position(|(old, new)| old != new);
        let line = differs.unwrap_or_else(|| before.lines().count().min(text.lines().count()));
        let [old, new] = [&before, &text].map(|text| text.lines().nth(line).unwrap_or("(end)"));
        assert!(
            before == text,
            "{}.txt, line {}:\n- {old}\n+ {new}\nIf that is meant, renew the tables, look at the \
             diff and commit it: TOWPATH_RENEW=1 cargo test -p towpath-core --test transitions",
            self.name,
            line + 1,
        );
    }

    /// The matrix of states, and below it what is said in each cell.
    fn write(&self) -> String {
        let mut matrix = String::new();
        let mut cells = String::new();
        let width = self.states.iter().map(|state| state.0.len()).max().unwrap_or(0);
        let column = if self.inputs.len() > 12 { 6 } else { 12 };
        write!(matrix, "{:width$}", "").expect("a string takes all");
        for number in 1..=self.inputs.len() {
            write!(matrix, "  {number:column$}").expect("a string takes all");
        }
        matrix = format!("{}\n", matrix.trim_end());
        for State(state, make) in &self.states {
            write!(matrix, "{state:width$}").expect("a string takes all");
            writeln!(cells, "\n{state}").expect("a string takes all");
            for Input(input, put) in &self.inputs {
                let (next, said) = self.cell(state, *make, *put);
                let short = match (&next, said.is_empty()) {
                    (None, _) => "–",
                    (Some(next), true) if state.starts_with(next.as_str()) => "·",
                    (Some(next), false) if state.starts_with(next.as_str()) => "=",
                    (Some(next), _) => next.as_str(),
                };
                let short: String = short.chars().take(column).collect();
                write!(matrix, "  {short:column$}").expect("a string takes all");
                if !matches!(short.as_str(), "–" | "·") {
                    let stays = short == "=";
                    let next = next.filter(|_| !stays).map(|next| format!(" → {next}"));
                    let next = next.unwrap_or_default();
                    let said = if said.is_empty() { String::new() } else { said.join("; ") };
                    let line = format!("    {input}{next}: {said}");
                    writeln!(cells, "{}", line.trim_end_matches([' ', ':'])).expect("it takes all");
                }
            }
            matrix = format!("{}\n", matrix.trim_end());
        }
        let mut text = format!("{}\n\n{}\n\n", self.name, self.about);
        for (number, Input(input, _)) in (1..).zip(&self.inputs) {
            writeln!(text, "{number:4}  {input}").expect("a string takes all");
        }
        format!(
            "{text}\n{matrix}\n· nothing happens   = it stays and says something   \
             – nobody can do that there\n{cells}"
        )
    }

    /// What becomes of one input in one state.
    fn cell(
        &self,
        state: &str,
        make: fn() -> M,
        put: fn(&mut M) -> bool,
    ) -> (Option<String>, Vec<String>) {
        let mut machine = make();
        (self.drain)(&mut machine);
        let is = (self.state)(&machine);
        assert!(state.starts_with(&is), "{}: meant to be in {state}, and is in {is}", self.name);
        if !put(&mut machine) {
            return (None, Vec::new());
        }
        let said = (self.drain)(&mut machine);
        (Some((self.state)(&machine)), said)
    }
}
