//! Figures of each file: its regions and lines, how many were passed, and which were not; and the
//! ceiling on those.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Component, Path};

use super::{Regions, Span};

/// What was reached of a file or of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Stretches of source with a counter of their own.
    pub regions: usize,
    /// Those that nothing passed.
    pub regions_missed: usize,
    /// Lines with code.
    pub lines: usize,
    /// Those that nothing passed.
    pub lines_missed: usize,
}

impl std::ops::AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        self.regions += other.regions;
        self.regions_missed += other.regions_missed;
        self.lines += other.lines;
        self.lines_missed += other.lines_missed;
    }
}

/// What was reached of the files that matter.
#[derive(Debug, Default)]
pub struct Report {
    /// By path below the workspace.
    pub files: BTreeMap<String, Figures>,
    /// Lines that nothing passed, by file.
    pub missed: BTreeMap<String, Vec<u32>>,
}

/// The most regions of each file that nothing may pass.
pub type Ceiling = BTreeMap<String, usize>;

impl Report {
    /// Of files below these folders of the workspace; tests are left out.
    ///
    /// # Errors
    /// A source file cannot be read.
    pub fn new(workspace: &Path, folders: &[String], regions: &Regions) -> Result<Self, String> {
        let mut report = Self::default();
        for (path, of_file) in regions {
            let Some(name) = below(workspace, Path::new(path)) else { continue };
            let is_test = name.ends_with("/tests.rs") || name.contains("/tests/");
            if is_test || !folders.iter().any(|folder| name.starts_with(folder.as_str())) {
                continue;
            }
            let source = std::fs::read_to_string(workspace.join(&name))
                .map_err(|error| format!("{name}: {error}"))?;
            let end = tests_begin(&source);
            let own = of_file.iter().filter(|(span, _)| span.line < end);
            let own: Vec<(Span, u64)> = own.map(|(span, passed)| (*span, *passed)).collect();
            let (figures, missed) = figures(&own);
            if figures.regions > 0 {
                *report.files.entry(name.clone()).or_default() += figures;
                report.missed.insert(name, missed);
            }
        }
        Ok(report)
    }

    /// A table of all files, with sums for each folder.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!("{:<52}{:>16}{:>18}\n", "file", "lines", "regions");
        let mut sums: BTreeMap<&str, Figures> = BTreeMap::new();
        for (name, figures) in &self.files {
            row(&mut text, name, figures);
            let folder = name.split('/').next().unwrap_or_default();
            *sums.entry(folder).or_default() += *figures;
        }
        text.push('\n');
        let mut total = Figures::default();
        for (folder, figures) in &sums {
            row(&mut text, folder, figures);
            total += *figures;
        }
        row(&mut text, "all", &total);
        text
    }

    /// Lines that nothing passed, file by file.
    #[must_use]
    pub fn missed_lines(&self) -> String {
        let mut text = String::new();
        for (name, lines) in self.missed.iter().filter(|(_, lines)| !lines.is_empty()) {
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "{name}: {}", lines.join(" "));
        }
        text
    }

    /// Compares with a ceiling: what is above it, and what is far below it.
    #[must_use]
    pub fn compare(&self, ceiling: &Ceiling) -> (Vec<String>, Vec<String>) {
        let (mut above, mut below) = (Vec::new(), Vec::new());
        for (name, figures) in &self.files {
            // A new file may leave out a little.
            let most = ceiling.get(name).copied().unwrap_or(3 + figures.regions / 8);
            let missed = figures.regions_missed;
            if missed > most {
                let lines = self.missed.get(name).map_or(&[][..], Vec::as_slice);
                above.push(format!(
                    "{name}: no input reaches {missed} regions, at most {most} are allowed; \
                     lines {lines:?}"
                ));
            } else if most > 2 * missed + 10 {
                below.push(format!("{name}: {missed} instead of {most}"));
            }
        }
        let gone = ceiling.keys().filter(|name| !self.files.contains_key(*name));
        below.extend(gone.map(|name| format!("{name}: it is gone")));
        (above, below)
    }

    /// The ceiling that fits this run, with a little room: worlds change.
    #[must_use]
    pub fn ceiling(&self) -> Ceiling {
        let room = |missed: usize| missed + 3 + missed / 8;
        let all = self.files.iter();
        all.map(|(name, figures)| (name.clone(), room(figures.regions_missed))).collect()
    }
}

/// The path of a file below the workspace. What was included over a path with `..` is named
/// plainly.
fn below(workspace: &Path, path: &Path) -> Option<String> {
    let path = if path.is_absolute() { path.strip_prefix(workspace).ok()? } else { path };
    let mut names: Vec<String> = Vec::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(names.pop()),
            Component::Normal(name) => names.push(name.to_string_lossy().into_owned()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(names.join("/"))
}

/// The line on which the tests in a file begin.
fn tests_begin(source: &str) -> u32 {
    let lines: Vec<&str> = source.lines().collect();
    let is_start =
        |two: &[&str]| two[0].trim() == "#[cfg(test)]" && two[1].trim().starts_with("mod tests {");
    let at = lines.windows(2).position(is_start);
    at.and_then(|at| u32::try_from(at + 1).ok()).unwrap_or(u32::MAX)
}

fn row(text: &mut String, name: &str, figures: &Figures) {
    let percent = |missed: usize, all: usize| {
        let all = all.max(1);
        (all - missed.min(all)) as f64 * 100.0 / all as f64
    };
    let Figures { regions, regions_missed, lines, lines_missed } = *figures;
    let _ = writeln!(
        text,
        "{name:<52}{:>7} {:>7.1}%{:>8} {:>8.1}%",
        lines - lines_missed,
        percent(lines_missed, lines),
        regions - regions_missed,
        percent(regions_missed, regions),
    );
}

/// The figures of one file, and the lines that nothing passed. A line was passed if a region that
/// begins on it was; if none begins there, if the innermost region around it was.
fn figures(regions: &[(Span, u64)]) -> (Figures, Vec<u32>) {
    let mut lines: BTreeMap<u32, (bool, Span, bool)> = BTreeMap::new();
    for (span, passed) in regions {
        let passed = *passed > 0;
        for line in span.line..=span.end_line {
            let begins = line == span.line;
            let entry = lines.entry(line).or_insert((begins, *span, passed));
            let (begun, around, was) = entry;
            if begins && *begun {
                *was |= passed;
            } else if begins {
                *entry = (true, *span, passed);
            } else if !*begun && (span.line, span.column) >= (around.line, around.column) {
                *entry = (false, *span, passed);
            }
        }
    }
    let missed: Vec<u32> =
        lines.iter().filter(|(_, (_, _, passed))| !passed).map(|(line, _)| *line).collect();
    let figures = Figures {
        regions: regions.len(),
        regions_missed: regions.iter().filter(|(_, passed)| *passed == 0).count(),
        lines: lines.len(),
        lines_missed: missed.len(),
    };
    (figures, missed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(line: u32, end_line: u32, passed: u64) -> (Span, u64) {
        (Span { line, column: line, end_line, end_column: 90 }, passed)
    }

    #[test]
    fn a_line_was_passed_if_what_begins_on_it_was() {
        let (figures, missed) = figures(&[region(1, 9, 5), region(3, 5, 0), region(4, 4, 2)]);
        assert_eq!(missed, [3, 5]);
        assert_eq!((figures.lines, figures.regions, figures.regions_missed), (9, 3, 1));
    }

    #[test]
    fn more_than_the_ceiling_is_told_and_much_less_too() {
        let files = [("a", 5), ("b", 0), ("c", 1)].map(|(name, regions_missed)| {
            (name.to_owned(), Figures { regions: 50, regions_missed, ..Figures::default() })
        });
        let report = Report { files: files.into(), ..Report::default() };
        let ceiling = [("a", 4), ("b", 20), ("c", 1)].map(|(name, most)| (name.to_owned(), most));
        let (above, below) = report.compare(&ceiling.into());
        assert!(above.len() == 1 && above[0].starts_with("a:"), "{above:?}");
        assert!(below.len() == 1 && below[0].starts_with("b:"), "{below:?}");
    }

    #[test]
    fn files_are_named_from_the_workspace() {
        let name = |path: &str| below(Path::new("/w"), Path::new(path));
        assert_eq!(name("/w/core/src/a.rs").as_deref(), Some("core/src/a.rs"));
        assert_eq!(name("fuzz/src/../../core/src/a.rs").as_deref(), Some("core/src/a.rs"));
        assert_eq!(name("/rustc/library/a.rs"), None);
    }

    #[test]
    fn tests_at_the_end_of_a_file_do_not_count() {
        assert_eq!(tests_begin("fn a() {}\n#[cfg(test)]\nmod tests {\n}\n"), 2);
        assert_eq!(tests_begin("fn a() {}\n"), u32::MAX);
    }
}
