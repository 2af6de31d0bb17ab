//! Two messages in turn with the processor's SHA instructions. They take hardly longer than one:
//! each instruction of a message waits for the one before, and meanwhile the other message's runs.

use core::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_loadu_si128, _mm_set_epi32, _mm_set_epi64x,
    _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
    _mm_shuffle_epi32, _mm_storeu_si128,
};

use super::rounds::{INITIAL, ROUND_CONSTANTS, padding, to_bytes};

type V = __m128i;

/// The instructions want the eight words as A B E F and C D G H, the first word in the highest
/// place.
#[derive(Clone, Copy)]
struct State {
    abef: V,
    cdgh: V,
}

/// The SHA-256 of both messages, which have the same length, a multiple of 64 bytes.
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(super) fn hash(one: &[u8], two: &[u8]) -> [[u8; 32]; 2] {
    let length = one.len();
    assert!(
        two.len() == length && length.is_multiple_of(64),
        "messages of one length, in whole blocks"
    );
    let [a, b, c, d, e, f, g, h] = INITIAL;
    let start = State { abef: pack([f, e, b, a]), cdgh: pack([h, g, d, c]) };
    let mut states = [start; 2];
    for (one, two) in one.as_chunks().0.iter().zip(two.as_chunks().0) {
        compress(&mut states, load(one), load(two));
    }
    let mut last = [start.abef; 4];
    for (vector, words) in last.iter_mut().zip(padding(length).as_chunks::<4>().0) {
        *vector = pack(*words);
    }
    compress(&mut states, last, last);
    [unpack(states[0]), unpack(states[1])]
}

/// One block of each message: four vectors of four words, of which always the oldest is replaced by
/// the next.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn compress(states: &mut [State; 2], mut w1: [V; 4], mut w2: [V; 4]) {
    let [mut s1, mut s2] = *states;
    macro_rules! extend {
        ($group:literal, $w:ident) => {
            let (oldest, old) = ($w[$group % 4], $w[($group + 1) % 4]);
            let (new, newest) = ($w[($group + 2) % 4], $w[($group + 3) % 4]);
            let sum = _mm_sha256msg1_epu32(oldest, old);
            let sum = _mm_add_epi32(sum, _mm_alignr_epi8::<4>(newest, new));
            $w[$group % 4] = _mm_sha256msg2_epu32(sum, newest);
        };
    }
    macro_rules! rounds {
        ($group:literal, $s:ident, $w:ident, $k:ident) => {
            let wk = _mm_add_epi32($w[$group % 4], $k);
            $s.cdgh = _mm_sha256rnds2_epu32($s.cdgh, $s.abef, wk);
            let wk = _mm_shuffle_epi32::<0x0e>(wk);
            $s.abef = _mm_sha256rnds2_epu32($s.abef, $s.cdgh, wk);
        };
    }
    macro_rules! both {
        ($($group:literal)*) => {
            $(
                if $group >= 4 {
                    extend!($group, w1);
                    extend!($group, w2);
                }
                let k = pack(ROUND_CONSTANTS[$group / 4].as_chunks::<4>().0[$group % 4]);
                rounds!($group, s1, w1, k);
                rounds!($group, s2, w2, k);
            )*
        };
    }
    both!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    let [before1, before2] = *states;
    *states = [add(s1, before1), add(s2, before2)];
}

#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn add(a: State, b: State) -> State {
    State { abef: _mm_add_epi32(a.abef, b.abef), cdgh: _mm_add_epi32(a.cdgh, b.cdgh) }
}

#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn unpack(state: State) -> [u8; 32] {
    let ([f, e, b, a], [h, g, d, c]) = (store(state.abef), store(state.cdgh));
    to_bytes([a, b, c, d, e, f, g, h])
}

/// Four words, the first one in the lowest place.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn pack(words: [u32; 4]) -> V {
    let [a, b, c, d] = words;
    _mm_set_epi32(d.cast_signed(), c.cast_signed(), b.cast_signed(), a.cast_signed())
}

/// The words of a block.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn load(block: &[u8; 64]) -> [V; 4] {
    // Words are big-endian.
    let swap = _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203);
    // A loop and no closure: the generic functions that call a closure lack the feature, so that it
    // would not be inlined.
    let mut words = [swap; 4];
    for (words, part) in words.iter_mut().zip(block.as_chunks::<16>().0) {
        // SAFETY: `part` has the 16 bytes that are read; the address need not be aligned.
        *words = unsafe { _mm_loadu_si128(part.as_ptr().cast()) };
        *words = _mm_shuffle_epi8(*words, swap);
    }
    words
}

#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn store(vector: V) -> [u32; 4] {
    let mut words = [0; 4];
    // SAFETY: `words` has the 16 bytes that are written; the address need not be aligned.
    unsafe { _mm_storeu_si128(words.as_mut_ptr().cast(), vector) };
    words
}
