//! What is shared in the world: a file, or a folder with its manifest, with Merkle trees, in
//! memory.

use bytes::BytesMut;
use towpath_core::codec::DecodeError;
use towpath_core::id::{ChunkRef, Descriptor, Hash, Kind, Secret, Space};
use towpath_core::limits::CHUNK_BYTES;
use towpath_core::manifest::{Decoder, Encoder, Entry, What};
use towpath_core::merkle::{
    TreeBuilder, TreeLayout, chunk_count, chunk_hash, chunk_length, proof_length, verify_chunk,
};
use towpath_core::node::ContentsShape;
use towpath_core::rng::Rng;
use towpath_core::session::ChunkFrame;
use towpath_core::wire::RequestId;

/// One share and everything that is needed to serve it.
#[derive(Debug)]
pub struct Content {
    /// What it is.
    pub descriptor: Descriptor,
    /// The secret of the share; `None` if it is public.
    pub secret: Option<Secret>,
    root: Blob,
    /// The files of a folder, each with the number of its first chunk.
    files: Vec<(u64, Blob)>,
}

/// The bytes of one file, with its tree.
#[derive(Debug)]
struct Blob {
    /// The bytes; if they are fewer than `length`, they repeat, and are whole chunks.
    bytes: Vec<u8>,
    length: u64,
    root: Hash,
    nodes: Vec<Hash>,
}

impl Content {
    /// A file of `length` bytes drawn from `rng`.
    #[must_use]
    pub fn file(rng: &mut Rng, length: usize) -> Self {
        Self::of_blob(rng, |rng| Blob::new(noise(rng, length), length as u64), Kind::File)
    }

    /// A file as long as one likes: all its chunks are the same, so that it fits into memory.
    #[must_use]
    pub fn monotonous(rng: &mut Rng, length_bytes: u64) -> Self {
        Self::of_blob(rng, |rng| Blob::new(noise(rng, CHUNK_BYTES), length_bytes), Kind::File)
    }

    /// A folder with files of these lengths, a folder in it, and a link.
    #[must_use]
    pub fn folder(rng: &mut Rng, lengths: &[usize]) -> Self {
        let mut encoder = Encoder::new();
        let mut manifest = encoder.header();
        let mut put = |path: String, what: What| {
            let entry = Entry { path: path.into_bytes(), mode: 0o755, mtime: (1, 2), what };
            encoder.entry(&entry, &mut manifest).expect("the world's folders obey the rules");
        };
        put(String::new(), What::Folder);
        let mut files = Vec::new();
        let mut first_chunk = 0;
        for (number, length) in lengths.iter().enumerate() {
            if number == lengths.len() / 2 {
                put("e".into(), What::Folder);
                put("e/link".into(), What::Link { target: b"../a000".to_vec() });
            }
            let blob = Blob::new(noise(rng, *length), *length as u64);
            let letter = if number < lengths.len() / 2 { 'a' } else { 'f' };
            let what = What::File { length_bytes: blob.length, root: blob.root };
            put(format!("{letter}{number:03}"), what);
            let chunks = chunk_count(blob.length);
            files.push((first_chunk, blob));
            first_chunk += chunks;
        }
        let length = manifest.len() as u64;
        let mut content = Self::of_blob(rng, |_| Blob::new(manifest, length), Kind::Manifest);
        content.files = files;
        content
    }

    /// A folder whose manifest leads out of it: by a folder `..`, or by an entry behind a link.
    #[must_use]
    pub fn escaping(rng: &mut Rng, by_link: bool) -> Self {
        let file = Blob::new(noise(rng, 1_000), 1_000);
        let link: (u8, &str, &[u8]) = (2, "a", b"b");
        let entries: [(u8, &str, &[u8]); 4] = if by_link {
            [(0, "", b""), link, (1, "a/x", b""), (0, "b", b"")]
        } else {
            [(0, "", b""), (0, "..", b""), (1, "../x", b""), (0, "b", b"")]
        };
        let mut manifest = Encoder::new().header();
        for (kind, path, target) in entries {
            manifest.push(kind);
            // Mode 0o755, and the first nanosecond of 1970.
            manifest.extend_from_slice(&[0x01, 0xED]);
            manifest.extend_from_slice(&[0; 12]);
            manifest.extend_from_slice(&[0, path.len() as u8]);
            manifest.extend_from_slice(path.as_bytes());
            match kind {
                0 => {}
                1 => {
                    manifest.extend_from_slice(&file.length.to_be_bytes());
                    manifest.extend_from_slice(&file.root.0);
                }
                _ => {
                    manifest.extend_from_slice(&[0, target.len() as u8]);
                    manifest.extend_from_slice(target);
                }
            }
        }
        let length = manifest.len() as u64;
        let mut content = Self::of_blob(rng, |_| Blob::new(manifest, length), Kind::Manifest);
        content.files.push((0, file));
        content
    }

    /// The entries of a folder, as a store reads them.
    ///
    /// # Errors
    /// The rule that its manifest breaks.
    pub fn entries(&self) -> Result<Vec<Entry>, DecodeError> {
        let mut decoder = Decoder::new(self.root.length)?;
        decoder.push(&self.root.bytes);
        let mut entries = Vec::new();
        while let Some((_, _, entry)) = decoder.next_entry()? {
            entries.push(entry);
        }
        decoder.finish()?;
        Ok(entries)
    }

    fn of_blob(rng: &mut Rng, blob: impl FnOnce(&mut Rng) -> Blob, kind: Kind) -> Self {
        let root = blob(rng);
        let descriptor = Descriptor { kind, length_bytes: root.length, root: root.root };
        let mut secret = [0; 32];
        for part in secret.chunks_mut(8) {
            part.copy_from_slice(&rng.next_u64().to_be_bytes());
        }
        let secret = Some(Secret::new(secret));
        Self { descriptor, secret, root, files: Vec::new() }
    }

    /// Chunks and bytes of a space.
    #[must_use]
    pub fn shape(&self, space: Space) -> ContentsShape {
        let blobs: Vec<&Blob> = match space {
            Space::Root => vec![&self.root],
            Space::Contents => self.files.iter().map(|(_, blob)| blob).collect(),
        };
        ContentsShape {
            chunks: blobs.iter().map(|blob| chunk_count(blob.length)).sum(),
            bytes: blobs.iter().map(|blob| blob.length).sum(),
        }
    }

    /// The shape of its contents, if it is a folder.
    #[must_use]
    pub fn contents(&self) -> Option<ContentsShape> {
        (self.descriptor.kind == Kind::Manifest).then(|| self.shape(Space::Contents))
    }

    /// Bytes of both spaces.
    #[must_use]
    pub fn length_bytes(&self) -> u64 {
        self.shape(Space::Root).bytes + self.shape(Space::Contents).bytes
    }

    fn blob(&self, chunk: ChunkRef) -> Option<(&Blob, u64)> {
        let (first, blob) = match chunk.space {
            Space::Root => (0, &self.root),
            Space::Contents => {
                let behind = self.files.partition_point(|(first, _)| *first <= chunk.index);
                // Empty files have no chunks; the last one that begins here has this one.
                let (first, blob) = self.files.get(behind.checked_sub(1)?)?;
                (*first, blob)
            }
        };
        let index = chunk.index - first;
        (index < chunk_count(blob.length)).then_some((blob, index))
    }

    /// The bytes of a chunk.
    #[must_use]
    pub fn chunk(&self, chunk: ChunkRef) -> Option<&[u8]> {
        let (blob, index) = self.blob(chunk)?;
        Some(blob.chunk(index))
    }

    /// Whether the proof shows that these are its bytes.
    #[must_use]
    pub fn verify(&self, chunk: ChunkRef, proof: &[Hash], data: &[u8]) -> bool {
        let known = self.blob(chunk);
        known.is_some_and(|(blob, index)| verify_chunk(blob.root, blob.length, index, proof, data))
    }

    /// A frame with a chunk and its proof; `data` may differ from the truth.
    #[must_use]
    pub fn frame(&self, request: RequestId, chunk: ChunkRef, data: &[u8]) -> Option<ChunkFrame> {
        let (blob, index) = self.blob(chunk)?;
        let hashes = proof_length(blob.length);
        let mut frame = ChunkFrame::new(request, data.len(), hashes, BytesMut::new());
        let layout = TreeLayout::new(blob.length);
        for (slot, sibling) in frame.proof_mut().chunks_mut(32).zip(layout.proof(index)) {
            let hash = match sibling {
                Ok(position) => blob.nodes[usize::try_from(position).expect("small")],
                Err(padding) => padding,
            };
            slot.copy_from_slice(&hash.0);
        }
        let mut rest = data;
        for part in frame.body_mut() {
            let (now, later) = rest.split_at(part.len());
            part.copy_from_slice(now);
            rest = later;
        }
        Some(frame)
    }
}

impl Blob {
    fn new(bytes: Vec<u8>, length: u64) -> Self {
        let mut blob = Self { bytes, length, root: Hash([0; 32]), nodes: Vec::new() };
        let layout = TreeLayout::new(length);
        blob.nodes = vec![Hash([0; 32]); usize::try_from(layout.nodes()).expect("small")];
        let mut builder = TreeBuilder::new(length);
        let mut before: Option<(*const u8, usize, Hash)> = None;
        for index in 0..chunk_count(length) {
            let chunk = blob.chunk(index);
            let hash = match before {
                Some((start, bytes, hash)) if (start, bytes) == (chunk.as_ptr(), chunk.len()) => {
                    hash
                }
                _ => chunk_hash(length, chunk),
            };
            before = Some((chunk.as_ptr(), chunk.len(), hash));
            for (position, hash) in builder.push(hash) {
                blob.nodes[usize::try_from(position).expect("small")] = hash;
            }
        }
        blob.root = builder.finish();
        blob
    }

    fn chunk(&self, index: u64) -> &[u8] {
        let chunks = self.bytes.len().div_ceil(CHUNK_BYTES).max(1);
        let start = usize::try_from(index).expect("small") % chunks * CHUNK_BYTES;
        &self.bytes[start..start + chunk_length(self.length, index)]
    }
}

/// Bytes that do not repeat.
fn noise(rng: &mut Rng, length: usize) -> Vec<u8> {
    let mut state = rng.next_u64() | 1;
    let mut bytes = vec![0; length];
    for part in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        part.copy_from_slice(&state.to_le_bytes()[..part.len()]);
    }
    bytes
}
