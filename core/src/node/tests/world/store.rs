//! The disks of the small world: files with their trees, chunks that are read from them and
//! written to them.

use super::*;

/// A file with its tree.
pub(in super::super) struct File {
    pub(in super::super) data: Vec<u8>,
    pub(in super::super) root: Hash,
    nodes: Vec<Hash>,
}

impl File {
    pub(in super::super) fn new(data: Vec<u8>) -> Self {
        let length = data.len() as u64;
        let mut builder = TreeBuilder::new(length);
        let mut nodes = vec![Hash([0; 32]); TreeLayout::new(length).nodes() as usize];
        for chunk in data.chunks(CHUNK_BYTES) {
            for (position, hash) in builder.push(merkle::chunk_hash(length, chunk)) {
                nodes[position as usize] = hash;
            }
        }
        Self { root: builder.finish(), data, nodes }
    }

    pub(super) fn proof(&self, index: u64) -> Vec<Hash> {
        let proof = TreeLayout::new(self.data.len() as u64).proof(index);
        proof
            .map(|node| node.map_or_else(|padding| padding, |at| self.nodes[at as usize]))
            .collect()
    }
}

/// Bytes that differ from chunk to chunk.
pub(in super::super) fn bytes(length: usize) -> Vec<u8> {
    (0..length as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

impl World {
    pub(super) fn read_chunk(
        &self,
        host: usize,
        request: RequestId,
        content: ContentKey,
        chunk: ChunkRef,
    ) -> Result<ChunkFrame, Unavailable> {
        let host = &self.hosts[host];
        if host.changed {
            return Err(Unavailable::SourceChanged);
        }
        let (root, data) = host.disk.get(&(content, chunk.space)).ok_or(Unavailable::NotHad)?;
        let proof = self.catalog[root].proof(chunk.index);
        let start = chunk.index as usize * CHUNK_BYTES;
        let length = merkle::chunk_length(data.len() as u64, chunk.index);
        let mut frame = ChunkFrame::new(request, length, proof.len(), BytesMut::new());
        for (to, hash) in frame.proof_mut().chunks_mut(32).zip(&proof) {
            to.copy_from_slice(&hash.0);
        }
        let mut rest = &data[start..start + length];
        for part in frame.body_mut() {
            part.copy_from_slice(&rest[..part.len()]);
            rest = &rest[part.len()..];
            if host.lies {
                part[0] ^= 1;
            }
        }
        Ok(frame)
    }

    pub(super) fn store_chunk(
        &mut self,
        host: usize,
        content: ContentKey,
        chunk: ChunkRef,
        proof: &[Hash],
        data: &[u8],
    ) -> StoreResult {
        if self.hosts[host].disk_full {
            return StoreResult::Failed("no space left".into());
        }
        let Some((root, disk)) = self.hosts[host].disk.get_mut(&(content, chunk.space)) else {
            return StoreResult::Failed("no store is open".into());
        };
        if !merkle::verify_chunk(*root, disk.len() as u64, chunk.index, proof, data) {
            return StoreResult::False;
        }
        let start = chunk.index as usize * CHUNK_BYTES;
        disk[start..start + data.len()].copy_from_slice(data);
        StoreResult::Written
    }
}

pub(in super::super) fn shape(length: u64) -> ContentsShape {
    ContentsShape { chunks: merkle::chunk_count(length), bytes: length }
}
