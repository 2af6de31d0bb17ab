//! Every backend that this processor has gives what `sha2` gives.

extern crate std;

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use crate::{Backend, hash_leaves};

const LEAF_BYTES: usize = 16 * 1024;

fn available() -> impl Iterator<Item = Backend> {
    Backend::ALL.into_iter().filter(|backend| backend.is_available())
}

fn expected(data: &[u8], leaf_bytes: usize) -> Vec<[u8; 32]> {
    data.chunks(leaf_bytes).map(|leaf| Sha256::digest(leaf).into()).collect()
}

fn check(data: &[u8], leaf_bytes: usize) {
    let expected = expected(data, leaf_bytes);
    let mut out = vec![[0xEE; 32]; expected.len()];
    for backend in available() {
        out.fill([0xEE; 32]);
        backend.hash_leaves(data, leaf_bytes, &mut out);
        assert_eq!(out, expected, "{backend:?}, {} bytes of {leaf_bytes}", data.len());
    }
    hash_leaves(data, leaf_bytes, &mut out);
    assert_eq!(out, expected);
}

/// Bytes that differ from lane to lane and from block to block.
fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn the_portable_backend_is_always_there_and_the_best_one_is_chosen() {
    assert!(Backend::Portable.is_available());
    assert_eq!(Some(Backend::detect()), available().next());
    assert_eq!(Backend::ALL.last(), Some(&Backend::Portable));
}

#[test]
fn all_numbers_of_leaves_agree_with_sha2() {
    let data = bytes(40 * 128, 1);
    for leaves in 0..=40 {
        check(&data[..leaves * 128], 128);
    }
}

#[test]
fn all_lengths_around_the_end_of_a_leaf_agree_with_sha2() {
    let data = bytes(19 * LEAF_BYTES, 2);
    for leaves in [0, 1, 2, 3, 8, 9, 11, 16, 18] {
        for beyond in [0, 1, 55, 56, 63, 64, 65, LEAF_BYTES - 1] {
            check(&data[..leaves * LEAF_BYTES + beyond], LEAF_BYTES);
        }
    }
}

#[test]
fn leaves_that_are_no_whole_blocks_agree_with_sha2() {
    let data = bytes(5_000, 3);
    for leaf_bytes in [1, 55, 63, 65, 100, 5_000, 6_000] {
        check(&data, leaf_bytes);
    }
}

#[test]
fn an_example_of_the_standard_comes_out_as_it_says() {
    // NIST's example of two blocks, twenty times over, each alone in its leaf.
    let mut data = Vec::new();
    for _ in 0..20 {
        data.extend_from_slice(b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq");
    }
    let known = [
        0x24, 0x8d, 0x6a, 0x61, 0xd2, 0x06, 0x38, 0xb8, 0xe5, 0xc0, 0x26, 0x93, 0x0c, 0x3e, 0x60,
        0x39, 0xa3, 0x3c, 0xe4, 0x59, 0x64, 0xff, 0x21, 0x67, 0xf6, 0xec, 0xed, 0xd4, 0x19, 0xdb,
        0x06, 0xc1,
    ];
    let mut out = [[0; 32]; 20];
    hash_leaves(&data, 56, &mut out);
    assert_eq!(out, [known; 20]);
}

#[test]
#[should_panic(expected = "one hash for each leaf")]
fn a_wrong_number_of_hashes_is_a_bug_of_the_caller() {
    hash_leaves(&[0; 128], 64, &mut [[0; 32]; 3]);
}

proptest! {
    #[test]
    fn whatever_the_shape_it_agrees_with_sha2(
        blocks in 1_usize..40,
        odd in prop_oneof![4 => Just(0_usize), 1 => 1_usize..64],
        leaves in 0_usize..40,
        beyond in 0_usize..2_600,
        skipped in 0_usize..64,
        seed: u64,
    ) {
        let leaf_bytes = blocks * 64 + odd;
        let data = bytes(skipped + leaves * leaf_bytes + beyond % leaf_bytes, seed);
        // From any address: vectors are read from wherever the data lies.
        check(&data[skipped..], leaf_bytes);
    }
}
