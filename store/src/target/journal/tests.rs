//! Journals that end cleanly, end anywhere, and are damaged.

use super::*;

const ID: FileId = FileId([7; 32]);

fn file(path: &Path) -> File {
    File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

fn chunks(bits: &Bits) -> Vec<u64> {
    bits.runs().flat_map(|(first, count)| first..first + count).collect()
}

#[test]
fn the_checksum_is_the_common_one() {
    assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
}

#[test]
fn marks_survive_and_a_sync_covers_what_was_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let journal = Journal::create(file(&path), ID).unwrap();
    for index in [3, 4, 5, 9] {
        journal.written(Space::Root, index).unwrap();
    }
    let mark = journal.mark();
    journal.written(Space::Root, 10).unwrap();
    assert!(!journal.is_synced());
    journal.synced(mark).unwrap();
    assert!(!journal.is_synced());
    journal.written(Space::Contents, 0).unwrap();
    journal.written(Space::Root, 6).unwrap();
    drop(journal);

    let (journal, replay) = Journal::open(file(&path), ID).unwrap().unwrap();
    let (written, synced) = replay.sets(Space::Root, 20);
    assert_eq!(chunks(&written), [3, 4, 5, 6, 9, 10]);
    assert_eq!(chunks(&synced), [3, 4, 5, 9]);
    let (written, synced) = replay.sets(Space::Contents, 20);
    assert_eq!((chunks(&written), chunks(&synced)), (vec![0], vec![]));
    journal.synced(journal.mark()).unwrap();
    assert!(journal.is_synced());
    drop(journal);
    let (journal, replay) = Journal::open(file(&path), ID).unwrap().unwrap();
    assert!(journal.is_synced());
    assert_eq!(chunks(&replay.sets(Space::Root, 20).1), [3, 4, 5, 6, 9, 10]);
    assert!(Journal::open(file(&path), FileId([8; 32])).unwrap().is_none());
}

#[test]
fn a_journal_torn_at_any_byte_keeps_what_is_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let journal = Journal::create(file(&path), ID).unwrap();
    for index in 0..5 {
        journal.written(Space::Root, index * 2).unwrap();
    }
    drop(journal);
    let whole = std::fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let opened = Journal::open(file(&path), ID).unwrap();
        assert_eq!(opened.is_some(), cut >= HEADER_BYTES);
        let Some((journal, replay)) = opened else { continue };
        let kept = ((cut - HEADER_BYTES) / RECORD_BYTES) as u64;
        assert_eq!(replay.sets(Space::Root, 99).0.ones(), kept);
        // It goes on where the good part ends.
        journal.written(Space::Root, 50).unwrap();
        drop(journal);
        let (_, replay) = Journal::open(file(&path), ID).unwrap().unwrap();
        assert!(replay.sets(Space::Root, 99).0.get(50));
    }
}

#[test]
fn a_flipped_bit_ends_the_journal_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let journal = Journal::create(file(&path), ID).unwrap();
    for index in 0..3 {
        journal.written(Space::Root, index * 2).unwrap();
    }
    drop(journal);
    let whole = std::fs::read(&path).unwrap();
    for byte in 0..whole.len() {
        let mut bad = whole.clone();
        bad[byte] ^= 0x10;
        std::fs::write(&path, &bad).unwrap();
        match Journal::open(file(&path), ID).unwrap() {
            None => assert!(byte < HEADER_BYTES),
            Some((_, replay)) => {
                let kept = ((byte - HEADER_BYTES) / RECORD_BYTES) as u64;
                assert_eq!(replay.sets(Space::Root, 99).0.ones(), kept, "byte {byte}");
            }
        }
    }
    // A record at another place does not count: the checksum covers the place.
    let mut moved = whole.clone();
    moved.copy_within(HEADER_BYTES..HEADER_BYTES + RECORD_BYTES, HEADER_BYTES + RECORD_BYTES);
    std::fs::write(&path, &moved).unwrap();
    let (_, replay) = Journal::open(file(&path), ID).unwrap().unwrap();
    assert_eq!(replay.sets(Space::Root, 99).0.ones(), 1);
}

#[test]
fn a_mark_of_what_comes_behind_it_ends_the_journal_there() {
    for (mark, is_one) in [(0, true), (2, true), (3, false), (u64::MAX, false)] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let journal = Journal::create(file(&path), ID).unwrap();
        for index in [3, 4] {
            journal.written(Space::Root, index).unwrap();
        }
        let mut inner = lock(&journal.inner);
        inner.append(SYNCED, 0, (mark >> 32) as u32, mark as u32).unwrap();
        drop(inner);
        journal.written(Space::Root, 5).unwrap();
        drop(journal);
        let (journal, replay) = Journal::open(file(&path), ID).unwrap().unwrap();
        assert_eq!(journal.mark(), if is_one { 4 } else { 2 }, "{mark}");
        let (written, synced) = replay.sets(Space::Root, 20);
        assert_eq!(chunks(&written).len(), if is_one { 3 } else { 2 });
        assert_eq!(chunks(&synced).len(), if mark == 2 { 2 } else { 0 });
    }
}

#[test]
fn a_rewritten_journal_is_short_and_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let journal = Journal::create(file(&path), ID).unwrap();
    let (mut have, mut other) = (Bits::new(5_000), Bits::new(100));
    for index in 0..5_000 {
        if index != 2_500 {
            journal.written(Space::Contents, index).unwrap();
            have.set(index);
        }
    }
    other.set(1);
    let mut written = other.clone();
    written.set(2);
    let temporary = dir.path().join("journal.new");
    journal
        .rewrite(&temporary, &path, ID, [(written, other), (have.clone(), have.clone())])
        .unwrap();
    journal.written(Space::Root, 70).unwrap();
    drop(journal);
    assert!(std::fs::metadata(&path).unwrap().len() < 200);
    let (_, replay) = Journal::open(file(&path), ID).unwrap().unwrap();
    let (written, synced) = replay.sets(Space::Contents, 5_000);
    assert_eq!(chunks(&written), chunks(&have));
    assert_eq!(chunks(&synced), chunks(&have));
    let (written, synced) = replay.sets(Space::Root, 100);
    assert_eq!((chunks(&written), chunks(&synced)), (vec![1, 2, 70], vec![1]));
}
