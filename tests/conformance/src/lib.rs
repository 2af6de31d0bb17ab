//! What every driver of the core must be able to do: scenarios as data, and the table of who can.
//!
//! `tests/table.rs` plays each scenario on each driver: on tokio, on smol, on plain threads, and in
//! the simulated world. Then drivers meet each other. Nothing here knows how a driver works.

use std::fmt;

/// One thing that every driver must be able to do.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// One line.
    pub name: &'static str,
    /// What is shared.
    pub content: Content,
    /// Whether its link has a secret.
    pub private: bool,
    /// Whether it goes into a pipe, in order, instead of the store.
    pub piped: bool,
    /// How the getters reach the sharer.
    pub way: Way,
    /// How many fetch it.
    pub getters: usize,
    /// What happens on the way.
    pub trouble: Trouble,
    /// How it must end for every getter.
    pub end: End,
}

/// What is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// A file of so many bytes.
    File(usize),
    /// A folder with these files, of so many bytes each.
    Folder(&'static [(&'static str, usize)]),
}

/// How the getters reach the sharer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Over TCP.
    Direct,
    /// Over TCP, after the address of another peer was tried.
    AfterAStranger,
    /// Through the relay, because the announced address refuses.
    Refused,
    /// Through the relay, because it is asked for.
    Relay,
}

/// What happens on the way, as soon as the first chunks are through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// The getter dies, and its command is given again.
    GetterDies,
    /// The sharer dies, and its command is given again.
    SharerDies,
    /// The sharer says goodbye and stays away.
    SharerQuits,
    /// The source is written to.
    SourceChanges,
    /// All connections to the relay break; after a while it is back.
    RelayBreaks,
    /// From the beginning: the getter's secret is another one.
    WrongSecret,
    /// From the beginning: nobody announced what the getter asks for.
    WrongLocator,
}

/// How it must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// What was shared is there, byte for byte.
    Arrives,
    /// The getter says that nobody is online who has it.
    NobodyOnline,
    /// It drops the sharer, because that has not what the link means.
    NotTheShare,
    /// It drops the sharer, because the source has changed.
    SourceChanged,
}

const CHUNK: usize = 256 * 1024;
/// Long enough that something can happen on the way, at the rate of [`TROUBLED_RATE`].
const LONG: usize = 6 * CHUNK + 12_345;
/// Bytes that a sharer sends in a second where something happens on the way.
pub const TROUBLED_RATE: u64 = 600_000;

const PLAIN: Scenario = Scenario {
    name: "",
    content: Content::File(100_000),
    private: true,
    piped: false,
    way: Way::Direct,
    getters: 1,
    trouble: Trouble::None,
    end: End::Arrives,
};

const ODD: Content = Content::Folder(&[
    ("a file with spaces ", 5),
    (".hidden/..almost/up", 70_000),
    ("empty", 0),
    ("line\nbreak\u{202e}", 1),
    ("d\u{e9}j\u{e0}/\u{6f22}\u{5b57}/-rf", CHUNK + 1),
    ("same", 5),
]);

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario { name: "a small file", ..PLAIN },
    Scenario { name: "a public file", private: false, ..PLAIN },
    Scenario { name: "an empty file", content: Content::File(0), ..PLAIN },
    Scenario { name: "a file of one byte", content: Content::File(1), ..PLAIN },
    Scenario { name: "a leaf and a byte", content: Content::File(16_385), ..PLAIN },
    Scenario { name: "a chunk less a byte", content: Content::File(CHUNK - 1), ..PLAIN },
    Scenario { name: "a whole chunk", content: Content::File(CHUNK), ..PLAIN },
    Scenario { name: "a chunk and a byte", content: Content::File(CHUNK + 1), ..PLAIN },
    Scenario { name: "five chunks: a tree of eight", content: Content::File(5 * CHUNK), ..PLAIN },
    Scenario { name: "a folder with odd names", content: ODD, ..PLAIN },
    Scenario { name: "a public folder", content: ODD, private: false, ..PLAIN },
    Scenario { name: "into a pipe", content: Content::File(LONG), piped: true, ..PLAIN },
    Scenario { name: "two getters", content: Content::File(LONG), getters: 2, ..PLAIN },
    Scenario { name: "another peer at an address", way: Way::AfterAStranger, ..PLAIN },
    Scenario {
        name: "the getter dies and resumes",
        content: Content::File(LONG),
        trouble: Trouble::GetterDies,
        ..PLAIN
    },
    Scenario {
        name: "the sharer dies and comes back",
        content: Content::File(LONG),
        trouble: Trouble::SharerDies,
        ..PLAIN
    },
    Scenario {
        name: "the sharer quits",
        content: Content::File(LONG),
        trouble: Trouble::SharerQuits,
        end: End::NobodyOnline,
        ..PLAIN
    },
    Scenario {
        name: "the source changes",
        content: Content::File(LONG),
        trouble: Trouble::SourceChanges,
        end: End::SourceChanged,
        ..PLAIN
    },
    Scenario {
        name: "a wrong secret",
        trouble: Trouble::WrongSecret,
        end: End::NotTheShare,
        ..PLAIN
    },
    Scenario {
        name: "a link that nobody shares",
        trouble: Trouble::WrongLocator,
        end: End::NobodyOnline,
        ..PLAIN
    },
    Scenario { name: "refused, then the relay", way: Way::Refused, ..PLAIN },
    Scenario { name: "the relay", content: Content::File(LONG), way: Way::Relay, ..PLAIN },
    Scenario { name: "a folder through the relay", content: ODD, way: Way::Relay, ..PLAIN },
    Scenario {
        name: "the relay breaks and comes back",
        content: Content::File(LONG),
        way: Way::Relay,
        trouble: Trouble::RelayBreaks,
        ..PLAIN
    },
];

/// What drivers do with each other, both ways.
pub const MEETINGS: &[Scenario] = &[
    Scenario { name: "a file", content: Content::File(LONG), ..PLAIN },
    Scenario { name: "a folder with odd names", content: ODD, ..PLAIN },
    Scenario { name: "the relay", content: Content::File(LONG), way: Way::Relay, ..PLAIN },
];

impl Scenario {
    /// Whether it needs the relay.
    #[must_use]
    pub const fn needs_relay(&self) -> bool {
        matches!(self.way, Way::Refused | Way::Relay)
    }
}

/// How a scenario went on a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It ended as it must.
    Ok,
    /// The driver has no such thing, and why.
    NotApplicable(&'static str),
    /// It did not, and what happened.
    Failed(String),
}

/// Scenarios × drivers.
#[derive(Debug)]
pub struct Table {
    /// What is above the first column.
    pub title: &'static str,
    /// The drivers.
    pub columns: Vec<&'static str>,
    /// Name of each scenario, and its verdicts.
    pub rows: Vec<(&'static str, Vec<Verdict>)>,
}

impl Table {
    /// Whether nothing failed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let mut verdicts = self.rows.iter().flat_map(|(_, verdicts)| verdicts);
        verdicts.all(|verdict| !matches!(verdict, Verdict::Failed(_)))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut notes: Vec<String> = Vec::new();
        write!(f, "{:34}", self.title)?;
        for column in &self.columns {
            write!(f, "{column:>17}")?;
        }
        for (name, verdicts) in &self.rows {
            write!(f, "\n{name:34}")?;
            for (verdict, column) in verdicts.iter().zip(&self.columns) {
                let (word, note) = match verdict {
                    Verdict::Ok => ("ok".into(), None),
                    Verdict::NotApplicable(why) => ("n.a.".into(), Some((*why).to_owned())),
                    Verdict::Failed(why) => {
                        ("FAILED".to_owned(), Some(format!("{name} on {column}: {why}")))
                    }
                };
                let Some(note) = note else {
                    write!(f, "{word:>17}")?;
                    continue;
                };
                let known = notes.iter().position(|known| *known == note);
                let number = known.unwrap_or_else(|| {
                    notes.push(note);
                    notes.len() - 1
                });
                write!(f, "{:>17}", format!("{word} [{}]", number + 1))?;
            }
        }
        for (number, note) in (1..).zip(&notes) {
            write!(f, "\n[{number}] {note}")?;
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_each_reason_once() {
        let why = Verdict::NotApplicable("it has no relay");
        let rows = vec![
            ("one", vec![Verdict::Ok, why.clone()]),
            ("two", vec![Verdict::Failed("broken".into()), why]),
        ];
        let table = Table { title: "scenario", columns: vec!["a", "b"], rows };
        let text = table.to_string();
        assert!(!table.is_good());
        assert_eq!(text.matches("it has no relay").count(), 1, "{text}");
        assert!(text.contains("FAILED [2]") && text.contains("[2] two on a: broken"), "{text}");
    }

    #[test]
    fn each_scenario_has_a_name_of_its_own() {
        for (number, scenario) in SCENARIOS.iter().enumerate() {
            let same = SCENARIOS.iter().position(|other| other.name == scenario.name);
            assert_eq!(same, Some(number), "{}", scenario.name);
        }
    }
}
