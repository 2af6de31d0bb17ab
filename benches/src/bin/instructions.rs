//! Counts the processor's instructions for what happens most, and holds them to the limits in
//! `benches/instructions.json`.
//!
//! ```text
//! cargo build --release -p towpath-benches --no-default-features --bin instructions
//! target/release/instructions            # compares; fails above a limit
//! target/release/instructions --write    # makes what is counted now the limits
//! ```
//!
//! Time on a shared machine moves by a third from run to run; instructions do not move. Each
//! scenario runs under valgrind's callgrind, which counts only between the beginning and the end of
//! [`towpath_benches::counted_region`]. valgrind shows every program the same processor, with AVX2
//! and without AVX-512, SHA or VAES: the counts are those of that processor wherever they are made.
//! A change of the compiler moves them too, and then asks for new limits.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;

use bytes::Bytes;
use towpath_benches::relay::Relay;
use towpath_benches::sessions::Pair;
use towpath_benches::{COUNTED_REGION, counted_region};
use towpath_core::download::{ChunkSet, Config, Download, Input, Order, Transmit};
use towpath_core::id::{Hash, LinkId};
use towpath_core::limits::CHUNK_BYTES;
use towpath_core::merkle::{chunk_hash, proof_length, verify_chunk};
use towpath_core::output::Output;
use towpath_core::rng::Rng;
use towpath_core::session::Suite;
use towpath_core::time::Instant;

/// Where the limits stand, from the root of the repository.
const LIMITS: &str = "benches/instructions.json";
/// More than this over a limit fails; in hundredths.
const OVER: u64 = 2;
/// More than this below it asks for a lower one; in hundredths.
const BELOW: u64 = 5;
/// Scenarios at a time.
const AT_ONCE: usize = 2;

/// A name, how many operations are counted, and what does them.
type Scenario = (&'static str, u64, fn(u64));

const SCENARIOS: &[Scenario] = &[
    ("download: next chunk of eight peers", 1_000, download),
    ("handshake: initiator", 2, |n| (0..n).for_each(|_| drop(Pair::new(SUITE, true, false)))),
    ("handshake: responder", 2, |n| (0..n).for_each(|_| drop(Pair::new(SUITE, false, true)))),
    ("merkle: hash a chunk", 2, hash),
    ("merkle: verify a chunk with its proof", 2, verify),
    ("relay hub: forward 64 KiB", 64, forward),
    ("session: open a chunk, AES-GCM", 2, |n| open(Suite::AesGcm, n)),
    ("session: open a chunk, ChaCha20-Poly1305", 2, |n| open(Suite::ChaChaPoly, n)),
    ("session: request to chunk of 1 KiB, both ends", 16, round),
    ("session: seal a chunk, AES-GCM", 2, |n| seal(Suite::AesGcm, n)),
    ("session: seal a chunk, ChaCha20-Poly1305", 2, |n| seal(Suite::ChaChaPoly, n)),
];

const SUITE: Suite = Suite::ChaChaPoly;
/// A file whose proofs have 13 hashes.
const FILE_BYTES: u64 = 2 << 30;

fn chunk() -> Vec<u8> {
    (0..CHUNK_BYTES).map(|i| ((i * 7) >> 3) as u8).collect()
}

fn hash(count: u64) {
    let data = chunk();
    for _ in 0..count {
        black_box(counted_region(|| chunk_hash(FILE_BYTES, black_box(&data))));
    }
}

/// Among a hundred connections that only stand there.
fn forward(count: u64) {
    let payload = Bytes::from(vec![7; 64 * 1024]);
    black_box(Relay::new(100).carry(&payload, count));
}

/// The proof leads to another root, which costs the same.
fn verify(count: u64) {
    let data = chunk();
    let proof = vec![Hash([7; 32]); proof_length(FILE_BYTES)];
    for index in 0..count {
        let good = counted_region(|| verify_chunk(Hash([9; 32]), FILE_BYTES, index, &proof, &data));
        assert!(!good, "nothing has this root");
    }
}

fn seal(suite: Suite, count: u64) {
    let mut pair = Pair::new(suite, false, false);
    // The first chunk makes the buffers.
    pair.carry_chunk(CHUNK_BYTES);
    pair.serving.meter.on = true;
    (0..count).for_each(|_| pair.carry_chunk(CHUNK_BYTES));
}

fn open(suite: Suite, count: u64) {
    let mut pair = Pair::new(suite, false, false);
    pair.carry_chunk(CHUNK_BYTES);
    pair.fetching.meter.on = true;
    (0..count).for_each(|_| pair.carry_chunk(CHUNK_BYTES));
}

/// So small that the machines are what costs, and not the cipher.
fn round(count: u64) {
    let mut pair = Pair::new(SUITE, false, false);
    pair.carry_chunk(1024);
    (pair.serving.meter.on, pair.fetching.meter.on) = (true, true);
    (0..count).for_each(|_| pair.carry_chunk(1024));
}

/// Four peers with everything, four with every other chunk; each chunk arrives in a millisecond.
fn download(count: u64) {
    const CHUNKS: u64 = 8_192;
    let config = Config { chunks: CHUNKS, have: ChunkSet::empty(CHUNKS), order: Order::Rarest };
    let mut download = Download::new(Instant::ZERO, Rng::new([1; 32]), config);
    let mut requests = VecDeque::new();
    let mut now = Instant::ZERO;
    for link in (0..8).map(LinkId) {
        take(&mut download, now, Input::PeerJoined(link), &mut requests);
        let has = match link.0 {
            0..4 => Input::PeerHasAll(link),
            _ => Input::PeerHas(link, 0, vec![0b1010_1010; CHUNKS as usize / 8]),
        };
        take(&mut download, now, has, &mut requests);
    }
    for number in 0..count + 500 {
        let (link, chunk) = requests.pop_front().expect("there is always a request");
        now = now + std::time::Duration::from_millis(1);
        let mut stored = || {
            let arrived = Input::Arrived(link, chunk, CHUNK_BYTES);
            take(&mut download, now, arrived, &mut requests);
            take(&mut download, now, Input::Stored(link, chunk), &mut requests);
        };
        // At first the pipelines grow.
        if number < 500 { stored() } else { counted_region(stored) }
    }
}

fn take(
    download: &mut Download,
    now: Instant,
    input: Input,
    requests: &mut VecDeque<(LinkId, u64)>,
) {
    download.handle_input(now, input);
    loop {
        match download.poll_output() {
            Output::Transmit(Transmit::Request(link, chunk)) => requests.push_back((link, chunk)),
            Output::Transmit(Transmit::Cancel(..) | Transmit::TakeBack(..)) | Output::Event(_) => {}
            Output::Timeout(_) => return,
        }
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        ["run", name] => run(name),
        [] => compare(),
        ["--write"] => write(),
        _ => Err("say nothing, or --write".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("instructions: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str) -> Result<(), String> {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.0 == name);
    let (_, operations, work) = scenario.ok_or("there is no such scenario")?;
    work(*operations);
    Ok(())
}

fn write() -> Result<(), String> {
    let counts = count_all()?;
    let mut text = serde_json::to_string_pretty(&counts).expect("names and numbers are JSON");
    text.push('\n');
    fs::write(LIMITS, text).map_err(|error| format!("cannot write {LIMITS}: {error}"))
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn compare() -> Result<(), String> {
    let text = fs::read(LIMITS).map_err(|error| {
        format!("cannot read {LIMITS}: {error}; run this in the root of the repository")
    })?;
    let limits: BTreeMap<String, u64> =
        serde_json::from_slice(&text).map_err(|error| format!("{LIMITS}: {error}"))?;
    let counts = count_all()?;
    let mut failed = Vec::new();
    for (name, &count) in &counts {
        let limit = limits.get(*name).copied().unwrap_or(0);
        let verdict = if count * 100 > limit * (100 + OVER) {
            failed.push(*name);
            "TOO MANY"
        } else if count * 100 < limit * (100 - BELOW) {
            "fewer: lower the limit with --write"
        } else {
            "as it should be"
        };
        println!("{count:>12} of {limit:>12}  {name}: {verdict}");
    }
    let gone = limits.keys().find(|name| !counts.contains_key(name.as_str()));
    match (&failed[..], gone) {
        ([], None) => Ok(()),
        ([], Some(gone)) => Err(format!("{LIMITS} has a limit for `{gone}`, which is not counted")),
        _ => Err(format!(
            "more instructions than {LIMITS} allows: {}; find out why, or say in the commit why it \
             must be so and run this with --write",
            failed.join(", ")
        )),
    }
}

/// Instructions of one operation of each scenario.
fn count_all() -> Result<BTreeMap<&'static str, u64>, String> {
    let mut counts = BTreeMap::new();
    for group in SCENARIOS.chunks(AT_ONCE) {
        let results: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = group
                .iter()
                .map(|scenario| (scenario.0, scope.spawn(|| count(scenario))))
                .collect();
            let ended = running.into_iter();
            ended.map(|(name, thread)| (name, thread.join().expect("it does not panic"))).collect()
        });
        for (name, count) in results {
            counts.insert(name, count?);
        }
    }
    Ok(counts)
}

fn count((name, operations, _): &Scenario) -> Result<u64, String> {
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    // Without an environment: its size would move the stack.
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=*{COUNTED_REGION}*"))
        .arg(Path::new(&me))
        .args(["run", name])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .output()
        .map_err(|error| format!("cannot run valgrind: {error}; install it"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text
        .lines()
        .find_map(|line| line.split_once("Collected :"))
        .and_then(|(_, number)| number.trim().parse::<u64>().ok())
        .filter(|&number| number > 0 && output.status.success());
    match collected {
        Some(collected) => Ok(collected / operations),
        None => Err(format!("`{name}` was not counted; valgrind said:\n{text}")),
    }
}
