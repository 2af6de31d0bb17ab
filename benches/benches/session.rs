//! What a session costs: a handshake, a chunk on its way out, a chunk on its way in.
//!
//! Both ends run in memory; only the end that is measured is timed. Throughput is that of chunk
//! bytes.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use towpath_core::crypto::public_key;
use towpath_core::id::{ChunkRef, ContentKey, Space};
use towpath_core::limits::CHUNK_BYTES;
use towpath_core::output::Output;
use towpath_core::rng::Rng;
use towpath_core::session::{
    ChunkFrame, Command, Config, Event, Input, Role, Session, Setup, Suite, Transmit,
};
use towpath_core::time::Instant as Moment;
use towpath_core::wire::{Handle, RequestId};

const SUITES: [(&str, Suite); 2] =
    [("aes-gcm", Suite::AesGcm), ("chacha20-poly1305", Suite::ChaChaPoly)];
/// Hashes of a proof in a file of 2 GiB.
const PROOF_HASHES: usize = 13;

fn session(role: Role, key: u8) -> Session {
    let setup = Setup { role, instance: 0 };
    let config = Config {
        setup,
        secret_key: [key; 32],
        ephemeral: [key + 100; 32],
        channel_binding: Vec::new(),
    };
    Session::new(Moment::ZERO, Rng::new([key; 32]), config)
}

/// What came out of a drain that the other end or the bench needs.
#[derive(Default)]
struct Drained {
    sent: Vec<Bytes>,
    chunk: Option<BytesMut>,
}

fn drain(session: &mut Session) -> Drained {
    let mut drained = Drained::default();
    loop {
        match session.poll_output() {
            Output::Transmit(Transmit::Send(bytes)) => drained.sent.push(bytes),
            Output::Event(Event::Chunk { data, .. }) => drained.chunk = Some(data),
            Output::Timeout(_) => return drained,
            _ => {}
        }
    }
}

fn input(session: &mut Session, input: Input) -> Drained {
    session.handle_input(Moment::ZERO, input);
    drain(session)
}

fn deliver(to: &mut Session, bytes: &[Bytes]) -> Drained {
    let mut all = Drained::default();
    for bytes in bytes {
        let mut drained = input(to, Input::Received(BytesMut::from(&bytes[..])));
        all.sent.append(&mut drained.sent);
        all.chunk = drained.chunk.or(all.chunk);
    }
    all
}

/// A fetching and a serving session, established.
fn pair(suite: Suite) -> (Session, Session) {
    let remote = Some(public_key(&[2; 32]));
    let mut a = session(Role::Initiator { remote, suite }, 1);
    let mut b = session(Role::Responder { accept_strangers: false, accept_aes: true }, 2);
    let mut to_b = drain(&mut a).sent;
    drain(&mut b);
    while !to_b.is_empty() {
        let to_a = deliver(&mut b, &to_b).sent;
        to_b = deliver(&mut a, &to_a).sent;
    }
    (a, b)
}

/// Runs `count` chunks from `b` to `a` and answers the time that each end took.
fn transfer(a: &mut Session, b: &mut Session, count: u64) -> (Duration, Duration) {
    let chunk = ChunkRef { space: Space::Root, index: 0 };
    let (request, content) = (RequestId(0), ContentKey(0));
    let (mut sealing, mut opening) = (Duration::ZERO, Duration::ZERO);
    let mut buffer = BytesMut::new();
    for _ in 0..count {
        let asked = Command::Request { request, handle: Handle(0), chunk };
        let asked = input(a, Input::Command(asked)).sent;
        deliver(b, &asked);
        input(b, Input::Command(Command::Serve { request, content, chunk }));

        let start = Instant::now();
        let frame = ChunkFrame::new(request, CHUNK_BYTES, PROOF_HASHES, buffer);
        let sent = input(b, Input::ChunkRead { request, result: Ok(frame) }).sent;
        sealing += start.elapsed();
        let [sealed] = &sent[..] else { panic!("a chunk is one piece") };
        let came = BytesMut::from(&sealed[..]);
        let bytes = sealed.len();
        input(b, Input::Sent { bytes });
        buffer =
            sent.into_iter().next().and_then(|sent| sent.try_into_mut().ok()).unwrap_or_default();

        let start = Instant::now();
        let data = input(a, Input::Received(came)).chunk.expect("the chunk is whole");
        opening += start.elapsed();
        input(a, Input::Command(Command::Recycle(black_box(data))));
    }
    (sealing, opening)
}

fn chunks(c: &mut Criterion) {
    let mut group = c.benchmark_group("chunk");
    group.throughput(Throughput::Bytes(CHUNK_BYTES as u64));
    for (name, suite) in SUITES {
        let (mut a, mut b) = pair(suite);
        group.bench_function(format!("seal/{name}"), |bencher| {
            bencher.iter_custom(|count| transfer(&mut a, &mut b, count).0);
        });
        group.bench_function(format!("open/{name}"), |bencher| {
            bencher.iter_custom(|count| transfer(&mut a, &mut b, count).1);
        });
    }
    group.finish();
}

fn handshake(c: &mut Criterion) {
    c.bench_function("handshake/ik, both ends", |bencher| {
        bencher.iter(|| black_box(pair(Suite::ChaChaPoly)));
    });
}

criterion_group!(benches, chunks, handshake);
criterion_main!(benches);
