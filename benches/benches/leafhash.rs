//! Hashing leaves side by side: each backend that the processor has, for numbers of leaves that are
//! a chunk, part of one, and the inner nodes of a chunk's tree.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use towpath_core::limits::LEAF_BYTES;
use towpath_leafhash::Backend;

fn leaves(criterion: &mut Criterion, name: &str, leaf_bytes: usize, counts: &[usize]) {
    let mut group = criterion.benchmark_group(name);
    for &count in counts {
        let data: Vec<u8> = (0..count * leaf_bytes).map(|i| ((i * 7) >> 3) as u8).collect();
        let mut out = vec![[0; 32]; count];
        group.throughput(Throughput::Bytes(data.len() as u64));
        for backend in Backend::ALL.into_iter().filter(|backend| backend.is_available()) {
            let id = BenchmarkId::new(format!("{backend:?}"), count);
            group.bench_with_input(id, &data, |b, data| {
                b.iter(|| backend.hash_leaves(black_box(data), leaf_bytes, &mut out));
            });
        }
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .measurement_time(Duration::from_secs(1))
        .warm_up_time(Duration::from_millis(300))
        .configure_from_args();
    leaves(&mut criterion, "leaves", LEAF_BYTES, &[1, 2, 4, 8, 10, 12, 16]);
    leaves(&mut criterion, "nodes", 64, &[1, 2, 4, 8, 16]);
    criterion.final_summary();
}
