//! Eight messages, each in one lane of 256-bit vectors.

use core::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_loadu_si256, _mm256_or_si256,
    _mm256_permute2x128_si256, _mm256_set_epi8, _mm256_set1_epi32, _mm256_shuffle_epi8,
    _mm256_slli_epi32, _mm256_srli_epi32, _mm256_storeu_si256, _mm256_unpackhi_epi32,
    _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64, _mm256_xor_si256,
};

use super::rounds::{INITIAL, ROUND_CONSTANTS, hash_lanes, padding, to_bytes};

pub(super) const LANES: usize = 8;
type V = __m256i;

hash_lanes!("avx2");

#[inline]
#[target_feature(enable = "avx2")]
fn splat(word: u32) -> V {
    _mm256_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(a: V, b: V) -> V {
    _mm256_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx2")]
fn choose(e: V, f: V, g: V) -> V {
    _mm256_xor_si256(g, _mm256_and_si256(e, _mm256_xor_si256(f, g)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn majority(a: V, b: V, c: V) -> V {
    let either = _mm256_and_si256(c, _mm256_or_si256(a, b));
    _mm256_or_si256(_mm256_and_si256(a, b), either)
}

/// Turned right by `R`, which is left by `L`, 32 − `R`.
#[inline]
#[target_feature(enable = "avx2")]
fn turn<const R: i32, const L: i32>(x: V) -> V {
    _mm256_or_si256(_mm256_srli_epi32::<R>(x), _mm256_slli_epi32::<L>(x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor3(a: V, b: V, c: V) -> V {
    _mm256_xor_si256(_mm256_xor_si256(a, b), c)
}

#[inline]
#[target_feature(enable = "avx2")]
fn big_sigma0(x: V) -> V {
    xor3(turn::<2, 30>(x), turn::<13, 19>(x), turn::<22, 10>(x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn big_sigma1(x: V) -> V {
    xor3(turn::<6, 26>(x), turn::<11, 21>(x), turn::<25, 7>(x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn small_sigma0(x: V) -> V {
    xor3(turn::<7, 25>(x), turn::<18, 14>(x), _mm256_srli_epi32::<3>(x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn small_sigma1(x: V) -> V {
    xor3(turn::<17, 15>(x), turn::<19, 13>(x), _mm256_srli_epi32::<10>(x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(vector: V) -> [u32; LANES] {
    let mut words = [0; LANES];
    // SAFETY: `words` has the 32 bytes that are written; the address need not be aligned.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), vector) };
    words
}

/// The block at `at` of each message: vector `i` has word `i` of every message.
#[inline]
#[target_feature(enable = "avx2")]
fn load(messages: &[&[u8]; LANES], at: usize) -> [V; 16] {
    let (low, high) = (load_half(messages, at), load_half(messages, at + 32));
    let mut words = [low[0]; 16];
    words[..8].copy_from_slice(&low);
    words[8..].copy_from_slice(&high);
    words
}

/// The eight words at `at` of each message.
#[inline]
#[target_feature(enable = "avx2")]
fn load_half(messages: &[&[u8]; LANES], at: usize) -> [V; 8] {
    // Words are big-endian.
    #[rustfmt::skip]
    let swap = _mm256_set_epi8(
        12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3,
        12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3,
    );
    // Loops and not closures: the generic functions that call a closure lack the feature, so that
    // it would not be inlined.
    let mut rows = [swap; LANES];
    for (row, message) in rows.iter_mut().zip(messages) {
        let half = &message[at..at + 32];
        // SAFETY: `half` has the 32 bytes that are read; the address need not be aligned.
        *row = unsafe { _mm256_loadu_si256(half.as_ptr().cast()) };
        *row = _mm256_shuffle_epi8(*row, swap);
    }
    // Of four messages each: `quads[g][c]` has in its 128-bit part `q` the words 4 q + c of the
    // messages 4 g to 4 g + 3.
    let mut quads = [[swap; 4]; 2];
    for (quad, rows) in quads.iter_mut().zip(rows.as_chunks::<4>().0) {
        let [a, b, c, d] = *rows;
        let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        *quad = [
            _mm256_unpacklo_epi64(ab_low, cd_low),
            _mm256_unpackhi_epi64(ab_low, cd_low),
            _mm256_unpacklo_epi64(ab_high, cd_high),
            _mm256_unpackhi_epi64(ab_high, cd_high),
        ];
    }
    let mut words = [swap; 8];
    for c in 0..4 {
        words[c] = _mm256_permute2x128_si256::<0x20>(quads[0][c], quads[1][c]);
        words[4 + c] = _mm256_permute2x128_si256::<0x31>(quads[0][c], quads[1][c]);
    }
    words
}
