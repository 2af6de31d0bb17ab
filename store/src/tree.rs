//! Upper Merkle nodes on disk: what proofs are made of, 32 bytes each, by the positions of
//! `TreeLayout`.
//!
//! The nodes of all files of a share stand in one file, in the order of the manifest; a file of one
//! chunk has none.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};

use towpath_core::id::Hash;
use towpath_core::merkle::TreeLayout;

/// Bytes of a node.
pub(crate) const NODE_BYTES: u64 = 32;
/// Bytes of neighbouring nodes that are written at once.
const RUN_BYTES: usize = 64 * 1024;

/// A part of a file that is read by offset.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) file: Arc<File>,
    pub(crate) start: u64,
    pub(crate) length: u64,
}

impl Section {
    pub(crate) fn whole(file: Arc<File>, length: u64) -> Self {
        Self { file, start: 0, length }
    }

    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(buffer, self.start + offset)
    }
}

/// Reads the proof of chunk `index` into `out` (32 bytes for each hash), for a file whose nodes
/// begin at node `first` of `tree`.
pub(crate) fn read_proof(
    tree: &Section,
    first: u64,
    layout: TreeLayout,
    index: u64,
    out: &mut [u8],
) -> io::Result<()> {
    for (sibling, place) in layout.proof(index).zip(out.as_chunks_mut::<32>().0) {
        match sibling {
            Ok(position) => tree.read_exact_at(place, (first + position) * NODE_BYTES)?,
            Err(padding) => *place = padding.0,
        }
    }
    Ok(())
}

/// Reads proofs one after another. Chunks are mostly asked for in order, and then all but the
/// lowest siblings are those of the chunk before: two nodes a chunk are read instead of one a
/// level.
#[derive(Debug, Default)]
pub(crate) struct ProofReader {
    last: Mutex<Proof>,
}

#[derive(Debug, Default)]
struct Proof {
    first: u64,
    index: u64,
    bytes: Vec<u8>,
}

impl ProofReader {
    /// As [`read_proof`], always for the same tree.
    pub(crate) fn read(
        &self,
        tree: &Section,
        first: u64,
        layout: TreeLayout,
        index: u64,
        out: &mut [u8],
    ) -> io::Result<()> {
        // Somebody else reads at this moment: waiting would cost more than reading.
        let Ok(mut last) = self.last.try_lock() else {
            return read_proof(tree, first, layout, index, out);
        };
        let known = if last.first == first { last.bytes.as_chunks::<32>().0 } else { &[] };
        let places = out.as_chunks_mut::<32>().0;
        for (level, (sibling, place)) in layout.proof(index).zip(places).enumerate() {
            match (sibling, known.get(level)) {
                (_, Some(same)) if index >> level == last.index >> level => *place = *same,
                (Ok(position), _) => tree.read_exact_at(place, (first + position) * NODE_BYTES)?,
                (Err(padding), _) => *place = padding.0,
            }
        }
        let last = &mut *last;
        (last.first, last.index) = (first, index);
        last.bytes.clear();
        last.bytes.extend_from_slice(out);
        Ok(())
    }
}

/// Writes nodes that become known level by level, each level from left to right: neighbours at
/// once.
#[derive(Debug)]
pub(crate) struct NodeWriter {
    file: File,
    runs: Vec<Run>,
}

#[derive(Debug)]
struct Run {
    first: u64,
    bytes: Vec<u8>,
}

impl NodeWriter {
    pub(crate) fn new(file: File) -> Self {
        Self { file, runs: Vec::new() }
    }

    /// Takes node number `position`.
    pub(crate) fn put(&mut self, position: u64, hash: Hash) -> io::Result<()> {
        let next = |run: &Run| run.first + run.bytes.len() as u64 / NODE_BYTES;
        let at = self.runs.iter().position(|run| next(run) == position);
        let at = at.unwrap_or_else(|| {
            self.runs.push(Run { first: position, bytes: Vec::new() });
            self.runs.len() - 1
        });
        let run = &mut self.runs[at];
        run.bytes.extend_from_slice(&hash.0);
        if run.bytes.len() >= RUN_BYTES {
            self.file.write_all_at(&run.bytes, run.first * NODE_BYTES)?;
            run.first = next(run);
            run.bytes.clear();
        }
        Ok(())
    }

    /// Writes what waits; called after each file, so that there are never more runs than levels.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.runs.sort_unstable_by_key(|run| run.first);
        let mut runs = std::mem::take(&mut self.runs).into_iter().peekable();
        while let Some(mut run) = runs.next() {
            let end = |run: &Run| run.first + run.bytes.len() as u64 / NODE_BYTES;
            while let Some(next) = runs.next_if(|next| next.first == end(&run)) {
                run.bytes.extend_from_slice(&next.bytes);
            }
            self.file.write_all_at(&run.bytes, run.first * NODE_BYTES)?;
        }
        Ok(())
    }

    pub(crate) fn into_file(mut self) -> io::Result<File> {
        self.flush()?;
        Ok(self.file)
    }
}

#[cfg(test)]
mod tests {
    use towpath_core::limits::CHUNK_BYTES;
    use towpath_core::merkle::{TreeBuilder, proof_length};

    use super::*;

    #[test]
    fn proofs_are_read_as_the_builder_made_them() {
        for chunks in [1, 2, 3, 4, 5, 100, 5_000] {
            let length = chunks * CHUNK_BYTES as u64 - 1;
            let layout = TreeLayout::new(length);
            let mut builder = TreeBuilder::new(length);
            let mut writer = NodeWriter::new(tempfile::tempfile().unwrap());
            let mut nodes = vec![None; layout.nodes() as usize];
            let first = 7;
            for chunk in 0..chunks {
                let mut hash = [0; 32];
                hash[..8].copy_from_slice(&chunk.to_be_bytes());
                for (position, hash) in builder.push(Hash(hash)) {
                    nodes[position as usize] = Some(hash);
                    writer.put(first + position, hash).unwrap();
                }
            }
            let file = Arc::new(writer.into_file().unwrap());
            let reader = ProofReader::default();
            let tree = Section::whole(file, (first + layout.nodes()) * NODE_BYTES);
            for chunk in 0..chunks {
                let mut proof = vec![0; 32 * proof_length(length)];
                read_proof(&tree, first, layout, chunk, &mut proof).unwrap();
                let mut again = vec![0; proof.len()];
                reader.read(&tree, first, layout, chunk, &mut again).unwrap();
                assert_eq!(again, proof, "in order");
                let other = chunk * 7 % chunks;
                read_proof(&tree, first, layout, other, &mut proof).unwrap();
                reader.read(&tree, first, layout, other, &mut again).unwrap();
                assert_eq!(again, proof, "in any order");
                read_proof(&tree, first, layout, chunk, &mut proof).unwrap();
                for (sibling, read) in layout.proof(chunk).zip(proof.chunks(32)) {
                    let want = sibling.map_or_else(|hash| hash, |p| nodes[p as usize].unwrap());
                    assert_eq!(want.0, read);
                }
            }
        }
    }
}
