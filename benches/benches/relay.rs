//! What the relay's hub costs per message: lookup, windows, turns and grants, for frames of 64 KiB
//! and of 1 KiB, alone and among ten thousand connections that only stand there.
//!
//! Only the time inside the hub is counted. No byte is copied there, so the rate is one of
//! messages; MB/s says what the machine would allow if sockets were free.

use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use towpath_benches::relay::Relay;

fn forward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("relay hub");
    for idle in [0, 10_000] {
        let mut relay = Relay::new(idle);
        for bytes in [64 * 1024, 1024] {
            let payload = Bytes::from(vec![7; bytes]);
            group.throughput(Throughput::Bytes(bytes as u64));
            let name = BenchmarkId::new(format!("forward {bytes}"), format!("{idle} idle"));
            group.bench_function(name, |b| {
                b.iter_custom(|messages| relay.carry(&payload, messages));
            });
        }
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    forward(&mut criterion);
    criterion.final_summary();
}
