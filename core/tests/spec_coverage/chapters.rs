//! Reads the chapters: labels, their texts, and the sentences that carry normative words.
//!
//! A requirement is the text from its label to the next one, or to the end of the paragraph, list
//! item or table row that it stands in.

use std::fs;
use std::path::Path;

/// What makes a sentence a requirement.
const NORMATIVE: &[&str] = &["MUST", "SHOULD"];
/// Words of RFC 2119 that mean the same; the spec says it in one way.
const SYNONYMS: &[&str] = &["SHALL", "REQUIRED", "RECOMMENDED", "OPTIONAL"];
/// Characters of a requirement's text in the report.
const SHORT: usize = 150;

pub(crate) struct Spec {
    pub(crate) requirements: Vec<Requirement>,
    /// Normative words, and the sentences that hold them.
    pub(crate) words: usize,
    pub(crate) sentences: usize,
}

pub(crate) struct Requirement {
    pub(crate) label: String,
    /// The file, and its heading.
    pub(crate) chapter: String,
    pub(crate) title: String,
    text: String,
}

impl Requirement {
    /// Its beginning, as a cell of a table.
    pub(crate) fn short(&self) -> String {
        let text = self.text.trim().trim_matches('|').trim();
        let text = text.split(" | ").next().unwrap_or(text).split(" - ").next().unwrap_or(text);
        let mut short: String = text.chars().take(SHORT).collect();
        if short.len() < text.len() {
            short.truncate(short.rfind(' ').unwrap_or(short.len()));
            short.push_str(" …");
        }
        if short.matches('`').count() % 2 == 1 {
            short.push('`');
        }
        short.replace('|', "∣")
    }
}

pub(crate) fn read(root: &Path, faults: &mut Vec<String>) -> Spec {
    let mut spec = Spec { requirements: Vec::new(), words: 0, sentences: 0 };
    let mut names: Vec<String> = fs::read_dir(root.join("spec"))
        .expect("the spec is readable")
        .map(|entry| entry.expect("the spec is readable").file_name())
        .map(|name| name.into_string().expect("names of chapters are ASCII"))
        .filter(|name| name.ends_with(".md") && name != "coverage.md")
        .collect();
    names.sort();
    for name in names {
        let text = fs::read_to_string(root.join("spec").join(&name)).expect("it is UTF-8");
        chapter(&name, &text, &mut spec, faults);
    }
    for (at, one) in spec.requirements.iter().enumerate() {
        if spec.requirements[..at].iter().any(|before| before.label == one.label) {
            faults.push(format!("{}: {} stands there twice", one.chapter, one.label));
        }
    }
    spec
}

fn chapter(name: &str, text: &str, spec: &mut Spec, faults: &mut Vec<String>) {
    let title = text.lines().next().unwrap_or_default().trim_start_matches("# ").to_owned();
    for block in blocks(text) {
        let mut label: Option<String> = None;
        for (at, part) in block.split("**").enumerate() {
            if at % 2 == 1 && is_label(part) {
                label = Some(part.into());
                spec.requirements.push(Requirement {
                    label: part.into(),
                    chapter: format!("spec/{name}"),
                    title: title.clone(),
                    text: String::new(),
                });
            } else if let (Some(_), Some(last)) = (&label, spec.requirements.last_mut()) {
                last.text.push_str(part);
            } else {
                loose(name, part, faults);
            }
        }
    }
    let ours = format!("spec/{name}");
    for one in spec.requirements.iter().filter(|one| one.chapter == ours) {
        let normative: Vec<usize> =
            sentences(&one.text).iter().map(|it| normative(it)).filter(|n| *n > 0).collect();
        spec.words += normative.iter().sum::<usize>();
        spec.sentences += normative.len();
        if normative.len() > 1 {
            let label = &one.label;
            faults.push(format!("{ours}: {label} is more than one requirement: split it"));
        }
        for word in SYNONYMS.iter().filter(|word| one.text.contains(**word)) {
            faults.push(format!("{ours}: {}: write MUST or SHOULD for {word}", one.label));
        }
    }
}

/// Text without a label demands nothing, but for the sentence that says what the words mean.
fn loose(name: &str, text: &str, faults: &mut Vec<String>) {
    for sentence in sentences(text) {
        let synonym = SYNONYMS.iter().any(|word| sentence.contains(word));
        if (normative(&sentence) > 0 || synonym) && !sentence.contains("RFC 2119") {
            faults.push(format!("spec/{name}: no label: {sentence}"));
        }
    }
}

/// Paragraphs, list items and rows of tables, each on one line, without blocks of code.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks: Vec<String> = vec![String::new()];
    let mut in_code = false;
    for line in text.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        }
        let begins = line.trim().is_empty()
            || ["- ", "| ", "#", "```"].iter().any(|start| line.starts_with(start));
        if begins {
            blocks.push(String::new());
        }
        if !in_code && let Some(last) = blocks.last_mut() {
            last.push_str(line.trim());
            last.push(' ');
        }
    }
    blocks
}

/// Cut behind a full stop that a capital, a quotation or a bracket follows.
fn sentences(text: &str) -> Vec<String> {
    let mut sentences = vec![String::new()];
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let last = sentences.last_mut().expect("there is always one");
        if !last.is_empty() {
            last.push(' ');
        }
        last.push_str(word);
        let ends = word.trim_end_matches(['*', ')', '"']).ends_with(['.', '!', '?']);
        let next = words.peek().and_then(|next| next.chars().next());
        if ends && next.is_some_and(|c| c.is_uppercase() || "`(*\"".contains(c)) {
            sentences.push(String::new());
        }
    }
    sentences
}

/// How many normative words stand in a sentence.
fn normative(sentence: &str) -> usize {
    let words = sentence.split(|c: char| !c.is_alphanumeric());
    words.filter(|word| NORMATIVE.contains(word)).count()
}

/// A letter, a number, perhaps a small letter: `S12`, `S12b`.
pub(crate) fn is_label(text: &str) -> bool {
    let Some(rest) = text.strip_prefix(|c: char| c.is_ascii_uppercase()) else { return false };
    let digits = rest.strip_suffix(|c: char| c.is_ascii_lowercase()).unwrap_or(rest);
    (1..=2).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_digit())
}

#[test]
fn the_reader_of_chapters_is_strict() {
    let found = |text: &str| {
        let (mut spec, mut faults) =
            (Spec { requirements: Vec::new(), words: 0, sentences: 0 }, Vec::new());
        chapter("x.md", text, &mut spec, &mut faults);
        (spec.requirements.len(), spec.words, faults.len())
    };
    assert_eq!(found("- **A1** It MUST be. So there.\n- **A2** It SHOULD NOT\n  be.\n"), (2, 2, 0));
    assert_eq!(found("It MUST be.\n"), (0, 0, 1), "no label");
    assert_eq!(found("- **A1** It is.\n\nIt MUST be.\n"), (1, 0, 1), "a label ends with its block");
    assert_eq!(found("- **A1** It MUST be. It MUST last.\n"), (1, 2, 1), "two in one");
    assert_eq!(found("- **A1** It MUST be. **A1b** It MUST last.\n"), (2, 2, 0));
    assert_eq!(found("- **A1** It SHALL be.\n"), (1, 0, 1), "another word");
    assert_eq!(found("| **A1** | It MUST be |\n| x | It SHOULD be |\n"), (1, 1, 1), "each row");
    assert_eq!(found("```text\nMUST\n```\nThe word MUST is that of RFC 2119.\n"), (0, 0, 0));
}
