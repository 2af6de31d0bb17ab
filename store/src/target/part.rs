//! The chunks of one space of a download: where each goes, which are there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex};

use bytes::BytesMut;
use rustix::fs::FallocateFlags;
use towpath_core::id::{Hash, Space};
use towpath_core::limits::{CHUNK_BYTES, MAX_PROOF_HASHES};
use towpath_core::merkle::{TreeLayout, check_chunk, chunk_count, chunk_length, proof_length};
use towpath_core::node::ContentsShape;
use towpath_core::session::ChunkFrame;
use towpath_core::wire::{RequestId, Unavailable};

use super::journal::Journal;
use super::many::Many;
use crate::bits::Bits;
use crate::index::{FileEntry, Found};
use crate::lock;
use crate::source::read_frame;
use crate::tree::{NODE_BYTES, Section, read_proof};

/// One space of a download.
#[derive(Debug)]
pub(super) struct Part {
    space: Space,
    shape: ContentsShape,
    body: Body,
    tree: Arc<File>,
    fresh: bool,
    state: Mutex<State>,
    /// Held while a chunk is written to a file of several. The system takes one writer of a file at
    /// a time, and lets the others spin.
    writer: Mutex<()>,
    /// A chunk that was being written is not any more.
    settled: Condvar,
}

/// Where the bytes go.
#[derive(Debug)]
pub(super) enum Body {
    /// One file: what is shared is a file, or this is a manifest.
    One { file: Arc<File>, length_bytes: u64, root: Hash },
    /// The files of a manifest.
    Many(Many),
}

#[derive(Debug)]
struct State {
    have: Bits,
    /// Tree nodes that are on disk.
    nodes: Bits,
    /// Chunks that are being written now.
    writing: Vec<u64>,
    /// Threads that wait for one of them.
    waiters: usize,
}

/// Where one chunk is.
#[derive(Debug)]
struct Spot<'a> {
    length_bytes: u64,
    root: Hash,
    first_chunk: u64,
    first_node: u64,
    /// Number of the chunk in its file.
    number: u64,
    file: Where<'a>,
}

#[derive(Debug)]
enum Where<'a> {
    One(&'a Arc<File>),
    Entry(&'a Many, Found),
}

impl Spot<'_> {
    fn offset(&self) -> u64 {
        self.number * CHUNK_BYTES as u64
    }

    fn length(&self) -> usize {
        chunk_length(self.length_bytes, self.number)
    }

    fn layout(&self) -> TreeLayout {
        TreeLayout::new(self.length_bytes)
    }
}

/// The right to write a chunk, until it is committed or given up.
struct Claim<'a> {
    part: &'a Part,
    index: u64,
}

impl Part {
    pub(super) fn new(space: Space, body: Body, tree: Arc<File>, fresh: bool, have: Bits) -> Self {
        let (shape, nodes) = match &body {
            Body::One { length_bytes, .. } => {
                let chunks = chunk_count(*length_bytes);
                let nodes = TreeLayout::new(*length_bytes).nodes();
                (ContentsShape { chunks, bytes: *length_bytes }, nodes)
            }
            Body::Many(many) => {
                let sums = many.index.sums();
                (ContentsShape { chunks: sums.chunks, bytes: sums.bytes }, sums.nodes)
            }
        };
        let state = State { have, nodes: Bits::new(nodes), writing: Vec::new(), waiters: 0 };
        let state = Mutex::new(state);
        let (writer, settled) = (Mutex::default(), Condvar::new());
        Self { space, shape, body, tree, fresh, state, writer, settled }
    }

    pub(super) fn shape(&self) -> ContentsShape {
        self.shape
    }

    pub(super) fn many(&self) -> Option<&Many> {
        match &self.body {
            Body::One { .. } => None,
            Body::Many(many) => Some(many),
        }
    }

    pub(super) fn one(&self) -> Option<&Arc<File>> {
        match &self.body {
            Body::One { file, .. } => Some(file),
            Body::Many(_) => None,
        }
    }

    pub(super) fn files(&self) -> u64 {
        self.many().map_or(1, |many| many.index.sums().files)
    }

    pub(super) fn have(&self) -> Bits {
        lock(&self.state).have.clone()
    }

    pub(super) fn has_any(&self) -> bool {
        lock(&self.state).have.ones() > 0
    }

    /// Whether every chunk is there and nothing is being written.
    pub(super) fn is_complete(&self) -> bool {
        let state = lock(&self.state);
        state.have.is_full() && state.writing.is_empty()
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        if let Some(file) = self.one() {
            file.sync_data()?;
        }
        self.tree.sync_data()
    }

    fn spot(&self, index: u64) -> io::Result<Option<Spot<'_>>> {
        if index >= self.shape.chunks {
            return Ok(None);
        }
        Ok(match &self.body {
            Body::One { file, length_bytes, root } => Some(Spot {
                length_bytes: *length_bytes,
                root: *root,
                first_chunk: 0,
                first_node: 0,
                number: index,
                file: Where::One(file),
            }),
            Body::Many(many) => many.index.file_of(index)?.map(|found| Spot {
                length_bytes: found.length_bytes,
                root: found.root,
                first_chunk: found.first_chunk,
                first_node: found.first_node,
                number: index - found.first_chunk,
                file: Where::Entry(many, found),
            }),
        })
    }

    /// Verifies a chunk and writes it, its nodes, and its mark in the journal; false if it is not
    /// the chunk that it should be.
    pub(super) fn store(
        &self,
        index: u64,
        proof: &[Hash],
        data: &[u8],
        journal: &Journal,
    ) -> io::Result<bool> {
        let Some(spot) = self.spot(index)? else { return Ok(false) };
        // spec C9, M17b and P15: only what is proven is written, and later served
        let Some(hash) = check_chunk(spot.root, spot.length_bytes, spot.number, proof, data) else {
            return Ok(false);
        };
        let Some(claim) = self.claim(index) else { return Ok(true) };
        match &spot.file {
            Where::One(file) => self.write(file, data, spot.offset())?,
            Where::Entry(many, found) if found.chunks() == 1 => many.write_whole(found, data)?,
            Where::Entry(many, found) => {
                let file = many.open_for_writing(found, self.has_none_of(found))?;
                self.write(&file, data, spot.offset())?;
            }
        }
        let learned = self.write_nodes(&spot, hash, proof)?;
        let file_is_whole = claim.commit(&spot, &learned);
        if let Where::Entry(many, found) = &spot.file
            && file_is_whole
            && found.chunks() > 1
        {
            // Before the journal has the last chunk: a file that is whole there has its time and
            // mode.
            many.seal(&*many.open_for_writing(found, false)?, found)?;
        }
        journal.written(self.space, index)?;
        Ok(true)
    }

    /// Waits while another thread writes the same chunk; `None` if it is there.
    fn claim(&self, index: u64) -> Option<Claim<'_>> {
        let mut state = lock(&self.state);
        while state.writing.contains(&index) {
            state.waiters += 1;
            state = self.settled.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
            state.waiters -= 1;
        }
        if state.have.get(index) {
            return None;
        }
        state.writing.push(index);
        Some(Claim { part: self, index })
    }

    fn has_none_of(&self, entry: &FileEntry) -> bool {
        let state = lock(&self.state);
        (entry.first_chunk..entry.first_chunk + entry.chunks()).all(|chunk| !state.have.get(chunk))
    }

    fn write(&self, file: &File, data: &[u8], offset: u64) -> io::Result<()> {
        if data.len() == CHUNK_BYTES && is_zero(data) {
            // Sparse files stay sparse.
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            if self.fresh || rustix::fs::fallocate(file, hole, offset, data.len() as u64).is_ok() {
                return Ok(());
            }
        }
        let _writer = lock(&self.writer);
        file.write_all_at(data, offset)
    }

    /// Writes the nodes that this chunk teaches and that are not on disk, neighbours at once.
    fn write_nodes(&self, spot: &Spot<'_>, hash: Hash, proof: &[Hash]) -> io::Result<Nodes> {
        let mut nodes = Nodes::default();
        {
            let state = lock(&self.state);
            for (position, hash) in spot.layout().learned(spot.number, hash, proof) {
                let position = spot.first_node + position;
                if !state.nodes.get(position) {
                    nodes.push(position, hash);
                }
            }
        }
        nodes.write(&self.tree)?;
        Ok(nodes)
    }

    /// Remembers which nodes are on disk because of the chunks that are.
    pub(super) fn recall_nodes(&self) -> io::Result<()> {
        let have = self.have();
        for (first, count) in have.runs() {
            for index in first..first + count {
                let Some(spot) = self.spot(index)? else { continue };
                let layout = spot.layout();
                let own = layout.position(0, spot.number);
                let known = own.into_iter().chain(layout.proof(spot.number).filter_map(Result::ok));
                let mut state = lock(&self.state);
                for position in known {
                    state.nodes.set(spot.first_node + position);
                }
            }
        }
        Ok(())
    }

    /// Reads one chunk that is had into a frame.
    pub(super) fn read(
        &self,
        request: RequestId,
        index: u64,
        buffer: BytesMut,
    ) -> Result<ChunkFrame, Unavailable> {
        if !lock(&self.state).have.get(index) {
            return Err(Unavailable::NotHad);
        }
        let fill = || -> io::Result<Option<ChunkFrame>> {
            let Some(spot) = self.spot(index)? else { return Ok(None) };
            let hashes = proof_length(spot.length_bytes);
            let mut frame = ChunkFrame::new(request, spot.length(), hashes, buffer);
            let tree = self.tree_of(&spot);
            read_proof(&tree, spot.first_node, spot.layout(), spot.number, frame.proof_mut())?;
            let file = self.open_for_reading(&spot)?;
            read_frame(&file, spot.offset(), &mut frame)?;
            Ok(Some(frame))
        };
        fill().map_err(|_| Unavailable::ReadFailed)?.ok_or(Unavailable::NotHad)
    }

    fn tree_of(&self, spot: &Spot<'_>) -> Section {
        let length = (spot.first_node + spot.layout().nodes()) * NODE_BYTES;
        Section::whole(self.tree.clone(), length)
    }

    fn open_for_reading(&self, spot: &Spot<'_>) -> io::Result<Arc<File>> {
        match &spot.file {
            Where::One(file) => Ok((*file).clone()),
            Where::Entry(many, found) => many.open_for_reading(found),
        }
    }

    /// Hashes a chunk again that is said to be on disk, into `buffer`; nothing there is trusted but
    /// the root. How many bytes, if it is good.
    pub(super) fn check(&self, index: u64, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
        let Some(spot) = self.spot(index)? else { return Ok(None) };
        let mut hashes = vec![0; 32 * proof_length(spot.length_bytes)];
        let mut read = || -> io::Result<()> {
            let tree = self.tree_of(&spot);
            read_proof(&tree, spot.first_node, spot.layout(), spot.number, &mut hashes)?;
            let file = self.open_for_reading(&spot)?;
            if file.metadata()?.len() != spot.length_bytes {
                return Err(io::ErrorKind::InvalidData.into());
            }
            buffer.resize(spot.length(), 0);
            file.read_exact_at(buffer, spot.offset())
        };
        if read().is_err() {
            return Ok(None);
        }
        let proof: Vec<Hash> = hashes.as_chunks().0.iter().copied().map(Hash).collect();
        let good = check_chunk(spot.root, spot.length_bytes, spot.number, &proof, buffer);
        Ok(good.map(|_| buffer.len()))
    }

    /// Takes a chunk back that turned out not to be on disk, so that its file can be written again.
    pub(super) fn forget(&self, index: u64) -> io::Result<()> {
        lock(&self.state).have.clear(index);
        if let Some(Spot { file: Where::Entry(many, found), .. }) = self.spot(index)? {
            many.reopen(&found)?;
        }
        Ok(())
    }

    /// Gives the file of this chunk its time and mode again, if it is whole: what came before a
    /// crash may have been lost.
    pub(super) fn seal_again(&self, index: u64) -> io::Result<()> {
        if let Some(Spot { file: Where::Entry(many, found), first_chunk, .. }) = self.spot(index)? {
            let whole = lock(&self.state).have.has_all(first_chunk..first_chunk + found.chunks());
            if whole {
                many.seal(&*many.open_for_reading(&found)?, &found)?;
            }
        }
        Ok(())
    }
}

impl Claim<'_> {
    /// The chunk and these nodes are on disk. Whether its file is whole now.
    fn commit(self, spot: &Spot<'_>, nodes: &Nodes) -> bool {
        let mut state = lock(&self.part.state);
        state.have.set(self.index);
        for (position, _) in nodes.iter() {
            state.nodes.set(position);
        }
        state.have.has_all(spot.first_chunk..spot.first_chunk + chunk_count(spot.length_bytes))
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.part.state);
        state.writing.retain(|index| *index != self.index);
        // Waking nobody would cost a system call for each chunk.
        if state.waiters > 0 {
            self.part.settled.notify_all();
        }
    }
}

/// The few nodes that one chunk teaches.
#[derive(Debug)]
struct Nodes {
    list: [(u64, Hash); MAX_PROOF_HASHES + 1],
    len: usize,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { list: [(0, Hash([0; 32])); MAX_PROOF_HASHES + 1], len: 0 }
    }
}

impl Nodes {
    fn push(&mut self, position: u64, hash: Hash) {
        self.list[self.len] = (position, hash);
        self.len += 1;
    }

    fn iter(&self) -> impl Iterator<Item = (u64, Hash)> {
        self.list[..self.len].iter().copied()
    }

    fn write(&mut self, tree: &File) -> io::Result<()> {
        let nodes = &mut self.list[..self.len];
        nodes.sort_unstable();
        for run in nodes.chunk_by(|a, b| a.0 + 1 == b.0) {
            let mut bytes = [0; 32 * (MAX_PROOF_HASHES + 1)];
            for ((_, hash), place) in run.iter().zip(bytes.as_chunks_mut().0) {
                *place = hash.0;
            }
            tree.write_all_at(&bytes[..32 * run.len()], run[0].0 * NODE_BYTES)?;
        }
        Ok(())
    }
}

fn is_zero(data: &[u8]) -> bool {
    data.as_chunks::<64>().0.iter().all(|piece| piece.iter().fold(0, |all, byte| all | byte) == 0)
}
