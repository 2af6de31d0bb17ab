//! Reads the sources: which comment cites which requirement, and whether it belongs to a test.
//!
//! A citation is the word "spec" in a comment and the labels behind it, joined by commas, "and",
//! or a dash for a run: `spec S12`, `spec R1, R3 and R5–R7`. It belongs to the function below the
//! comment, or to the one that the comment stands in.

use std::fs;
use std::path::{Path, PathBuf};

use super::chapters::is_label;

pub(crate) struct Citation {
    pub(crate) label: String,
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) test: bool,
    /// The function that it belongs to, if any.
    function: Option<String>,
}

impl Citation {
    /// As the report names it: without lines, which move too often.
    pub(crate) fn place(&self) -> String {
        match &self.function {
            Some(function) if self.test => format!("`{}` {function}", self.file),
            _ => format!("`{}`", self.file),
        }
    }
}

/// All citations of the workspace, in the order of files and lines.
pub(crate) fn read(root: &Path) -> Vec<Citation> {
    let mut files = Vec::new();
    collect(root, root, &mut files);
    files.sort();
    let mut citations = Vec::new();
    for path in files {
        let name = path.strip_prefix(root).expect("below the root").to_string_lossy();
        let name = name.replace('\\', "/");
        let Some(kind) = kind(&name) else { continue };
        let text = fs::read_to_string(&path).expect("sources are UTF-8");
        file(&name, kind == Kind::Test, &text, &mut citations);
    }
    citations
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Code,
    Test,
}

/// What a file is; `None` for one that is neither (benches, examples, this checker).
fn kind(name: &str) -> Option<Kind> {
    let source = name.ends_with(".rs") || name.ends_with(".sh");
    if !source || name.contains("tests/spec_coverage") {
        return None;
    }
    let (package, rest) = name.split_once('/')?;
    match package {
        "benches" => None,
        "fuzz" | "tests" => Some(Kind::Test),
        _ if rest.starts_with("examples/") => None,
        _ if rest.contains("tests/") || rest.ends_with("tests.rs") => Some(Kind::Test),
        _ if rest.starts_with("src/") => Some(Kind::Code),
        _ => None,
    }
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the workspace is readable") {
        let path = entry.expect("the workspace is readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || folder == root && name == "target" {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            files.push(path);
        }
    }
}

/// A run of comment lines that stand together.
#[derive(Default)]
struct Comment {
    text: String,
    line: usize,
}

fn file(name: &str, is_test: bool, text: &str, citations: &mut Vec<Citation>) {
    let lines: Vec<&str> = text.lines().collect();
    let tests = test_lines(&lines);
    let mut comment = Comment::default();
    for at in 0..=lines.len() {
        let line = lines.get(at).copied().unwrap_or_default();
        if let Some((whole, words)) = comment_of(name, line) {
            if comment.text.is_empty() {
                comment.line = at;
            }
            comment.text.push_str(words);
            comment.text.push(' ');
            if whole {
                continue;
            }
        }
        for label in labels(&comment.text) {
            citations.push(Citation {
                label,
                file: name.into(),
                line: comment.line + 1,
                test: is_test || tests[comment.line],
                function: function_below(&lines, comment.line)
                    .or_else(|| function_around(&lines, comment.line)),
            });
        }
        comment = Comment::default();
    }
}

/// The words of a line's comment, and whether the line is nothing else.
fn comment_of<'a>(name: &str, line: &'a str) -> Option<(bool, &'a str)> {
    let mark = if name.ends_with(".sh") { "#" } else { "//" };
    let spaced = format!(" {mark} ");
    let trimmed = line.trim_start();
    if trimmed.starts_with(mark) && !trimmed.starts_with("#[") {
        return Some((true, trimmed.trim_start_matches(['/', '!', '#', ' '])));
    }
    line.find(&spaced).map(|at| (false, &line[at + spaced.len()..]))
}

/// The labels behind each "spec".
fn labels(text: &str) -> Vec<String> {
    let mut labels = Vec::new();
    let mut cites = false;
    let mut joined = false;
    for word in text.split_whitespace() {
        let bare = word.trim_start_matches('(').trim_end_matches(|c| ".,;:)".contains(c));
        let run: Vec<&str> = bare.split('–').collect();
        if ["spec", "Spec"].contains(&word.trim_start_matches('(')) {
            (cites, joined) = (true, true);
        } else if cites && joined && run.iter().all(|it| is_label(it)) {
            match run[..] {
                [first, last] => labels.extend(between(first, last)),
                _ => labels.extend(run.iter().map(|it| (*it).to_owned())),
            }
            joined = word.ends_with(',');
        } else if cites && word == "and" {
            joined = true;
        } else {
            cites = false;
        }
    }
    labels
}

/// The labels of a run such as `R5–R7`.
fn between(first: &str, last: &str) -> Vec<String> {
    let number = |text: &str| text[1..].parse::<u32>().unwrap_or(0);
    (number(first)..=number(last)).map(|n| format!("{}{n}", &first[..1])).collect()
}

/// The name of the function that a line begins.
fn function(line: &str) -> Option<String> {
    let ends = |c: char| !(c.is_alphanumeric() || c == '_');
    if let Some(name) = line.strip_suffix("() {").filter(|name| !name.contains(ends)) {
        return Some(name.into()); // a function of the shell
    }
    let (before, after) = line.split_once("fn ")?;
    let known = ["pub", "const", "async", "pub(super)", "pub(crate)"];
    let is_item = before.split_whitespace().all(|word| known.contains(&word));
    (is_item && !line.trim_start().starts_with("//"))
        .then(|| after[..after.find(ends).unwrap_or(after.len())].into())
}

/// The function below a comment, if only comments and attributes are between.
fn function_below(lines: &[&str], from: usize) -> Option<String> {
    let mut below = lines[from..].iter().skip_while(|line| {
        let line = line.trim_start();
        line.starts_with("//") || line.starts_with("#[") || line.starts_with("# ")
    });
    function(below.next()?)
}

fn function_around(lines: &[&str], from: usize) -> Option<String> {
    lines[..from].iter().rev().find_map(|line| function(line))
}

/// Which lines belong to a `#[cfg(test)]` item; rustfmt closes it at its own indentation.
fn test_lines(lines: &[&str]) -> Vec<bool> {
    let mut marks = vec![false; lines.len()];
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| line.trim() == "#[cfg(test)]") {
        let indent = &line[..line.len() - line.trim_start().len()];
        let close = format!("{indent}}}");
        let item = lines.iter().enumerate().skip(at + 1);
        let end = item.clone().find(|(_, line)| line.ends_with(';') || **line == close);
        let opens =
            item.clone().find(|(_, line)| line.ends_with('{')).map_or(lines.len(), |it| it.0);
        let end = match end {
            Some((end, _)) if end > opens => {
                item.clone().find(|(_, line)| **line == close).map_or(lines.len(), |it| it.0 + 1)
            }
            Some((end, _)) => end + 1,
            None => lines.len(),
        };
        marks[at..end].fill(true);
    }
    marks
}

#[test]
fn the_reader_of_citations_is_strict() {
    assert_eq!(labels("as spec R1, R3 and R5–R7 say"), ["R1", "R3", "R5", "R6", "R7"]);
    assert_eq!(labels("Spec S9b: S10 is not cited"), ["S9b"]);
    assert_eq!(labels("the spec. S12 (spec C14)."), ["C14"]);
    assert!(labels("S12, R3 and others").is_empty());
    let text = concat!(
        "/// Reads (spec C1).\n",
        "#[must_use]\n",
        "pub fn reads() { // spec C2\n",
        "    // spec C3,\n",
        "    // C4: over lines\n",
        "}\n",
        "#[cfg(test)]\n",
        "mod tests {\n",
        "    use super::*;\n",
        "    // Spec C5\n",
        "    #[test]\n",
        "    fn it_reads() {}\n",
        "}\n",
        "fn after() {} // spec C6\n",
    );
    let mut found = Vec::new();
    file("core/src/x.rs", false, text, &mut found);
    let found: Vec<String> = found
        .iter()
        .map(|one| {
            let function = one.function.as_deref().unwrap_or("-");
            format!("{} {} {} {function}", one.label, one.line, one.test)
        })
        .collect();
    assert_eq!(
        found,
        [
            "C1 1 false reads",
            "C2 3 false reads",
            "C3 4 false reads",
            "C4 4 false reads",
            "C5 10 true it_reads",
            "C6 14 false after",
        ]
    );
    assert!(kind("core/src/merkle.rs") == Some(Kind::Code));
    assert!(kind("core/src/merkle/tests.rs") == Some(Kind::Test));
    assert!(kind("tests/network.sh") == Some(Kind::Test));
    assert!(kind("benches/src/main.rs").is_none());
}
