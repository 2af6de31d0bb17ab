//! What an earlier run left, or somebody put there: journal, data, tree nodes. A chunk that was not
//! synced counts only if it is true.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use towpath_core::id::{ChunkRef, Descriptor, Hash, Kind, Space, to_hex};
use towpath_core::limits::CHUNK_BYTES;
use towpath_core::manifest::{Encoder, Entry, What};
use towpath_core::merkle::{chunk_count, verify_chunk};
use towpath_core::node::StoreResult;
use towpath_core::wire::RequestId;
use towpath_store::{Opened, Target};

use super::{Blob, Scratch, buffer, content, has, parts};
use crate::targets::feed::Feed;

/// A file, and a folder of it and a small one.
struct Shares {
    large: Blob,
    small: Blob,
    manifest: Blob,
}

static SHARES: LazyLock<Shares> = LazyLock::new(|| {
    let (large, small) = (Blob::new(content(2 * CHUNK_BYTES + 9)), Blob::new(content(11)));
    let mut encoder = Encoder::new();
    let mut manifest = encoder.header();
    let file = |blob: &Blob| What::File { length_bytes: blob.bytes.len() as u64, root: blob.root };
    for (path, what) in [("d", What::Folder), ("d/small", file(&small)), ("e", file(&large))] {
        let entry = Entry { path: path.into(), mode: 0o755, mtime: (5, 6), what };
        encoder.entry(&entry, &mut manifest).expect("they obey the rules");
    }
    Shares { large, small, manifest: Blob::new(manifest) }
});

impl Shares {
    /// The blob of a chunk of the share, and the chunk's number in it.
    fn place(&self, kind: Kind, chunk: ChunkRef) -> (&Blob, u64) {
        match (kind, chunk.space, chunk.index) {
            (Kind::File, ..) => (&self.large, chunk.index),
            (Kind::Manifest, Space::Root, index) => (&self.manifest, index),
            (Kind::Manifest, Space::Contents, 0) => (&self.small, 0),
            (Kind::Manifest, Space::Contents, index) => (&self.large, index - 1),
        }
    }
}

/// Files in the hidden folder; then the download goes on.
pub fn target_resume(data: &[u8]) {
    let mut feed = Feed::new(data);
    let kind = feed.pick(&[Kind::File, Kind::Manifest]);
    let shares = &*SHARES;
    let descriptor = match kind {
        Kind::File => shares.large.descriptor(kind),
        Kind::Manifest => shares.manifest.descriptor(kind),
    };
    let scratch = Scratch::new();
    let out = scratch.at("out");
    let hidden = scratch.at(&format!(".out.{}.towpath", to_hex(&descriptor.id().0[..8])));
    std::fs::create_dir(&hidden).expect("it is new");
    // A mark says that what came before is safe on the disk: that is believed.
    let mut believed = false;
    while !feed.is_empty() {
        believed |= put(&mut feed, &hidden, descriptor, shares);
    }
    for round in 0..2 {
        let Ok(opened) = Target::open(&out, descriptor, false, &mut |_| {}) else { return };
        let Opened::Partial(target) = opened else { panic!("nothing stands there") };
        let spaces: &[Space] = match kind {
            Kind::File => &[Space::Root],
            Kind::Manifest => &[Space::Root, Space::Contents],
        };
        for space in spaces {
            let Ok(missing) = go_on(&target, kind, *space, believed) else { return };
            assert!(round == 0 || missing == 0, "what was written is there in the next run");
        }
        if round == 0 {
            continue;
        }
        if let Err(error) = target.finish() {
            assert!(believed, "{error}");
            return;
        }
    }
    if !believed {
        match kind {
            Kind::File => assert!(std::fs::read(&out).expect("it is there") == shares.large.bytes),
            Kind::Manifest => {
                let (small, large) = (out.join("d/small"), out.join("e"));
                assert!(std::fs::read(small).expect("it is there") == shares.small.bytes);
                assert!(std::fs::read(large).expect("it is there") == shares.large.bytes);
            }
        }
    }
}

/// Begins a space, looks at what it has, and adds what it lacks; how much that was.
fn go_on(target: &Target, kind: Kind, space: Space, believed: bool) -> Result<u64, ()> {
    let (shape, have) = target.begin(space, &mut |_| {}).map_err(drop)?;
    assert_eq!(have.len, shape.chunks);
    let mut missing = 0;
    for index in 0..shape.chunks {
        let chunk = ChunkRef { space, index };
        let (blob, number) = SHARES.place(kind, chunk);
        let (data, proof) = blob.chunk(number);
        if !has(&have, index) {
            missing += 1;
            assert!(target.read_chunk(RequestId(1), chunk, buffer()).is_err());
            assert_eq!(target.store_chunk(chunk, &proof, &data[1..]), StoreResult::False);
            match target.store_chunk(chunk, &proof, data) {
                StoreResult::Written => {}
                StoreResult::False => panic!("the truth is refused"),
                StoreResult::Failed(why) => {
                    assert!(believed, "{why}");
                    return Err(());
                }
            }
        }
        match target.read_chunk(RequestId(1), chunk, buffer()) {
            Ok(frame) if !believed => check(blob, number, &parts(frame)),
            Ok(_) => {}
            Err(why) => assert!(believed, "{why:?}"),
        }
    }
    Ok(missing)
}

fn check(blob: &Blob, number: u64, (proof, data): &(Vec<Hash>, Vec<u8>)) {
    let length = blob.bytes.len() as u64;
    assert!(number < chunk_count(length));
    assert!(verify_chunk(blob.root, length, number, proof, data), "it serves what is false");
}

/// Puts a file there; whether it says that something is safe.
fn put(feed: &mut Feed<'_>, hidden: &Path, descriptor: Descriptor, shares: &Shares) -> bool {
    let op = feed.u8();
    let path: PathBuf = hidden.join(
        [
            "journal",
            "journal.new",
            "data",
            "manifest",
            "tree",
            "contents.tree",
            "contents/e",
            "contents/d/small",
        ][usize::from(op & 7)],
    );
    let mut believed = false;
    let mut bytes = match (op >> 3 & 3, op & 7) {
        (0, _) => feed.bytes8().to_vec(),
        (_, 0 | 1) => journal(feed, descriptor, &mut believed),
        (_, 2 | 6) => shares.large.bytes.clone(),
        (_, 3) => shares.manifest.bytes.clone(),
        (_, 7) => shares.small.bytes.clone(),
        _ => shares.large.nodes.iter().flat_map(|node| node.0).collect(),
    };
    match op >> 5 {
        0..=4 => {}
        5 if !bytes.is_empty() => {
            let at = feed.u32() as usize % bytes.len();
            bytes[at] ^= feed.u8();
            // A journal that was changed says less.
        }
        6 => bytes.truncate(usize::from(feed.u16()) * 16),
        _ => bytes.resize(bytes.len() + usize::from(feed.u8()), 0x11),
    }
    if let Some(above) = path.parent() {
        let _ = std::fs::create_dir_all(above);
    }
    let _ = std::fs::write(path, bytes);
    believed
}

/// A journal whose checksums are right.
fn journal(feed: &mut Feed<'_>, descriptor: Descriptor, believed: &mut bool) -> Vec<u8> {
    let mut bytes = b"towpath journal1".to_vec();
    bytes.extend(descriptor.id().0);
    bytes.resize(60, 0);
    bytes.extend(crc32(&bytes).to_be_bytes());
    for at in 0..u64::from(feed.u8() % 8) {
        let mut record = vec![0; 12];
        record[0] = feed.u8() % 4;
        record[1] = feed.u8() % 3;
        let (first, count) = if feed.bool() {
            (feed.u32(), feed.u32())
        } else {
            (u32::from(feed.u8() % 4), u32::from(feed.u8() % 4))
        };
        *believed |= record[0] == 2;
        record[4..8].copy_from_slice(&first.to_be_bytes());
        record[8..12].copy_from_slice(&count.to_be_bytes());
        let sum = crc32(&[&at.to_be_bytes(), &record[..]].concat());
        bytes.extend(record);
        bytes.extend(sum.to_be_bytes());
    }
    bytes
}

/// CRC-32 (ISO-HDLC).
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

pub(in crate::targets) fn seeds() -> Vec<Vec<u8>> {
    let written = |space: u8, first: u8, count: u8| [8, 1, 1, space, 0, first, count];
    let mark = [1, 0, 1, 0, 0, 0, 3, 2, 0, 0, 0, 1];
    vec![
        [&[0][..], &written(0, 0, 3), &[0x0A, 0x0C]].concat(),
        [&[0][..], &written(0, 0, 3), &[0xAA, 0, 4, 0, 9, 1, 0x0C]].concat(),
        [&[0][..], &written(0, 1, 2), &[0xCA, 255, 255, 0x0C]].concat(),
        [&[0][..], &[8, 2], &mark[2..], &[0x0A, 0x0C]].concat(),
        [&[1][..], &[8, 2, 1, 0, 0, 0, 1, 1, 1, 0, 0, 4], &[0x0B, 0x0C, 0x0D, 0x0E, 0x0F]].concat(),
        [&[1][..], &[8, 2, 1, 0, 0, 0, 1, 1, 1, 0, 0, 4], &[0x0B, 0x0C, 0x0D, 0xAE, 0, 0, 0, 9, 1]]
            .concat(),
        vec![0, 8, 1, 1, 0, 1, 0, 0, 0, 0, 4, 0, 0, 0],
        vec![0, 0, 3, 1, 2, 3],
        vec![1],
    ]
}
