//! Proofs that may lie: whatever passes is the bytes that the root stands for.

use towpath_core::id::Hash;
use towpath_core::limits::{CHUNK_BYTES, LEAF_BYTES, MAX_FILE_BYTES, MAX_PROOF_HASHES};
use towpath_core::merkle::{
    LeafRange, TreeBuilder, TreeLayout, check_chunk, chunk_count, chunk_hash, chunk_length,
    proof_length, range_proof, verify_chunk, verify_range,
};

use super::feed::Feed;

/// A small file, a range of it, and lies about both.
pub fn merkle(data: &[u8]) {
    let mut feed = Feed::new(data);
    any_length(feed.u64(), feed.u64());
    let length = file_length(&mut feed);
    let file = content(length, feed.u8());
    let tree = Tree::new(&file);
    let chunks = chunk_count(length);
    if chunks == 0 {
        assert!(!verify_chunk(tree.root, 0, feed.u64(), &[], feed.rest()));
        return;
    }
    let index = u64::from(feed.u8()) % chunks;
    let chunk = chunk_of(&file, index);
    let proof = tree.proof(index);
    assert_eq!(proof.len(), proof_length(length));
    assert!(verify_chunk(tree.root, length, index, &proof, chunk), "the truth passes");

    let level = u32::from(feed.u8()) % 6;
    let leaf = u64::from(feed.u16()) % 64;
    let range = LeafRange { level, index: leaf };
    if let Some(bytes) = range.bytes(length) {
        let (start, end) = (bytes.start as usize, bytes.end as usize);
        let of = (bytes.start / CHUNK_BYTES as u64).min(chunks - 1);
        let part = range_proof(length, range, chunk_of(&file, of), &tree.proof(of));
        let part = part.expect("the file has this range");
        assert!(verify_range(tree.root, length, range, &part, &file[start..end]).is_some());
        lie(&mut feed.clone(), &tree, &file, range, part, file[start..end].to_vec());
    }
    let range = LeafRange::chunk(length, index);
    lie(&mut feed, &tree, &file, range, proof, chunk.to_vec());
}

/// Changes whatever the feed says; if it still passes, it is true.
fn lie(
    feed: &mut Feed<'_>,
    tree: &Tree,
    file: &[u8],
    mut range: LeafRange,
    mut proof: Vec<Hash>,
    mut bytes: Vec<u8>,
) {
    let mut length = file.len() as u64;
    while !feed.is_empty() {
        match feed.u8() % 8 {
            0 => length = length.wrapping_add(u64::from(feed.u16())),
            1 => range.index ^= u64::from(feed.u8()),
            2 => range.level = u32::from(feed.u8()) % 7,
            3 => proof.truncate(usize::from(feed.u8()) % (MAX_PROOF_HASHES + 1)),
            4 => proof.push(Hash(feed.array())),
            5 if !proof.is_empty() => {
                let at = usize::from(feed.u8()) % proof.len();
                proof[at].0[usize::from(feed.u8() % 32)] ^= feed.u8();
            }
            6 => bytes.truncate(usize::from(feed.u16())),
            _ if !bytes.is_empty() => {
                let at = usize::from(feed.u16()) % bytes.len();
                bytes[at] ^= feed.u8();
            }
            _ => {}
        }
    }
    if verify_range(tree.root, length, range, &proof, &bytes).is_some() {
        // A length is not proven by a root alone, but the bytes at their place are.
        let size = (LEAF_BYTES as u64) << range.level;
        let start = (range.index * size) as usize;
        assert_eq!(file.get(start..start + bytes.len()), Some(&bytes[..]), "a lie passed");
    }
    let chunk = check_chunk(tree.root, length, range.index, &proof, &bytes);
    if chunk.is_some() && length == file.len() as u64 {
        assert_eq!(chunk_of(file, range.index), bytes, "a lie passed");
    }
}

/// The shape of a file of any length, without its bytes.
fn any_length(length: u64, index: u64) {
    let length = length % (MAX_FILE_BYTES + 1);
    let layout = TreeLayout::new(length);
    assert!(layout.nodes() < 2 * layout.chunks + 64);
    let chunks = layout.chunks.max(1);
    let index = index % chunks;
    let known: Vec<u64> = layout.proof(index).filter_map(Result::ok).collect();
    assert!(known.len() <= proof_length(length) && proof_length(length) <= MAX_PROOF_HASHES);
    assert!(known.iter().all(|position| *position < layout.nodes()));
    let proof = vec![Hash([0; 32]); proof_length(length)];
    assert!(layout.learned(index, Hash([0; 32]), &proof).all(|(at, _)| at < layout.nodes()));
}

fn file_length(feed: &mut Feed<'_>) -> u64 {
    let unit = feed.pick(&[1, 1, LEAF_BYTES as u64, CHUNK_BYTES as u64]);
    let near = i64::from(feed.u8() % 5) - 2;
    (unit * u64::from(feed.u8() % 20)).saturating_add_signed(near).min(3 * CHUNK_BYTES as u64)
}

/// Bytes that repeat, so that parts of the tree are alike.
fn content(length: u64, kind: u8) -> Vec<u8> {
    let period = [1, 7, LEAF_BYTES as u64, u64::MAX][usize::from(kind % 4)];
    (0..length).map(|at| (at % period / 3) as u8 ^ kind).collect()
}

fn chunk_of(file: &[u8], index: u64) -> &[u8] {
    let start = index as usize * CHUNK_BYTES;
    &file[start..start + chunk_length(file.len() as u64, index)]
}

struct Tree {
    layout: TreeLayout,
    nodes: Vec<Hash>,
    root: Hash,
}

impl Tree {
    fn new(file: &[u8]) -> Self {
        let length = file.len() as u64;
        let layout = TreeLayout::new(length);
        let mut builder = TreeBuilder::new(length);
        let mut nodes = vec![Hash([0; 32]); layout.nodes() as usize];
        for chunk in file.chunks(CHUNK_BYTES) {
            for (position, hash) in builder.push(chunk_hash(length, chunk)) {
                nodes[position as usize] = hash;
            }
        }
        Self { layout, nodes, root: builder.finish() }
    }

    fn proof(&self, index: u64) -> Vec<Hash> {
        let siblings = self.layout.proof(index);
        siblings.map(|at| at.map_or_else(|padding| padding, |at| self.nodes[at as usize])).collect()
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let head = [[0, 0, 1, 0, 0, 0, 0, 3], [0, 0, 0, 0, 0, 0, 0, 9]].concat();
    let story = |file: &[u8]| [&head[..], file].concat();
    vec![
        story(&[3, 3, 2, 3, 1, 0, 0, 1, 0, 0, 5, 1, 0, 8]),
        story(&[2, 2, 7, 1, 0, 2, 0, 1, 6, 0, 9]),
        story(&[0, 2, 0, 0]),
        story(&[3, 2, 3, 0, 2, 4, 0, 0, 1, 1, 4, 7, 7, 7]),
    ]
}
