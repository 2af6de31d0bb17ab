//! What a session costs: a handshake, a chunk on its way out, a chunk on its way in.
//!
//! Both ends run in memory; only the end that is measured is timed, with the few inputs around the
//! chunk itself. Throughput is that of chunk bytes.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use towpath_benches::Meter;
use towpath_benches::sessions::{End, Pair};
use towpath_core::limits::CHUNK_BYTES;
use towpath_core::session::Suite;

const SUITES: [(&str, Suite); 2] =
    [("aes-gcm", Suite::AesGcm), ("chacha20-poly1305", Suite::ChaChaPoly)];

/// The time that one end takes for `count` chunks.
fn carry(pair: &mut Pair, end: fn(&mut Pair) -> &mut End, count: u64) -> Duration {
    end(pair).meter = Meter { on: true, ..Meter::default() };
    for _ in 0..count {
        pair.carry_chunk(CHUNK_BYTES);
    }
    std::mem::take(&mut end(pair).meter).spent
}

fn chunks(c: &mut Criterion) {
    let mut group = c.benchmark_group("chunk");
    group.throughput(Throughput::Bytes(CHUNK_BYTES as u64));
    for (name, suite) in SUITES {
        let mut pair = Pair::new(suite, false, false);
        group.bench_function(format!("seal/{name}"), |bencher| {
            bencher.iter_custom(|count| carry(&mut pair, |pair| &mut pair.serving, count));
        });
        group.bench_function(format!("open/{name}"), |bencher| {
            bencher.iter_custom(|count| carry(&mut pair, |pair| &mut pair.fetching, count));
        });
    }
    group.finish();
}

fn handshake(c: &mut Criterion) {
    c.bench_function("handshake/ik, both ends", |bencher| {
        bencher.iter(|| black_box(Pair::new(Suite::ChaChaPoly, false, false)));
    });
}

criterion_group!(benches, chunks, handshake);
criterion_main!(benches);
