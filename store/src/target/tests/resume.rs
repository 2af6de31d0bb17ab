//! Going on after any kind of end.

use std::os::unix::fs::FileExt;

use super::*;
use crate::Source;

fn partial(dir: &Path) -> PathBuf {
    let name = names(dir).into_iter().find(|name| name.ends_with(".towpath"));
    dir.join(name.expect("there is a hidden folder"))
}

/// A source of ten chunks, and a target that has the even ones.
fn half_done(dir: &Path) -> (Source, Target) {
    let from = dir.join("from");
    std::fs::write(&from, noise(5, 10 * CHUNK - 3)).unwrap();
    let source = share(&dir.join("data"), &[&from]).unwrap();
    let target = open(&dir.join("out"), &source);
    target.begin(Space::Root, &mut |_| {}).unwrap();
    for index in [0, 2, 4, 6, 8] {
        assert_eq!(carry(&source, &target, chunk(Space::Root, index)), StoreResult::Written);
    }
    (source, target)
}

fn had(target: &Target, progress: &mut dyn FnMut(Prepared)) -> Vec<u64> {
    let (shape, have) = target.begin(Space::Root, progress).unwrap();
    (0..shape.chunks).filter(|index| crate::testing::has(&have, *index)).collect()
}

fn finish(source: &Source, target: Target, dir: &Path) {
    carry_all(source, &target);
    for index in 0..10 {
        let at = chunk(Space::Root, index);
        assert_eq!(read_back(&target, at).unwrap(), read(source, at).unwrap());
    }
    target.finish().unwrap();
    assert_eq!(std::fs::read(dir.join("from")).unwrap(), std::fs::read(dir.join("out")).unwrap());
    assert_eq!(names(dir), ["data", "from", "out"]);
}

#[test]
fn after_a_clean_end_nothing_is_hashed_again() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = half_done(dir.path());
    drop(target);
    let target = open(&dir.path().join("out"), &source);
    let mut reports = 0;
    assert_eq!(had(&target, &mut |_| reports += 1), [0, 2, 4, 6, 8]);
    assert_eq!(reports, 0);
    // Served at once, with the proofs of the first run.
    let at = chunk(Space::Root, 4);
    assert_eq!(read_back(&target, at).unwrap(), read(&source, at).unwrap());
    finish(&source, target, dir.path());
}

#[test]
fn after_a_kill_what_was_only_written_is_hashed_again() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = half_done(dir.path());
    target.sync().unwrap();
    assert_eq!(carry(&source, &target, chunk(Space::Root, 1)), StoreResult::Written);
    assert_eq!(carry(&source, &target, chunk(Space::Root, 9)), StoreResult::Written);
    kill(target);
    // One that was synced, and one that was only written, are not what they were.
    let data = File::options().write(true).open(partial(dir.path()).join("data")).unwrap();
    data.write_all_at(b"XX", 9 * CHUNK as u64 + 5).unwrap();
    let target = open(&dir.path().join("out"), &source);
    let mut last = Prepared::default();
    let mut reports = 0;
    let have = had(&target, &mut |report| {
        last = report;
        reports += 1;
    });
    assert_eq!(have, [0, 1, 2, 4, 6, 8]);
    assert_eq!((reports > 0, last.total_bytes), (true, 2 * CHUNK as u64));
    kill(target);
    // The new journal says so: nothing is doubtful any more.
    let target = open(&dir.path().join("out"), &source);
    assert_eq!(had(&target, &mut |_| panic!("nothing to hash")), [0, 1, 2, 4, 6, 8]);
    finish(&source, target, dir.path());
}

#[test]
fn a_node_that_is_not_what_it_was_costs_its_chunk_only() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = half_done(dir.path());
    kill(target);
    let tree = File::options().write(true).open(partial(dir.path()).join("tree")).unwrap();
    // The sibling of chunk 2.
    tree.write_all_at(&[0xEE; 32], 3 * 32).unwrap();
    let target = open(&dir.path().join("out"), &source);
    assert_eq!(had(&target, &mut |_| {}), [0, 4, 6, 8]);
    finish(&source, target, dir.path());
}

#[test]
fn a_journal_torn_anywhere_never_lies() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = half_done(dir.path());
    kill(target);
    let path = partial(dir.path()).join("journal");
    let journal = std::fs::read(&path).unwrap();
    for cut in (0..=journal.len()).rev().step_by(3) {
        if !path.exists() {
            // The run before found nothing worth keeping.
            break;
        }
        std::fs::write(&path, &journal[..cut]).unwrap();
        let target = open(&dir.path().join("out"), &source);
        let have = had(&target, &mut |_| {});
        assert!([0, 2, 4, 6, 8].starts_with(&have), "{cut}: {have:?}");
        for index in have {
            let at = chunk(Space::Root, index);
            assert_eq!(read_back(&target, at).unwrap(), read(&source, at).unwrap());
        }
        kill(target);
    }
    let target = open(&dir.path().join("out"), &source);
    finish(&source, target, dir.path());
}

#[test]
fn without_its_data_a_journal_means_nothing() {
    for gone in ["data", "tree", "journal"] {
        let dir = tempfile::tempdir().unwrap();
        let (source, target) = half_done(dir.path());
        drop(target);
        std::fs::remove_file(partial(dir.path()).join(gone)).unwrap();
        let target = open(&dir.path().join("out"), &source);
        assert_eq!(had(&target, &mut |_| {}), Vec::<u64>::new());
        finish(&source, target, dir.path());
    }
    // Shorter than it was.
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = half_done(dir.path());
    drop(target);
    let data = File::options().write(true).open(partial(dir.path()).join("data")).unwrap();
    data.set_len(CHUNK as u64).unwrap();
    let target = open(&dir.path().join("out"), &source);
    assert_eq!(had(&target, &mut |_| {}), Vec::<u64>::new());
    finish(&source, target, dir.path());
}

#[test]
fn twenty_deaths_lose_nothing_that_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    std::fs::write(&from, noise(6, 40 * CHUNK)).unwrap();
    let source = share(&dir.path().join("data"), &[&from]).unwrap();
    let mut stored = 0;
    for round in 0..20 {
        let target = open(&dir.path().join("out"), &source);
        let (_, have) = target.begin(Space::Root, &mut |_| {}).unwrap();
        let missing: Vec<u64> = (0..40).filter(|i| !crate::testing::has(&have, *i)).collect();
        assert_eq!(missing.len(), 40 - stored);
        for index in missing.iter().rev().step_by(7).take(2) {
            assert_eq!(carry(&source, &target, chunk(Space::Root, *index)), StoreResult::Written);
            stored += 1;
        }
        if round % 3 == 0 {
            target.sync().unwrap();
        }
        kill(target);
    }
    let target = open(&dir.path().join("out"), &source);
    assert_eq!(carry_all(&source, &target), 40 - stored as u64);
    target.finish().unwrap();
    assert_eq!(std::fs::read(&from).unwrap(), std::fs::read(dir.path().join("out")).unwrap());
}

#[test]
fn a_death_right_after_the_rename_is_a_finished_download() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = half_done(dir.path());
    carry_all(&source, &target);
    kill(target);
    std::fs::rename(partial(dir.path()).join("data"), dir.path().join("out")).unwrap();
    let opened = Target::open(&dir.path().join("out"), source.descriptor(), false, &mut |_| {});
    assert!(matches!(opened.unwrap(), Opened::Whole(_)));
    assert_eq!(names(dir.path()), ["data", "from", "out"]);
}
