//! Prints what runs of instrumented programs reached, or holds it against a ceiling.
//!
//! ```text
//! coverage FOLDER... --programs PROGRAM... --profiles FILE...
//!     [--missed] [--check CEILING | --write CEILING]
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use towpath_fuzz::coverage::{self, Ceiling, Report};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn run() -> Result<bool, String> {
    let mut folders = Vec::new();
    let (mut programs, mut profiles) = (Vec::new(), Vec::new());
    let (mut check, mut write) = (None, None);
    let mut missed = false;
    let mut mode = String::new();
    for argument in std::env::args().skip(1) {
        match (argument.as_str(), mode.as_str()) {
            ("--programs" | "--profiles" | "--check" | "--write", _) => mode = argument,
            ("--missed", _) => missed = true,
            (_, "--programs") => programs.push(PathBuf::from(argument)),
            (_, "--profiles") => profiles.push(PathBuf::from(argument)),
            (_, "--check") => check = Some(argument),
            (_, "--write") => write = Some(argument),
            _ => folders.push(argument),
        }
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no workspace")?;
    let regions = coverage::read(&programs, &profiles)?;
    let report = Report::new(workspace, &folders, &regions)?;
    if let Some(path) = write {
        let text = serde_json::to_string_pretty(&report.ceiling()).map_err(|e| e.to_string())?;
        std::fs::write(&path, text + "\n").map_err(|error| format!("{path}: {error}"))?;
    }
    let Some(path) = check else {
        print!("{}", report.table());
        if missed {
            print!("\n{}", report.missed_lines());
        }
        return Ok(true);
    };
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let ceiling: Ceiling = serde_json::from_str(&text).map_err(|e| format!("{path}: {e}"))?;
    let (above, below) = report.compare(&ceiling);
    if !below.is_empty() {
        println!("the ceiling in {path} is too high, please lower it:");
    }
    for line in above.iter().chain(&below) {
        println!("  {line}");
    }
    Ok(above.is_empty())
}
