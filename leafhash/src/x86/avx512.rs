//! Sixteen messages, each in one lane of 512-bit vectors.

use core::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_loadu_si512, _mm512_ror_epi32, _mm512_set1_epi32,
    _mm512_set4_epi32, _mm512_shuffle_epi8, _mm512_shuffle_i32x4, _mm512_srli_epi32,
    _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};

use super::rounds::{INITIAL, ROUND_CONSTANTS, hash_lanes, padding, to_bytes};

pub(super) const LANES: usize = 16;
type V = __m512i;

/// Truth tables of three bits, as the instruction wants them.
const XOR: i32 = 0x96;
const CHOOSE: i32 = 0xca;
const MAJORITY: i32 = 0xe8;

hash_lanes!("avx512f,avx512bw");

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn splat(word: u32) -> V {
    _mm512_set1_epi32(word.cast_signed())
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn add(a: V, b: V) -> V {
    _mm512_add_epi32(a, b)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn choose(e: V, f: V, g: V) -> V {
    _mm512_ternarylogic_epi32::<CHOOSE>(e, f, g)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn majority(a: V, b: V, c: V) -> V {
    _mm512_ternarylogic_epi32::<MAJORITY>(a, b, c)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn rotations<const I: i32, const J: i32, const K: i32>(x: V) -> V {
    let (i, j, k) = (_mm512_ror_epi32::<I>(x), _mm512_ror_epi32::<J>(x), _mm512_ror_epi32::<K>(x));
    _mm512_ternarylogic_epi32::<XOR>(i, j, k)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn big_sigma0(x: V) -> V {
    rotations::<2, 13, 22>(x)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn big_sigma1(x: V) -> V {
    rotations::<6, 11, 25>(x)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn small_sigma0(x: V) -> V {
    let (i, j) = (_mm512_ror_epi32::<7>(x), _mm512_ror_epi32::<18>(x));
    _mm512_ternarylogic_epi32::<XOR>(i, j, _mm512_srli_epi32::<3>(x))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn small_sigma1(x: V) -> V {
    let (i, j) = (_mm512_ror_epi32::<17>(x), _mm512_ror_epi32::<19>(x));
    _mm512_ternarylogic_epi32::<XOR>(i, j, _mm512_srli_epi32::<10>(x))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn store(vector: V) -> [u32; LANES] {
    let mut words = [0; LANES];
    // SAFETY: `words` has the 64 bytes that are written; the address need not be aligned.
    unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) };
    words
}

/// The block at `at` of each message: vector `i` has word `i` of every message.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load(messages: &[&[u8]; LANES], at: usize) -> [V; 16] {
    // Words are big-endian.
    let swap = _mm512_set4_epi32(0x0c0d_0e0f, 0x0809_0a0b, 0x0405_0607, 0x0001_0203);
    // Loops and not closures: the generic functions that call a closure lack the feature, so that
    // it would not be inlined.
    let mut rows = [swap; LANES];
    for (row, message) in rows.iter_mut().zip(messages) {
        let block = &message[at..at + 64];
        // SAFETY: `block` has the 64 bytes that are read; the address need not be aligned.
        *row = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
        *row = _mm512_shuffle_epi8(*row, swap);
    }
    // Of four messages each: `quads[g][c]` has in its 128-bit part `q` the words 4 q + c of the
    // messages 4 g to 4 g + 3.
    let mut quads = [[swap; 4]; 4];
    for (quad, rows) in quads.iter_mut().zip(rows.as_chunks::<4>().0) {
        let [a, b, c, d] = *rows;
        let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        *quad = [
            _mm512_unpacklo_epi64(ab_low, cd_low),
            _mm512_unpackhi_epi64(ab_low, cd_low),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ];
    }
    let mut words = [swap; 16];
    for c in 0..4 {
        // The even parts, then the odd ones: 0x88 takes 0 and 2 of each side, 0xdd 1 and 3.
        let even_low = _mm512_shuffle_i32x4::<0x88>(quads[0][c], quads[1][c]);
        let even_high = _mm512_shuffle_i32x4::<0x88>(quads[2][c], quads[3][c]);
        let odd_low = _mm512_shuffle_i32x4::<0xdd>(quads[0][c], quads[1][c]);
        let odd_high = _mm512_shuffle_i32x4::<0xdd>(quads[2][c], quads[3][c]);
        words[c] = _mm512_shuffle_i32x4::<0x88>(even_low, even_high);
        words[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd_low, odd_high);
        words[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even_low, even_high);
        words[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd_low, odd_high);
    }
    words
}
