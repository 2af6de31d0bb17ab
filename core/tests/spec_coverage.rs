//! Every requirement of `spec/` is cited where it is implemented and where it is tested.
//!
//! A requirement has a label, such as **S12**, which stands before its text. Every sentence with a
//! normative word (MUST, SHOULD; RFC 2119) has a label of its own. Code and tests cite it in a
//! comment: `// spec S12: no payload`, `/// Spec R1, R3 and R5–R7.` A citation in `src/` outside
//! tests says "implemented here", one in a test "proven here"; the simulated world is a test.
//!
//! What cannot be cited stands in `spec/exceptions.toml` with its reason. `spec/coverage.md` is
//! the report; `TOWPATH_BLESS=1 cargo test -p towpath-core --test spec_coverage` writes it anew.

mod spec_coverage {
    pub(super) mod chapters;
    pub(super) mod citations;
    pub(super) mod exceptions;
}

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use spec_coverage::chapters::{self, Requirement, Spec};
use spec_coverage::citations::{self, Citation};
use spec_coverage::exceptions::{self, Exception};

#[test]
fn every_requirement_is_implemented_and_tested() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("core lies in the workspace");
    let mut faults = Vec::new();
    let spec = chapters::read(root, &mut faults);
    let citations = citations::read(root);
    assert!(spec.requirements.len() > 100, "only {} were found", spec.requirements.len());
    let text = fs::read_to_string(root.join("spec/exceptions.toml")).expect("it is there");
    let exceptions = exceptions::parse(&text, &mut faults);
    judge(&spec, &citations, &exceptions, &mut faults);

    let report = report(&spec, &citations, &exceptions);
    let path = root.join("spec/coverage.md");
    if faults.is_empty() && std::env::var_os("TOWPATH_BLESS").is_some() {
        fs::write(&path, &report).expect("the workspace can be written");
    }
    if fs::read_to_string(&path).ok().as_ref() != Some(&report) {
        faults.push(
            "spec/coverage.md is not what the sources say; write it anew:\n    \
             TOWPATH_BLESS=1 cargo test -p towpath-core --test spec_coverage"
                .into(),
        );
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    println!("{}", summary(&spec, &exceptions));
}

fn judge(spec: &Spec, citations: &[Citation], exceptions: &[Exception], faults: &mut Vec<String>) {
    let known: BTreeSet<&str> = spec.requirements.iter().map(|one| one.label.as_str()).collect();
    for Citation { label, file, line, .. } in citations {
        if !known.contains(label.as_str()) {
            faults.push(format!("{file}:{line}: the spec has no {label}"));
        }
    }
    for Exception { label, .. } in exceptions {
        if !known.contains(label.as_str()) {
            faults.push(format!("spec/exceptions.toml: the spec has no {label}"));
        }
    }
    for Requirement { label, chapter, .. } in &spec.requirements {
        let excused: Vec<&Exception> =
            exceptions.iter().filter(|one| one.label == *label).collect();
        if excused.len() > 1 {
            faults.push(format!("spec/exceptions.toml: {label} stands there twice"));
        }
        for (test, what, place) in
            [(false, "code", "implemented"), (true, "test", "tested by a function")]
        {
            let found = citations.iter().any(|one| one.label == *label && one.test == test);
            let allowed = excused.iter().any(|one| one.lacks(what));
            if !found && !allowed {
                faults.push(format!("{chapter}: {label} is not cited where it is {place}"));
            }
            if found && allowed {
                faults.push(format!("spec/exceptions.toml: {label} is cited now ({what})"));
            }
        }
    }
}

/// Places in the same file named together.
fn together(places: &[String]) -> String {
    let mut cell = String::new();
    let mut file = "";
    for place in places {
        let (this, function) = place.split_once(' ').unwrap_or((place, ""));
        if this != file {
            cell.push_str(if cell.is_empty() { "" } else { "<br>" });
            cell.push_str(this);
        } else if !function.is_empty() {
            cell.push(',');
        }
        if !function.is_empty() {
            cell.push(' ');
            cell.push_str(function);
        }
        file = this;
    }
    cell
}

fn summary(spec: &Spec, exceptions: &[Exception]) -> String {
    format!(
        "{} normative words in {} sentences; {} requirements, of which {} have an exception.",
        spec.words,
        spec.sentences,
        spec.requirements.len(),
        exceptions.len()
    )
}

fn report(spec: &Spec, citations: &[Citation], exceptions: &[Exception]) -> String {
    let mut out = format!(
        "# Coverage of the specification\n\n\
         Where each requirement is implemented and which tests prove it. This page is made from \
         the citations\nin the sources and kept equal to them by a test; do not edit it. To write \
         it anew:\n\n    \
         TOWPATH_BLESS=1 cargo test -p towpath-core --test spec_coverage\n\n{}\n",
        summary(spec, exceptions)
    );
    let mut chapter = "";
    for one in &spec.requirements {
        if one.chapter != chapter {
            chapter = &one.chapter;
            let columns = "| label | requirement | implemented in | tested by |";
            writeln!(out, "\n## {}\n\n{columns}\n|---|---|---|---|", one.title)
                .expect("a string takes all");
        }
        let excuse = exceptions.iter().find(|exception| exception.label == one.label);
        let places = |test: bool, what: &str| {
            let mut places: Vec<String> = citations
                .iter()
                .filter(|citation| citation.label == one.label && citation.test == test)
                .map(Citation::place)
                .collect();
            places.sort();
            places.dedup();
            if places.is_empty() {
                let reason = excuse.filter(|it| it.lacks(what)).map(|it| it.reason.as_str());
                return format!("*{}*", reason.unwrap_or("nothing"));
            }
            together(&places)
        };
        let (code, test) = (places(false, "code"), places(true, "test"));
        writeln!(out, "| {} | {} | {code} | {test} |", one.label, one.short())
            .expect("a string takes all");
    }
    out
}
