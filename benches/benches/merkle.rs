//! What it costs to name and to check content: hashing chunks, verifying proofs, reading manifests.
//!
//! The limit of the machine to compare with is `openssl speed -evp sha256 -bytes 262144`: a chunk's
//! tree should cost hardly more than the SHA-256 of its bytes.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use towpath_core::id::Hash;
use towpath_core::limits::CHUNK_BYTES;
use towpath_core::manifest::{Decoder, Encoder, Entry, What};
use towpath_core::merkle::{TreeBuilder, TreeLayout, chunk_hash, proof_length, verify_chunk};

/// A file whose proofs have 13 hashes.
const FILE_BYTES: u64 = 2 << 30;
/// Small files of the folder that must decode fast.
const FILES: u64 = 500_000;

fn chunks(criterion: &mut Criterion) {
    let data: Vec<u8> = (0..CHUNK_BYTES).map(|i| ((i * 7) >> 3) as u8).collect();
    let mut group = criterion.benchmark_group("merkle");
    group.throughput(Throughput::Bytes(CHUNK_BYTES as u64));
    group.bench_function("chunk_hash", |b| b.iter(|| chunk_hash(FILE_BYTES, black_box(&data))));

    let index = 4_321;
    let proof = vec![Hash([7; 32]); proof_length(FILE_BYTES)];
    let root = root_above(index, &proof, chunk_hash(FILE_BYTES, &data));
    assert!(
        verify_chunk(root, FILE_BYTES, index, &proof, &data),
        "the bench verifies a good chunk"
    );
    group.bench_function("verify_chunk", |b| {
        b.iter(|| verify_chunk(root, FILE_BYTES, index, black_box(&proof), black_box(&data)));
    });
    group.finish();

    let mut group = criterion.benchmark_group("small files");
    for bytes in [100usize, 4_096, 16_384, 65_536] {
        group.throughput(Throughput::Elements(1));
        group.bench_with_input(BenchmarkId::new("root", bytes), &data[..bytes], |b, data| {
            b.iter(|| {
                let length = data.len() as u64;
                let mut builder = TreeBuilder::new(length);
                builder.push(chunk_hash(length, black_box(data)));
                builder.finish()
            });
        });
    }
    group.finish();
}

/// The root that this proof leads to: any siblings are good enough to measure the way up.
fn root_above(index: u64, proof: &[Hash], chunk: Hash) -> Hash {
    // A whole file of 2 GiB need not be hashed for that: only the siblings' places matter, and a
    // builder over two subtrees a level makes the same parents.
    let mut node = chunk;
    for (level, sibling) in proof.iter().enumerate() {
        let pair = if (index >> level) & 1 == 0 { [node, *sibling] } else { [*sibling, node] };
        let mut parent = TreeBuilder::new(2 * CHUNK_BYTES as u64);
        for child in pair {
            parent.push(child);
        }
        node = parent.finish();
    }
    node
}

fn trees(criterion: &mut Criterion) {
    let layout = TreeLayout::new(FILE_BYTES);
    let mut group = criterion.benchmark_group("tree");
    group.throughput(Throughput::Elements(layout.chunks));
    group.bench_function("build_2GiB_from_chunk_hashes", |b| {
        b.iter(|| {
            let mut builder = TreeBuilder::new(FILE_BYTES);
            for _ in 0..layout.chunks {
                black_box(builder.push(Hash([1; 32])));
            }
            builder.finish()
        });
    });
    group.finish();
}

/// 500 folders of 1,000 files, with names as long as real ones.
fn manifest_bytes() -> Vec<u8> {
    let mut encoder = Encoder::new();
    let mut bytes = encoder.header();
    let mtime = (1_700_000_000, 123_456_789);
    for file in 0..FILES {
        let folder = format!("project/module-{:03}", file / 1_000);
        let mut write = |path: String, mode, what| {
            let entry = Entry { path: path.into_bytes(), mode, mtime, what };
            encoder.entry(&entry, &mut bytes).expect("a good entry");
        };
        if file == 0 {
            write("project".into(), 0o755, What::Folder);
        }
        if file % 1_000 == 0 {
            write(folder.clone(), 0o755, What::Folder);
        }
        let what = What::File { length_bytes: 1_000 + file % 9_000, root: Hash([3; 32]) };
        write(format!("{folder}/some-source-file-{:03}.rs", file % 1_000), 0o644, what);
    }
    bytes
}

fn manifests(criterion: &mut Criterion) {
    let bytes = manifest_bytes();
    let mut group = criterion.benchmark_group("manifest");
    group.throughput(Throughput::Elements(FILES)).sample_size(10);
    group.bench_function("decode_500000_files", |b| {
        b.iter(|| {
            let mut decoder = Decoder::new(bytes.len() as u64).expect("short enough");
            for piece in bytes.chunks(CHUNK_BYTES) {
                decoder.push(piece);
                while let Some(entry) = decoder.next_entry().expect("a good entry") {
                    black_box(entry);
                }
            }
            decoder.finish().expect("a whole manifest")
        });
    });
    group.bench_function("encode_500000_files", |b| b.iter(manifest_bytes));
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .measurement_time(Duration::from_secs(3))
        .warm_up_time(Duration::from_secs(1))
        .configure_from_args();
    chunks(&mut criterion);
    trees(&mut criterion);
    manifests(&mut criterion);
    criterion.final_summary();
}
