//! MD5 (RFC 1321): LLVM names lists of files by it. Not for anything that must be safe.

/// The low half of the hash, as LLVM keeps it.
pub(super) fn low_half(bytes: &[u8]) -> u64 {
    let mut state: [u32; 4] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476];
    let mut padded = bytes.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend((bytes.len() as u64 * 8).to_le_bytes());
    for block in padded.as_chunks::<64>().0 {
        compress(&mut state, block);
    }
    u64::from(state[1]) << 32 | u64::from(state[0])
}

fn compress(state: &mut [u32; 4], block: &[u8; 64]) {
    const TURNS: [[u32; 4]; 4] =
        [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let words = block.as_chunks::<4>().0;
    let [mut a, mut b, mut c, mut d] = *state;
    for step in 0..64 {
        let (mixed, word) = match step / 16 {
            0 => (b & c | !b & d, step),
            1 => (d & b | !d & c, (5 * step + 1) % 16),
            2 => (b ^ c ^ d, (3 * step + 5) % 16),
            _ => (c ^ (b | !d), 7 * step % 16),
        };
        let constant = ((step as f64 + 1.0).sin().abs() * 4_294_967_296.0) as u32;
        let sum = a
            .wrapping_add(mixed)
            .wrapping_add(constant)
            .wrapping_add(u32::from_le_bytes(words[word]));
        (a, d, c) = (d, c, b);
        b = b.wrapping_add(sum.rotate_left(TURNS[step / 16][step % 4]));
    }
    for (sum, part) in state.iter_mut().zip([a, b, c, d]) {
        *sum = sum.wrapping_add(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_md5() {
        // RFC 1321, section A.5.
        let low = |hex: u64| hex.swap_bytes();
        assert_eq!(low_half(b""), low(0xd41d_8cd9_8f00_b204));
        assert_eq!(low_half(b"message digest"), low(0xf96b_697d_7cb7_938d));
        assert_eq!(low_half(&b"1234567890".repeat(8)), low(0x57ed_f4a2_2be3_c955));
    }
}
