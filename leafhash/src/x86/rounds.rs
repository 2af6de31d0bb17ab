//! SHA-256 (FIPS 180-4) over vectors whose lanes are different messages, for whatever vectors the
//! module has that calls [`hash_lanes`].

/// The fractions of the square roots of the first eight primes.
pub(super) const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The fractions of the cube roots of the first 64 primes, sixteen for each pass.
#[rustfmt::skip]
pub(super) const ROUND_CONSTANTS: [[u32; 16]; 4] = [
    [
        0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5,
        0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
        0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3,
        0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    ],
    [
        0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc,
        0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
        0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7,
        0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    ],
    [
        0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13,
        0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
        0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3,
        0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    ],
    [
        0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5,
        0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
        0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208,
        0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
    ],
];

/// The last block of a message of whole blocks: the bit 1, zeros, and the message's length in bits.
pub(super) const fn padding(length_bytes: usize) -> [u32; 16] {
    let bits = (length_bytes as u64) * 8;
    let mut words = [0; 16];
    words[0] = 1 << 31;
    words[14] = (bits >> 32) as u32;
    words[15] = bits as u32;
    words
}

/// A hash as bytes.
pub(super) fn to_bytes(words: [u32; 8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

/// Makes `hash` and `compress` of a module that has `V` (a vector of `LANES` words), `splat`,
/// `add`, `choose`, `majority`, the four sigmas, `load` (one block of each message, as sixteen
/// vectors) and `store` (the words of a vector), all of which need `$features`.
macro_rules! hash_lanes {
    ($features:literal) => {
        /// The SHA-256 of each message; all have the same length, a multiple of 64 bytes.
        #[target_feature(enable = $features)]
        pub(super) fn hash(messages: &[&[u8]; LANES]) -> [[u8; 32]; LANES] {
            let length = messages[0].len();
            assert!(
                messages.iter().all(|message| message.len() == length && length.is_multiple_of(64)),
                "messages of one length, in whole blocks"
            );
            let mut state = [splat(0); 8];
            for (vector, word) in state.iter_mut().zip(INITIAL) {
                *vector = splat(word);
            }
            for at in (0..length).step_by(64) {
                compress(&mut state, load(messages, at));
            }
            let mut last = [splat(0); 16];
            for (vector, word) in last.iter_mut().zip(padding(length)) {
                *vector = splat(word);
            }
            compress(&mut state, last);
            let mut words = [[0; LANES]; 8];
            for (words, vector) in words.iter_mut().zip(state) {
                *words = store(vector);
            }
            core::array::from_fn(|lane| to_bytes(words.map(|of_lanes| of_lanes[lane])))
        }

        #[inline]
        #[target_feature(enable = $features)]
        fn compress(state: &mut [V; 8], mut w: [V; 16]) {
            let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
            // Names, not an array, are turned around from round to round: they stay in registers.
            macro_rules! round {
                ($a:ident $b:ident $c:ident $d:ident $e:ident $f:ident $g:ident $h:ident,
                 $i:literal, $k:ident) => {
                    let wk = add(w[$i], splat($k[$i]));
                    let first = add(add($h, wk), add(big_sigma1($e), choose($e, $f, $g)));
                    $d = add($d, first);
                    $h = add(first, add(big_sigma0($a), majority($a, $b, $c)));
                };
            }
            // A word is replaced by the one of sixteen rounds later as soon as it is used.
            macro_rules! extend {
                ($i:literal) => {
                    let far = add(w[$i], w[($i + 9) % 16]);
                    let near =
                        add(small_sigma0(w[($i + 1) % 16]), small_sigma1(w[($i + 14) % 16]));
                    w[$i] = add(far, near);
                };
            }
            macro_rules! pass {
                ($k:ident, $then:ident) => {
                    round!(a b c d e f g h, 0, $k);
                    $then!(0);
                    round!(h a b c d e f g, 1, $k);
                    $then!(1);
                    round!(g h a b c d e f, 2, $k);
                    $then!(2);
                    round!(f g h a b c d e, 3, $k);
                    $then!(3);
                    round!(e f g h a b c d, 4, $k);
                    $then!(4);
                    round!(d e f g h a b c, 5, $k);
                    $then!(5);
                    round!(c d e f g h a b, 6, $k);
                    $then!(6);
                    round!(b c d e f g h a, 7, $k);
                    $then!(7);
                    round!(a b c d e f g h, 8, $k);
                    $then!(8);
                    round!(h a b c d e f g, 9, $k);
                    $then!(9);
                    round!(g h a b c d e f, 10, $k);
                    $then!(10);
                    round!(f g h a b c d e, 11, $k);
                    $then!(11);
                    round!(e f g h a b c d, 12, $k);
                    $then!(12);
                    round!(d e f g h a b c, 13, $k);
                    $then!(13);
                    round!(c d e f g h a b, 14, $k);
                    $then!(14);
                    round!(b c d e f g h a, 15, $k);
                    $then!(15);
                };
            }
            macro_rules! nothing {
                ($i:literal) => {};
            }
            let [first, second, third, last] = &ROUND_CONSTANTS;
            for k in [first, second, third] {
                pass!(k, extend);
            }
            pass!(last, nothing);
            for (sum, word) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
                *sum = add(*sum, word);
            }
        }
    };
}

pub(super) use hash_lanes;
