//! Whole transfers beside the machine's own limits and other tools, in one run.
//!
//! ```text
//! cargo build --release -p towpath -p towpath-tracker -p towpath-benches
//! target/release/towpath-benches                     # 2 GiB and 10,000 files, on /dev/shm
//! cargo build --release -p towpath-fuzz --example liar
//! target/release/towpath-benches swarm               # many seeders, many getters
//! target/release/towpath-benches relay-scale         # many clients of one relay
//! ```
//!
//! Every figure is the median of the runs. Each tool is measured by the kernel's own accounting
//! ([`process`]); what is not installed is left out and named. Before each timed run the target's
//! pages are written once and deleted, because cold pages of a virtual machine cost more than the
//! transfer.

mod fleet;
mod others;
mod process;
mod relay_scale;
mod swarm;
mod transfer;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

/// Measures whole transfers beside other tools.
#[derive(Debug, Parser)]
struct Args {
    /// Length of the large file in MiB
    #[arg(long, default_value_t = 2048)]
    mib: u64,
    /// Number of small files (4 to 64 KiB each); 0 leaves them out
    #[arg(long, default_value_t = 10_000)]
    files: u64,
    /// Runs of each measurement; the median counts
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Where the files go
    #[arg(long, default_value = "/dev/shm")]
    dir: PathBuf,
    /// Only Towpath, no other tools
    #[arg(long)]
    alone: bool,
    /// What to measure instead of one to one
    #[command(subcommand)]
    what: Option<What>,
}

/// Other measurements.
#[derive(Debug, Clone, Copy, clap::Subcommand)]
enum What {
    /// Three seeders of which one dies or lies, and ten getters at one seeder
    Swarm {
        /// Length of the file in MiB
        #[arg(long, default_value_t = 256)]
        mib: u64,
    },
    /// Idle connections of a relay, many circuits at once, and a reader that does not read
    RelayScale {
        /// Idle connections
        #[arg(long, default_value_t = 10_000)]
        idle: usize,
        /// Circuits at once
        #[arg(long, default_value_t = 500)]
        circuits: usize,
    },
}

/// One line of the table.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    /// Name, processor seconds and peak memory of each process that took part.
    pub(crate) sides: Vec<(&'static str, process::Cost)>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let dir = args.dir.join(format!("towpath-benches-{}", std::process::id()));
    let result = fs::create_dir_all(&dir)
        .map_err(|error| format!("cannot make {}: {error}", dir.display()))
        .and_then(|()| match args.what {
            None => measure(&args, &dir),
            Some(What::Swarm { mib }) => swarm::run(&dir, mib),
            Some(What::RelayScale { idle, circuits }) => relay_scale::run(&dir, idle, circuits),
        });
    let _ = fs::remove_dir_all(&dir);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("towpath-benches: {message}");
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args, dir: &Path) -> Result<(), String> {
    let file = dir.join("large");
    let bytes = args.mib << 20;
    write_large(&file, bytes)?;
    let mut rows = Vec::new();
    let mut reference = None;
    if !args.alone {
        let row = median(args.runs, || others::digest(&file, bytes))?;
        reference = Some(row.seconds);
        rows.push(row);
        optional(&mut rows, median(args.runs, others::iperf));
        optional(&mut rows, median(args.runs, || others::https(dir, &file, bytes)));
    }
    for path in ["direct", "relay"] {
        rows.push(median(args.runs, || transfer::towpath(dir, &file, bytes, path))?);
    }
    fs::remove_file(&file).map_err(|error| format!("cannot remove: {error}"))?;
    if args.files > 0 {
        let folder = dir.join("small");
        let bytes = write_small(&folder, args.files)?;
        if !args.alone {
            optional(&mut rows, median(args.runs, || others::rsync(dir, &folder, bytes)));
        }
        rows.push(median(args.runs, || transfer::towpath(dir, &folder, bytes, "direct"))?);
    }
    print(&rows, reference);
    Ok(())
}

fn optional(rows: &mut Vec<Row>, row: Result<Row, String>) {
    match row {
        Ok(row) => rows.push(row),
        Err(message) => eprintln!("left out: {message}"),
    }
}

/// The run with the middle time.
fn median(runs: usize, mut run: impl FnMut() -> Result<Row, String>) -> Result<Row, String> {
    let mut rows = (0..runs.max(1)).map(|_| run()).collect::<Result<Vec<_>, _>>()?;
    rows.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let middle = rows.len() / 2;
    Ok(rows.swap_remove(middle))
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn print(rows: &[Row], reference: Option<f64>) {
    println!("| what | s | MB/s | × digest | CPU s/GiB | peak MB |");
    println!("|---|---|---|---|---|---|");
    for row in rows {
        let gib = row.bytes as f64 / (1u64 << 30) as f64;
        let rate = row.bytes as f64 / 1e6 / row.seconds;
        let of_large = row.bytes == rows[0].bytes;
        let ratio = match reference.filter(|_| of_large) {
            Some(seconds) => format!("{:.2}", row.seconds / seconds),
            None => "–".into(),
        };
        let cpu: Vec<String> = row
            .sides
            .iter()
            .map(|(side, cost)| format!("{side} {:.2}", cost.cpu_seconds / gib))
            .collect();
        let memory: Vec<String> = row
            .sides
            .iter()
            .map(|(side, cost)| format!("{side} {}", cost.peak_bytes / 1_000_000))
            .collect();
        let (cpu, memory) = (cpu.join(", "), memory.join(", "));
        println!("| {} | {:.2} | {rate:.0} | {ratio} | {cpu} | {memory} |", row.name, row.seconds);
    }
}

/// Bytes that do not repeat, so that nothing can be saved by being clever.
fn write_large(path: &Path, bytes: u64) -> Result<(), String> {
    use std::io::Write as _;
    let error = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    let mut file = fs::File::create(path).map_err(error)?;
    let mut random = Random(1);
    let mut block = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        random.fill(&mut block);
        let n = left.min(block.len() as u64) as usize;
        file.write_all(&block[..n]).map_err(error)?;
        left -= n as u64;
    }
    Ok(())
}

/// A folder of small files, 4 to 64 KiB each, 100 to a folder; how many bytes they have.
fn write_small(folder: &Path, files: u64) -> Result<u64, String> {
    let error = |error: std::io::Error| format!("cannot write {}: {error}", folder.display());
    let mut random = Random(2);
    let mut block = vec![0; 64 << 10];
    let mut bytes = 0;
    for n in 0..files {
        let parent = folder.join(format!("{:03}", n / 100));
        fs::create_dir_all(&parent).map_err(error)?;
        let length = (4 << 10) + (random.next() % (60 << 10)) as usize;
        random.fill(&mut block[..length]);
        fs::write(parent.join(format!("{n:05}")), &block[..length]).map_err(error)?;
        bytes += length as u64;
    }
    Ok(bytes)
}

/// xorshift64: good enough that no compression or deduplication helps.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            let random = self.next().to_le_bytes();
            part.copy_from_slice(&random[..part.len()]);
        }
    }
}
