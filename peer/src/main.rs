//! The `towpath` command: share a file or a folder, and fetch it elsewhere.

mod cli;
mod failure;
mod get;
mod inspect;
mod lan;
mod own_tracker;
mod report;
mod run;
mod settings;
mod share;
mod units;

use std::process::ExitCode;

use clap::Parser as _;

const _: () = assert!(!towpath_core::HAS_PLANTED_FAULTS, "faults are for the simulated world");

/// glibc's allocator gives its heap back after every burst, which costs the relay half its speed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let mut report = report::Report::new(cli.common.json, cli.common.quiet);
    match run::run(cli, &mut report) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report.fail(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}
