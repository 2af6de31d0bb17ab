//! Merkle trees of BEP 52, and proofs of chunks and of runs of leaves.
//!
//! A leaf is the SHA-256 of 16 KiB of the file (the last one as short as it is). Above the leaves a
//! perfect binary tree is built: leaf hashes that are missing up to the next power of two are 32
//! zero bytes, and every inner node is the SHA-256 of its two children. The root is BEP 52's
//! `pieces root`.
//!
//! ```text
//! level of leaves                    a file of 37 leaves (3 chunks, the last one short)
//!   6                                root
//!   5                    o                               o
//!   4 = chunks    chunk 0    chunk 1          chunk 2        (padding)
//!   0 = leaves    0 … 15     16 … 31          32 … 36, zeros      zeros
//! ```
//!
//! A **chunk** is the subtree over 16 leaves; of a file that has no more than 16 it is the whole
//! tree, whatever its height, and its proof is empty. A **range** ([`LeafRange`]) is the subtree
//! over any aligned run of 1, 2, 4, 8 or 16 leaves within a chunk; a chunk is one case of it. A
//! **proof** is the list of siblings from the range up to the root, the root left out. Its number
//! of hashes follows from the file's length alone, and a proof of another number is refused: so a
//! node of one level can never be passed off as a node of another.
//!
//! A root does not tell the length: zeros might stand for leaves that are missing, or that are yet
//! to come. Length and root belong together, and an id covers both ([`crate::id::Descriptor`]).
//!
//! The empty file has no leaf, no chunk, and by our convention (BEP 52 gives it none) a root of 32
//! zero bytes.
//!
//! The rules are C1 to C8 of the spec's chapter 1.
//!
//! [`TreeLayout`] says where the nodes above the chunks stand on disk, [`TreeBuilder`] makes them.

use alloc::vec::Vec;
use core::ops::Range;

use sha2::{Digest, Sha256};
use towpath_leafhash::hash_leaves;

use crate::id::Hash;
use crate::limits::{CHUNK_BYTES, LEAF_BYTES, LEAVES_PER_CHUNK, MAX_FILE_BYTES};

mod tree;

pub use tree::{TreeBuilder, TreeLayout};

/// An inner node's message: the hashes of its two children.
const NODE_BYTES: usize = 64;
/// Level of whole chunks above the leaves.
const CHUNK_LEVEL: u32 = LEAVES_PER_CHUNK.trailing_zeros();

/// The hash of a leaf that is not there (spec C2), and the root of the empty file (spec C4).
pub const ZERO_HASH: Hash = Hash([0; 32]);

/// How many leaves a file of this length has.
#[must_use]
pub const fn leaf_count(length_bytes: u64) -> u64 {
    length_bytes.div_ceil(LEAF_BYTES as u64)
}

/// How many chunks a file of this length has.
#[must_use]
pub const fn chunk_count(length_bytes: u64) -> u64 {
    length_bytes.div_ceil(CHUNK_BYTES as u64)
}

/// Levels between the leaves and the root.
// spec C2: filled up to a power of two, so that the length alone gives the height
const fn tree_height(length_bytes: u64) -> u32 {
    ceil_log2(leaf_count(length_bytes))
}

/// Levels between the leaves and the chunks: fewer than usual if the whole tree is smaller than a
/// chunk.
const fn chunk_level(length_bytes: u64) -> u32 {
    let height = tree_height(length_bytes);
    if height < CHUNK_LEVEL { height } else { CHUNK_LEVEL }
}

/// The smallest `n` with 2^n ≥ `count`; 0 for 0.
const fn ceil_log2(count: u64) -> u32 {
    if count <= 1 { 0 } else { u64::BITS - (count - 1).leading_zeros() }
}

/// The length of chunk `index` of a file of `length_bytes`.
///
/// # Panics
/// If there is no such chunk.
#[must_use]
pub fn chunk_length(length_bytes: u64, index: u64) -> usize {
    assert!(index < chunk_count(length_bytes), "chunk {index} of {length_bytes} bytes");
    let rest = length_bytes - index * CHUNK_BYTES as u64;
    if rest < CHUNK_BYTES as u64 { rest as usize } else { CHUNK_BYTES }
}

/// How many hashes the proof of a chunk has in a file of this length (the same for all its chunks).
#[must_use]
pub const fn proof_length(length_bytes: u64) -> usize {
    (tree_height(length_bytes) - chunk_level(length_bytes)) as usize
}

/// The hash of a chunk: the root of its subtree, padded to the shape that `length_bytes` asks for.
///
/// # Panics
/// If `data` is longer than a chunk of such a file.
#[must_use]
pub fn chunk_hash(length_bytes: u64, data: &[u8]) -> Hash {
    subtree_hash(chunk_level(length_bytes), data)
}

/// Whether `data` is chunk `index` of the file with this length and root.
#[must_use]
pub fn verify_chunk(
    root: Hash,
    length_bytes: u64,
    index: u64,
    proof: &[Hash],
    data: &[u8],
) -> bool {
    check_chunk(root, length_bytes, index, proof, data).is_some()
}

/// As [`verify_chunk`]; gives the chunk's hash, which a receiver keeps with what the proof taught
/// it ([`TreeLayout::learned`]), so that it can serve the chunk in its turn.
#[must_use]
pub fn check_chunk(
    root: Hash,
    length_bytes: u64,
    index: u64,
    proof: &[Hash],
    data: &[u8],
) -> Option<Hash> {
    verify_range(root, length_bytes, LeafRange::chunk(length_bytes, index), proof, data)
}

/// An aligned run of 2^`level` leaves: leaves `index << level` up to the next run, of which the
/// last ones may be missing at the end of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeafRange {
    /// 0: one leaf. At most 4 (a chunk), and at most the height of the file's tree.
    pub level: u32,
    /// Number of the run among those of its level.
    pub index: u64,
}

impl LeafRange {
    /// The range that is chunk `index` of a file of this length.
    #[must_use]
    pub const fn chunk(length_bytes: u64, index: u64) -> Self {
        Self { level: chunk_level(length_bytes), index }
    }

    /// Which bytes of a file of this length it covers; `None` if the file has no such range, or is
    /// longer than files are.
    #[must_use]
    pub const fn bytes(self, length_bytes: u64) -> Option<Range<u64>> {
        // Spec C5.
        if length_bytes > MAX_FILE_BYTES || self.level > chunk_level(length_bytes) {
            return None;
        }
        let size = (LEAF_BYTES as u64) << self.level;
        if self.index >= length_bytes.div_ceil(size) {
            return None;
        }
        let start = self.index * size;
        let rest = length_bytes - start;
        Some(start..start + if rest < size { rest } else { size })
    }

    /// How many hashes its proof has in a file of this length.
    #[must_use]
    pub const fn proof_length(self, length_bytes: u64) -> usize {
        tree_height(length_bytes).saturating_sub(self.level) as usize
    }
}

/// Checks that `data` is `range` of the file with this length and root; gives the range's hash.
/// `None` if the file has no such range, if the data or the proof has another length than it must
/// have, or if the hashes do not lead to the root.
#[must_use]
pub fn verify_range(
    root: Hash,
    length_bytes: u64,
    range: LeafRange,
    proof: &[Hash],
    data: &[u8],
) -> Option<Hash> {
    // Spec C6, C7: the shape follows from the length, and is checked before anything is hashed.
    let bytes = range.bytes(length_bytes)?;
    // spec C6b: before anything is hashed
    let lengths_fit = data.len() as u64 == bytes.end - bytes.start
        && proof.len() == range.proof_length(length_bytes);
    if !lengths_fit {
        return None;
    }
    let hash = subtree_hash(range.level, data);
    // Spec C8.
    let mut node = hash;
    let mut index = range.index;
    for sibling in proof {
        node = if index & 1 == 0 { parent(node, *sibling) } else { parent(*sibling, node) };
        index >>= 1;
    }
    (node == root || planted!(BadProof)).then_some(hash)
}

/// The proof of a range, made from the data and the proof of the chunk that it lies in; `None` if
/// the file has no such range, or if data or proof have not the length of that chunk's.
#[must_use]
pub fn range_proof(
    length_bytes: u64,
    range: LeafRange,
    chunk_data: &[u8],
    chunk_proof: &[Hash],
) -> Option<Vec<Hash>> {
    let above = chunk_level(length_bytes).checked_sub(range.level)?;
    range.bytes(length_bytes)?;
    let chunk = LeafRange::chunk(length_bytes, range.index >> above);
    let bytes = chunk.bytes(length_bytes)?;
    let lengths_fit = chunk_data.len() as u64 == bytes.end - bytes.start
        && chunk_proof.len() == proof_length(length_bytes);
    if !lengths_fit {
        return None;
    }
    let mut proof = Vec::with_capacity(range.proof_length(length_bytes));
    for level in range.level..chunk.level {
        let sibling = (range.index >> (level - range.level)) ^ 1;
        let in_chunk = (sibling & ((1 << (chunk.level - level)) - 1)) as usize;
        let size = LEAF_BYTES << level;
        let start = (in_chunk * size).min(chunk_data.len());
        let end = (start + size).min(chunk_data.len());
        proof.push(subtree_hash(level, &chunk_data[start..end]));
    }
    proof.extend_from_slice(chunk_proof);
    Some(proof)
}

/// The root of the subtree over 2^`level` leaves of which `data` fills the first ones.
fn subtree_hash(level: u32, data: &[u8]) -> Hash {
    assert!(level <= CHUNK_LEVEL && data.len() <= LEAF_BYTES << level, "subtree within a chunk");
    let mut nodes = [ZERO_HASH.0; LEAVES_PER_CHUNK];
    // Spec C1; what is missing stays zero, C2.
    hash_leaves(data, LEAF_BYTES, &mut nodes[..data.len().div_ceil(LEAF_BYTES)]);
    for half in (0..level).rev().map(|shift| 1 << shift) {
        // Spec C3, for all nodes of a level at once.
        let children = nodes;
        hash_leaves(children[..2 * half].as_flattened(), NODE_BYTES, &mut nodes[..half]);
    }
    Hash(nodes[0])
}

/// An inner node (spec C3).
fn parent(left: Hash, right: Hash) -> Hash {
    let mut both = [0; NODE_BYTES];
    both[..32].copy_from_slice(&left.0);
    both[32..].copy_from_slice(&right.0);
    Hash(Sha256::digest(both).into())
}

#[cfg(test)]
mod tests;
