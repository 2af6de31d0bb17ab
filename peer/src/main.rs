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
    // The allocator would get its memory in pages of 2 MiB, each of which the system clears whole
    // when its first byte is touched: up to a sixth of the work of a short transfer. It works with
    // them too.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
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
