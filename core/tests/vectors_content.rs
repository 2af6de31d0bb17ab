//! The vectors of the spec's chapters "Content" and "Link": Merkle trees by libtorrent, the rest by
//! scripts that share no code with us.

use serde_json::Value;
use towpath_core::id::Hash;
use towpath_core::limits::{CHUNK_BYTES, LEAF_BYTES};
use towpath_core::merkle::{
    LeafRange, TreeBuilder, TreeLayout, chunk_count, chunk_hash, proof_length, verify_chunk,
    verify_range,
};

fn vectors(json: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(json).expect("a JSON file");
    let vectors = file["vectors"].as_array().expect("an array of vectors").clone();
    assert!(vectors.len() >= 5, "a file of vectors that lost its vectors tests nothing");
    vectors
}

fn text<'a>(vector: &'a Value, name: &str) -> &'a str {
    vector[name].as_str().unwrap_or_else(|| panic!("{name} is a string in {vector}"))
}

fn number(vector: &Value, name: &str) -> u64 {
    vector[name].as_u64().unwrap_or_else(|| panic!("{name} is a number in {vector}"))
}

fn hashes(vector: &Value, name: &str) -> Vec<Hash> {
    let list = vector[name].as_array().unwrap_or_else(|| panic!("{name} is a list in {vector}"));
    let hash = |value: &Value| value.as_str().and_then(|hash| hash.parse().ok());
    list.iter().map(|value| hash(value).expect("a hash in hex")).collect()
}

// spec: content-merkle, content-proof
#[test]
fn merkle_trees_are_those_of_libtorrent() {
    let vectors = vectors(include_str!("../../spec/vectors/merkle.json"));
    let longest = vectors.iter().map(|v| number(v, "length_bytes")).max().unwrap();
    let content: Vec<u8> =
        (0..longest).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    for vector in &vectors {
        let length = number(vector, "length_bytes");
        let data = &content[..length as usize];
        let root: Hash = text(vector, "root").parse().unwrap();
        let chunks: Vec<Hash> =
            data.chunks(CHUNK_BYTES).map(|chunk| chunk_hash(length, chunk)).collect();
        assert_eq!(chunks, hashes(vector, "chunk_hashes"), "{length}");
        assert_eq!(chunks.len() as u64, chunk_count(length));

        let mut builder = TreeBuilder::new(length);
        let layout = TreeLayout::new(length);
        let mut nodes = vec![Hash([0; 32]); layout.nodes() as usize];
        for chunk in &chunks {
            for (position, hash) in builder.push(*chunk) {
                nodes[position as usize] = hash;
            }
        }
        assert_eq!(builder.finish(), root, "{length}");

        for case in vector["chunk_proofs"].as_array().unwrap() {
            let index = number(case, "chunk");
            let proof = hashes(case, "proof");
            let ours: Vec<Hash> = layout
                .proof(index)
                .map(|node| node.map_or_else(|padding| padding, |at| nodes[at as usize]))
                .collect();
            assert_eq!(ours, proof, "{length} {index}");
            assert_eq!(proof.len(), proof_length(length));
            let chunk = data.chunks(CHUNK_BYTES).nth(index as usize).unwrap();
            assert!(verify_chunk(root, length, index, &proof, chunk), "{length} {index}");
        }
        for case in vector["leaf_proofs"].as_array().unwrap() {
            let range = LeafRange { level: 0, index: number(case, "leaf") };
            let leaf = data.chunks(LEAF_BYTES).nth(range.index as usize).unwrap();
            let proof = hashes(case, "proof");
            assert!(verify_range(root, length, range, &proof, leaf).is_some(), "{length}");
        }
    }
}
