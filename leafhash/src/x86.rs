//! What x86-64 has: which backend there is, and which takes how many of the messages.

mod avx2;
mod avx512;
mod rounds;
mod shani;

use crate::{Backend, hash_each};

cpufeatures::new!(has_avx512, "avx512f", "avx512bw");
cpufeatures::new!(has_avx2, "avx2");
cpufeatures::new!(has_shani, "sha", "sse4.1", "ssse3");

/// Fewer messages than this are faster in pairs with the SHA instructions than in sixteen lanes of
/// which many run empty.
const AVX512_LEAST: usize = 10;
/// Fewer messages than this are faster one by one than in eight lanes.
const AVX2_LEAST: usize = 3;

pub(crate) fn is_available(backend: Backend) -> bool {
    match backend {
        Backend::Avx512 => has_avx512::get(),
        Backend::ShaNi => has_shani::get(),
        Backend::Avx2 => has_avx2::get(),
        Backend::Portable => true,
    }
}

/// Hashes messages of `length` bytes, a multiple of 64, that lie one behind the other. The backend
/// is available.
pub(crate) fn hash_whole(backend: Backend, data: &[u8], length: usize, out: &mut [[u8; 32]]) {
    match backend {
        Backend::Avx512 => {
            // A processor with AVX-512 and without SHA would have its rest hashed one by one.
            let (rest, out) = avx512_lanes(data, length, out);
            if has_shani::get() {
                shani_pairs(rest, length, out);
            } else {
                hash_each(rest, length, out);
            }
        }
        Backend::ShaNi => shani_pairs(data, length, out),
        Backend::Avx2 => {
            let (rest, out) = avx2_lanes(data, length, out);
            hash_each(rest, length, out);
        }
        Backend::Portable => hash_each(data, length, out),
    }
}

/// Hashes as many messages as are worth it, and gives back the rest.
fn avx512_lanes<'a, 'b>(
    mut data: &'a [u8],
    length: usize,
    mut out: &'b mut [[u8; 32]],
) -> (&'a [u8], &'b mut [[u8; 32]]) {
    assert!(has_avx512::get(), "checked by whoever chose the backend");
    while out.len() >= AVX512_LEAST {
        let taken = out.len().min(avx512::LANES);
        let messages = data.split_at(taken * length);
        let lanes = lanes(messages.0, length);
        // SAFETY: the processor has AVX-512 F and BW, asserted above.
        let hashes = unsafe { avx512::hash(&lanes) };
        let (now, later) = out.split_at_mut(taken);
        now.copy_from_slice(&hashes[..taken]);
        (data, out) = (messages.1, later);
    }
    (data, out)
}

/// Hashes as many messages as are worth it, and gives back the rest.
fn avx2_lanes<'a, 'b>(
    mut data: &'a [u8],
    length: usize,
    mut out: &'b mut [[u8; 32]],
) -> (&'a [u8], &'b mut [[u8; 32]]) {
    assert!(has_avx2::get(), "checked by whoever chose the backend");
    while out.len() >= AVX2_LEAST {
        let taken = out.len().min(avx2::LANES);
        let messages = data.split_at(taken * length);
        let lanes = lanes(messages.0, length);
        // SAFETY: the processor has AVX2, asserted above.
        let hashes = unsafe { avx2::hash(&lanes) };
        let (now, later) = out.split_at_mut(taken);
        now.copy_from_slice(&hashes[..taken]);
        (data, out) = (messages.1, later);
    }
    (data, out)
}

fn shani_pairs(data: &[u8], length: usize, out: &mut [[u8; 32]]) {
    assert!(has_shani::get(), "checked by whoever chose the backend");
    let (pairs, last_out) = out.as_chunks_mut::<2>();
    let (paired, last) = data.split_at(2 * length * pairs.len());
    for (messages, out) in paired.chunks_exact(2 * length).zip(pairs) {
        let (one, two) = messages.split_at(length);
        // SAFETY: the processor has SHA, SSSE3 and SSE4.1, asserted above.
        *out = unsafe { shani::hash(one, two) };
    }
    hash_each(last, length, last_out);
}

/// The messages, one for each lane; lanes without one have the first again.
fn lanes<const LANES: usize>(messages: &[u8], length: usize) -> [&[u8]; LANES] {
    let mut lanes = [&messages[..length]; LANES];
    for (lane, message) in lanes.iter_mut().zip(messages.chunks_exact(length)) {
        *lane = message;
    }
    lanes
}
