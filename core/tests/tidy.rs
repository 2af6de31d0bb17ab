//! The rules of style that a machine can check, over every source file of the workspace, as one
//! test that shows all violations at once. The rules and their reasons stand in CONTRIBUTING.md; a
//! rule that clippy or rustfmt knows is left to them.
//!
//! A file that does not obey yet is named in [`EXCEPTIONS`] with the rule that it breaks. Whoever
//! mends a file takes it off (an exception that is not needed fails); nothing is added.

use std::fmt::Write;
use std::path::{Path, PathBuf};

/// (path, rule) pairs that are known and will be mended.
const EXCEPTIONS: &[(&str, &str)] = &[
    // `dyn`: the resolver trait of snow is made of boxes.
    ("core/src/crypto/noise/resolver.rs", "banned"),
    ("fuzz/src/world/relay.rs", "function"),
];

/// Crates that are not read yet, because they are being built. This list only shrinks too.
const LATER: &[&str] = &[];

/// Lines of a file, and of a file of tests.
const MAX_FILE_LINES: usize = 600;
const MAX_TEST_FILE_LINES: usize = 900;
/// Characters of a line.
const MAX_LINE_CHARS: usize = 100;
/// Lines of a function outside tests.
const MAX_FUNCTION_LINES: usize = 70;

/// What stands nowhere in code, and what to write instead.
const BANNED: &[(&str, &str)] = &[
    ("todo!", "write it, or leave it out"),
    ("unimplemented!", "write it, or leave it out"),
    ("dbg!", "a test, or an event"),
    ("#[ignore", "a test that runs, or none"),
    ("#![allow", "an allow on the one item, with its reason"),
];

/// What stands nowhere in the code of the core outside tests.
const BANNED_IN_CORE: &[(&str, &str)] = &[
    ("std::", "core:: or alloc::, the core is no_std"),
    ("HashMap", "BTreeMap, its order is the same in every run"),
    ("HashSet", "BTreeSet, its order is the same in every run"),
    ("Instant::now", "the `now` of handle_input"),
    ("SystemTime", "UnixTime, handed in"),
    ("thread", "a job that the driver runs where it likes"),
    ("dyn ", "an enum or a generic"),
    ("Arc<", "ownership by the parent"),
    ("Rc<", "ownership by the parent"),
    ("Mutex", "ownership by the parent"),
    ("RefCell", "&mut"),
    ("unsafe ", "safe code"),
];

/// What stands nowhere in the code of the tracker outside tests: it dials nobody (spec T7). Its
/// database dials its own server by the URL that the operator gave.
const BANNED_IN_TRACKER: &[(&str, &str)] = &[
    ("TcpStream::connect", "nothing: a tracker opens no connection"),
    ("TcpSocket", "nothing: a tracker opens no connection"),
    ("UnixStream::connect", "nothing: a tracker opens no connection"),
    ("client::conn", "nothing: a tracker makes no call"),
];

// Spec T7
#[test]
fn every_file_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("core lies in the workspace");
    let mut files = Vec::new();
    collect(root, root, &mut files);
    files.sort();
    assert!(files.len() > 30, "only {} files were found", files.len());

    let mut found = Vec::new();
    for path in &files {
        let text = std::fs::read_to_string(path).expect("sources are readable UTF-8");
        let name = path.strip_prefix(root).expect("below the root").to_string_lossy();
        check_file(&name.replace('\\', "/"), &text, &mut found);
    }

    let mut report = String::new();
    for (path, rule) in EXCEPTIONS {
        if !found.iter().any(|one| one.path == *path && one.rule == *rule) {
            writeln!(report, "{path}: {rule}: obeys now: take it off EXCEPTIONS")
                .expect("a string takes all");
        }
    }
    for Violation { path, line, rule, what } in &found {
        if !EXCEPTIONS.contains(&(path.as_str(), rule)) {
            writeln!(report, "{path}:{line}: {rule}: {what}").expect("a string takes all");
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

struct Violation {
    path: String,
    line: usize,
    rule: &'static str,
    what: String,
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the workspace is readable") {
        let path = entry.expect("the workspace is readable").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            let skipped = name == "target" || LATER.contains(&name.as_str());
            if !(folder == root && skipped || name.starts_with('.')) {
                collect(root, &path, files);
            }
        } else if name.ends_with(".rs") {
            files.push(path);
        }
    }
}

fn check_file(path: &str, text: &str, found: &mut Vec<Violation>) {
    let mut add = |line: usize, rule, what: String| {
        found.push(Violation { path: path.into(), line, rule, what });
    };
    let is_test = path.contains("/tests/") || path.ends_with("/tests.rs");
    let lines: Vec<&str> = text.lines().collect();
    let most = if is_test { MAX_TEST_FILE_LINES } else { MAX_FILE_LINES };
    if lines.len() > most {
        add(most, "file", format!("{} lines, more than {most}: split it", lines.len()));
    }
    if !text.starts_with("//!") {
        add(1, "head", "does not open with `//!` and what it is for".into());
    }
    if path.ends_with("/mod.rs") {
        add(1, "name", "write foo.rs beside foo/".into());
    }
    for (number, line) in (1..).zip(&lines) {
        let chars = line.chars().count();
        if chars > MAX_LINE_CHARS {
            add(number, "line", format!("{chars} characters, more than {MAX_LINE_CHARS}"));
        }
        for word in [concat!("FIX", "ME"), concat!("XX", "X")] {
            if line.contains(word) {
                add(number, "word", format!("{word}: do it, or write an issue"));
            }
        }
    }

    let code = code_only(text);
    let code_lines: Vec<&str> = code.lines().collect();
    let in_tests = if is_test { vec![true; code_lines.len()] } else { test_lines(&code_lines) };
    let in_core = path.starts_with("core/src/");
    for (number, (line, in_test)) in (1..).zip(code_lines.iter().zip(&in_tests)) {
        let room_words = match in_test {
            true => &[],
            false if in_core => BANNED_IN_CORE,
            false if path.starts_with("tracker/src/") => BANNED_IN_TRACKER,
            false => &[],
        };
        for (word, instead) in BANNED.iter().chain(room_words) {
            if contains_word(line, word) {
                add(number, "banned", format!("`{}`: {instead}", word.trim()));
            }
        }
    }
    for (number, length) in functions(&code_lines) {
        if length > MAX_FUNCTION_LINES && !in_tests[number - 1] {
            add(number, "function", format!("{length} lines, more than {MAX_FUNCTION_LINES}"));
        }
    }
}

/// Whether `word` stands there and is not the end of a longer name.
fn contains_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let joins = |c: char| c.is_alphanumeric() || c == '_';
        !word.starts_with(joins) || !before.is_some_and(joins)
    })
}

/// The text with comments, strings and characters blanked; lines stay where they are.
fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (skipped, kept) = match first {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), ""),
            '/' if rest.starts_with("/*") => (rest.find("*/").map_or(rest.len(), |at| at + 2), ""),
            '"' => (quoted(rest, '"'), "\"\""),
            'r' | 'b' if !ends_in_name(&code) && raw_string(rest).is_some() => {
                (raw_string(rest).unwrap_or(rest.len()), "\"\"")
            }
            '\'' if is_character(rest) => (quoted(rest, '\''), "' '"),
            _ => {
                code.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
        };
        code.push_str(kept);
        code.extend(rest[..skipped].matches('\n'));
        rest = &rest[skipped..];
    }
    code
}

fn ends_in_name(code: &str) -> bool {
    code.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_')
}

/// Length of the quoted text at the beginning of `text`, quotes included.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of the raw string at the beginning of `text`, if there is one.
fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end)? + end.len();
    Some(text.len() - body.len() + length)
}

/// Whether a `'` begins a character and not a lifetime.
fn is_character(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    let first = chars.next();
    first == Some('\\') || chars.next() == Some('\'')
}

/// Which lines belong to a `#[cfg(test)]` item.
fn test_lines(lines: &[&str]) -> Vec<bool> {
    let mut marks = vec![false; lines.len()];
    for (at, _) in lines.iter().enumerate().filter(|(_, line)| line.trim() == "#[cfg(test)]") {
        for mark in marks.iter_mut().skip(at).take(block_length(&lines[at..])) {
            *mark = true;
        }
    }
    marks
}

/// Lines up to the end of the item that begins on the first one.
fn block_length(lines: &[&str]) -> usize {
    let mut depth = 0_i32;
    for (at, line) in lines.iter().enumerate() {
        for c in line.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            let over = depth == 0 && (c == '}' || c == ';');
            if over {
                return at + 1;
            }
        }
    }
    lines.len()
}

/// The functions: the number of the first line, and how many lines they have.
fn functions(lines: &[&str]) -> Vec<(usize, usize)> {
    let starts = |line: &str| {
        let mut words = line.split_whitespace().take_while(|word| {
            ["pub", "const", "async", "unsafe", "extern", "fn"].contains(word)
                || word.starts_with("pub(")
                || word.ends_with(')')
        });
        words.any(|word| word == "fn")
    };
    let all = lines.iter().enumerate().filter(|(_, line)| starts(line));
    all.map(|(at, _)| (at + 1, block_length(&lines[at..]))).collect()
}

/// Faults are planted in the simulated world and nowhere else: no other manifest names the feature,
/// and the world itself has it only when asked.
#[test]
fn nobody_but_the_world_plants_faults() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("core lies in the workspace");
    let mut named = Vec::new();
    for entry in std::fs::read_dir(root).expect("the workspace is readable") {
        let manifest = entry.expect("the workspace is readable").path().join("Cargo.toml");
        let Ok(text) = std::fs::read_to_string(&manifest) else { continue };
        if text.contains("planted") {
            named.push(manifest);
        }
        assert!(!text.contains("default = [\"planted"), "planted by default");
    }
    named.sort();
    assert_eq!(named, ["core", "fuzz"].map(|name| root.join(name).join("Cargo.toml")));
    const { assert!(!towpath_core::HAS_PLANTED_FAULTS) };
}

#[test]
fn the_reader_of_code_is_not_fooled() {
    let text = concat!(
        "fn a<'a>(c: char) -> &'a str { // }\n",
        "    if c == '{' || c == '\\'' { return \"}\\\"\"; }\n",
        "    r#\"}\"{\"#\n",
        "}\n",
        "#[cfg(test)]\n",
        "mod tests {\n",
        "    fn b() {}\n",
        "}\n",
        "pub(super) const fn c() {}\n",
    );
    let code = code_only(text);
    let lines: Vec<&str> = code.lines().collect();
    assert_eq!(functions(&lines), [(1, 4), (7, 1), (9, 1)]);
    let tests: Vec<usize> =
        (1..).zip(test_lines(&lines)).filter(|one| one.1).map(|one| one.0).collect();
    assert_eq!(tests, [5, 6, 7, 8]);
    assert!(contains_word("use std::fs", "std::") && !contains_word("use my_std::fs", "std::"));
}
