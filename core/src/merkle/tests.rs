//! Trees and proofs: whatever is true verifies, whatever is touched does not.

use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

const LEAF: u64 = LEAF_BYTES as u64;
const CHUNK: u64 = CHUNK_BYTES as u64;

/// Bytes that differ from leaf to leaf.
fn content(length: u64) -> Vec<u8> {
    (0..length).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// The root by the definition, over all leaves at once: what the rest is compared with.
fn naive_root(data: &[u8]) -> Hash {
    if data.is_empty() {
        return ZERO_HASH;
    }
    let mut level: Vec<Hash> =
        data.chunks(LEAF_BYTES).map(|leaf| Hash(Sha256::digest(leaf).into())).collect();
    level.resize(level.len().next_power_of_two(), ZERO_HASH);
    while level.len() > 1 {
        level = level.chunks(2).map(|pair| parent(pair[0], pair[1])).collect();
    }
    level[0]
}

/// Root and kept nodes as a store would make them.
fn build(data: &[u8]) -> (Hash, Vec<Hash>) {
    let length = data.len() as u64;
    let mut builder = TreeBuilder::new(length);
    let layout = TreeLayout::new(length);
    let mut nodes = vec![None; layout.nodes() as usize];
    for chunk in data.chunks(CHUNK_BYTES) {
        for (position, hash) in builder.push(chunk_hash(length, chunk)) {
            assert_eq!(nodes[position as usize].replace(hash), None, "each node once");
        }
    }
    let nodes = nodes.into_iter().map(|node| node.expect("every node is known at the end"));
    (builder.finish(), nodes.collect())
}

fn chunk_proof(nodes: &[Hash], length: u64, index: u64) -> Vec<Hash> {
    let proof = TreeLayout::new(length).proof(index);
    proof.map(|node| node.map_or_else(|padding| padding, |at| nodes[at as usize])).collect()
}

fn chunk_of(data: &[u8], index: u64) -> &[u8] {
    let start = (index * CHUNK) as usize;
    &data[start..start + chunk_length(data.len() as u64, index)]
}

#[test]
fn shapes_follow_from_the_length() {
    let shape = |length| (leaf_count(length), chunk_count(length), proof_length(length));
    assert_eq!(shape(0), (0, 0, 0));
    assert_eq!(shape(1), (1, 1, 0));
    assert_eq!(shape(LEAF), (1, 1, 0));
    assert_eq!(shape(LEAF + 1), (2, 1, 0));
    assert_eq!(shape(CHUNK), (16, 1, 0));
    assert_eq!(shape(CHUNK + 1), (17, 2, 1));
    assert_eq!(shape(3 * CHUNK), (48, 3, 2));
    assert_eq!(shape(5 * CHUNK), (80, 5, 3));
    assert_eq!(proof_length(MAX_FILE_BYTES), crate::limits::MAX_PROOF_HASHES);
    assert_eq!(chunk_length(CHUNK + 1, 1), 1);
    assert_eq!(chunk_length(CHUNK, 0), CHUNK_BYTES);
    // A hostile length must not overflow anywhere.
    assert_eq!(LeafRange::chunk(MAX_FILE_BYTES, 0).bytes(MAX_FILE_BYTES), Some(0..CHUNK));
    assert_eq!(LeafRange::chunk(MAX_FILE_BYTES + 1, 0).bytes(MAX_FILE_BYTES + 1), None);
    assert_eq!(proof_length(u64::MAX), 46);
    assert!(TreeLayout::new(u64::MAX).nodes() > 1 << 46);
    assert!(!verify_chunk(ZERO_HASH, u64::MAX, u64::MAX, &[ZERO_HASH; 46], &[]));
    assert!(!verify_chunk(ZERO_HASH, u64::MAX, (1 << 46) - 1, &[ZERO_HASH; 46], &[]));
}

// Spec C4
#[test]
fn an_empty_file_has_a_zero_root_and_no_chunk() {
    assert_eq!(build(&[]), (ZERO_HASH, vec![]));
    assert!(!verify_chunk(ZERO_HASH, 0, 0, &[], &[]));
}

#[test]
#[should_panic(expected = "chunk 1 of 1 bytes")]
fn the_length_of_a_chunk_that_is_not_there_is_our_bug() {
    let _ = chunk_length(1, 1);
}

#[test]
fn the_layout_has_no_padding_and_no_root() {
    let layout = TreeLayout { chunks: 5 };
    assert_eq!(layout.nodes(), 5 + 3 + 2);
    assert_eq!(layout.position(0, 4), Some(4));
    assert_eq!(layout.position(0, 5), None);
    assert_eq!(layout.position(1, 2), Some(7));
    assert_eq!(layout.position(1, 3), None);
    assert_eq!(layout.position(2, 1), Some(9));
    assert_eq!(layout.position(3, 0), None, "the root is not kept");
    assert_eq!(layout.position(200, 0), None);
    assert_eq!(TreeLayout { chunks: 1 }.nodes(), 0);
    assert_eq!(TreeLayout { chunks: 0 }.nodes(), 0);
    assert_eq!(TreeLayout { chunks: 0 }.proof(0).count(), 0);
}

#[test]
fn building_needs_one_node_a_level() {
    let chunks = 1_000_003;
    let mut builder = TreeBuilder::new(chunks * CHUNK);
    for _ in 0..chunks {
        builder.push(ZERO_HASH);
        assert!(builder.waiting.len() <= 21);
    }
}

/// Lengths around every boundary that matters, with few bytes in all.
fn lengths() -> impl Strategy<Value = u64> {
    let around = |unit: u64, most: u64| {
        (0..=most, -2i64..=2).prop_map(move |(n, by)| (n * unit).saturating_add_signed(by))
    };
    prop_oneof![around(LEAF, 20), around(CHUNK, 9), 0..9 * CHUNK]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    // Spec C1, C2, C3, C6, C8
    #[test]
    fn every_chunk_proves_itself(length in lengths()) {
        let data = content(length);
        let (root, nodes) = build(&data);
        prop_assert_eq!(root, naive_root(&data));
        for index in 0..chunk_count(length) {
            let proof = chunk_proof(&nodes, length, index);
            prop_assert_eq!(proof.len(), proof_length(length));
            prop_assert!(verify_chunk(root, length, index, &proof, chunk_of(&data, index)));
        }
    }

    // Spec C6, C7, C8, C5, C6b
    #[test]
    fn whatever_is_wrong_is_refused(
        length in lengths().prop_filter("has a chunk", |length| *length > 0),
        index in any::<prop::sample::Index>(),
        bit in any::<prop::sample::Index>(),
    ) {
        let data = content(length);
        let (root, nodes) = build(&data);
        let index = index.index(chunk_count(length) as usize) as u64;
        let proof = chunk_proof(&nodes, length, index);
        let chunk = chunk_of(&data, index);

        let mut bad = chunk.to_vec();
        let at = bit.index(bad.len() * 8);
        bad[at / 8] ^= 1 << (at % 8);
        prop_assert!(!verify_chunk(root, length, index, &proof, &bad));
        prop_assert!(!verify_chunk(root, length, index, &proof, &chunk[1..]));
        bad[at / 8] ^= 1 << (at % 8);
        bad.push(0);
        prop_assert!(!verify_chunk(root, length, index, &proof, &bad));

        if !proof.is_empty() {
            let mut bad = proof.clone();
            let at = bit.index(bad.len() * 256);
            bad[at / 256].0[at % 256 / 8] ^= 1 << (at % 8);
            prop_assert!(!verify_chunk(root, length, index, &bad, chunk));
            prop_assert!(!verify_chunk(root, length, index, &proof[1..], chunk));
        }
        let mut bad = proof.clone();
        bad.push(ZERO_HASH);
        prop_assert!(!verify_chunk(root, length, index, &bad, chunk));

        for other in (0..u64::BITS).map(|shift| index ^ (1 << shift)) {
            prop_assert!(!verify_chunk(root, length, other, &proof, chunk));
        }
        let mut bad = root;
        bad.0[bit.index(32)] ^= 1;
        prop_assert!(!verify_chunk(bad, length, index, &proof, chunk));
        // Another length of the file is found where it gives the chunk another length, or the
        // proof another shape. (Where it gives neither, only the id tells: it covers the length.)
        for other in [length - 1, length + 1, length * 2] {
            let same = index < chunk_count(other)
                && chunk_length(other, index) == chunk.len()
                && LeafRange::chunk(other, index) == LeafRange::chunk(length, index)
                && proof_length(other) == proof.len();
            prop_assert_eq!(verify_chunk(root, other, index, &proof, chunk), same);
        }
    }

    #[test]
    fn a_receiver_can_prove_what_it_got(
        length in CHUNK + 1..12 * CHUNK,
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..12),
    ) {
        let data = content(length);
        let (root, nodes) = build(&data);
        let layout = TreeLayout::new(length);
        let mut kept = vec![None; layout.nodes() as usize];
        let mut had = Vec::new();
        for index in order.iter().map(|index| index.index(layout.chunks as usize) as u64) {
            let proof = chunk_proof(&nodes, length, index);
            let hash = check_chunk(root, length, index, &proof, chunk_of(&data, index));
            for (position, hash) in layout.learned(index, hash.expect("it is good"), &proof) {
                prop_assert_eq!(hash, nodes[position as usize]);
                kept[position as usize] = Some(hash);
            }
            had.push((index, proof));
        }
        for (index, proof) in had {
            let again: Vec<_> = layout
                .proof(index)
                .map(|node| node.map_or_else(Some, |at| kept[at as usize]))
                .collect();
            prop_assert_eq!(again, proof.into_iter().map(Some).collect::<Vec<_>>());
        }
    }

    #[test]
    fn ranges_of_leaves_prove_themselves(
        length in lengths(),
        level in 0u32..6,
        index in any::<prop::sample::Index>(),
        bit in any::<prop::sample::Index>(),
    ) {
        let data = content(length);
        let (root, nodes) = build(&data);
        let runs = length.div_ceil(LEAF << level).max(1);
        let range = LeafRange { level, index: index.index(runs as usize) as u64 };
        let Some(bytes) = range.bytes(length) else {
            prop_assert!(length == 0 || level > chunk_level(length));
            prop_assert_eq!(verify_range(root, length, range, &[], &data), None);
            prop_assert_eq!(range_proof(length, range, &data, &[]), None);
            return Ok(());
        };
        let chunk = bytes.start / CHUNK;
        let upper = chunk_proof(&nodes, length, chunk);
        let proof = range_proof(length, range, chunk_of(&data, chunk), &upper);
        let proof = proof.expect("it is there");
        prop_assert_eq!(proof.len(), range.proof_length(length));
        let mut part = data[bytes.start as usize..bytes.end as usize].to_vec();
        prop_assert!(verify_range(root, length, range, &proof, &part).is_some());
        // A range of one level is no range of another, even with the right bytes.
        let other = LeafRange { level: level ^ 1, ..range };
        prop_assert_eq!(verify_range(root, length, other, &proof, &part), None);
        let at = bit.index(part.len());
        part[at] ^= 0x10;
        prop_assert_eq!(verify_range(root, length, range, &proof, &part), None);
        // Parts of the wrong length make no proof.
        prop_assert_eq!(range_proof(length, range, &part[1..], &upper[..0]), None);
    }
}
