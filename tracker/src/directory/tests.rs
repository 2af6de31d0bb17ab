//! Who is online when, and that nothing is left behind.

use std::time::Duration;

use towpath_core::id::Locator;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn native(peer: u8) -> PeerKey {
    PeerKey::Native(instance(peer))
}

fn instance(peer: u8) -> Instance {
    Instance { peer: PeerId([peer; 32]), number: 1 }
}

fn row(key: PeerKey) -> PeerRow {
    PeerRow {
        key,
        owner_ip: None,
        founding_address: None,
        hostname: None,
        addresses: vec!["127.0.0.1:1".parse().unwrap()],
        suites: Vec::new(),
        relay: true,
        registered_at: 0,
    }
}

fn file(n: u8, name: &str, by: &PeerKey) -> FileRow {
    FileRow {
        key: FileKey::Native(Locator([n; 32])),
        public: !name.is_empty(),
        name: name.to_owned(),
        named_by: by.clone(),
        size: 1,
        kind: None,
        root: None,
        chunk_size: 0,
        chunk_count: 0,
        added_at: n.into(),
    }
}

fn announce(directory: &Directory, now: Instant, by: &PeerKey, file: &FileRow, seeder: bool) {
    let change = Change::Announce {
        by: Box::new(row(by.clone())),
        file: Box::new(file.clone()),
        chunks: None,
        seeder,
    };
    directory.apply(now, &change, &Changed::File(Arc::new(file.clone())));
}

fn holders(directory: &Directory, now: Instant, file: &FileRow) -> usize {
    directory.lookup(now, &file.key, 100, 0).map_or(0, |(_, peers)| peers.len())
}

// Spec T13
#[test]
fn a_peer_is_online_for_ninety_seconds_after_each_sign_of_life() {
    let (directory, start) = (Directory::default(), Instant::now());
    let (peer, share) = (native(1), file(1, "a", &native(1)));
    announce(&directory, start, &peer, &share, true);
    assert_eq!(holders(&directory, start + 89 * SECOND, &share), 1);
    assert!(directory.heard(start + 89 * SECOND, &peer));
    assert_eq!(holders(&directory, start + 178 * SECOND, &share), 1);
    assert_eq!(holders(&directory, start + 179 * SECOND, &share), 0);
    assert!(directory.list(start + 179 * SECOND, None, 0, 10).is_empty());
    assert!(!directory.heard(start + 179 * SECOND, &peer));
}

// Spec T13
#[test]
fn an_open_relay_session_keeps_online_and_its_end_has_a_short_grace() {
    let (directory, start) = (Directory::default(), Instant::now());
    let (peer, share) = (native(1), file(1, "", &native(1)));
    assert!(!directory.relay_opened(start, instance(1)), "not in memory yet");
    announce(&directory, start, &peer, &share, true);
    let later = start + 10_000 * SECOND;
    assert_eq!(holders(&directory, later, &share), 1);
    // A reconnection: the new session may come before the old one is known to have ended.
    assert!(directory.relay_opened(later, instance(1)));
    directory.relay_closed(later, instance(1));
    assert_eq!(holders(&directory, later + 1_000 * SECOND, &share), 1);
    let later = later + 1_000 * SECOND;
    directory.relay_closed(later, instance(1));
    assert_eq!(holders(&directory, later + 9 * SECOND, &share), 1);
    directory.heard(later + 9 * SECOND, &peer);
    assert_eq!(holders(&directory, later + 98 * SECOND, &share), 1, "heartbeats go on");
    assert_eq!(holders(&directory, later + 99 * SECOND, &share), 0);
}

// Spec T13
#[test]
fn a_recalled_peer_has_all_that_it_had_announced() {
    let (directory, start) = (Directory::default(), Instant::now());
    let peer = native(1);
    let files =
        vec![(Arc::new(file(1, "one", &peer)), true), (Arc::new(file(2, "", &peer)), false)];
    let recalled = Arc::new(Recalled { peer: row(peer.clone()), files: files.clone() });
    let change = Change::Recall(peer.clone());
    directory.apply(start, &change, &Changed::Recalled(Some(Arc::clone(&recalled))));
    let (listed, peers) = directory.lookup(start, &files[1].0.key, 10, 0).unwrap();
    assert_eq!((listed.seeders, listed.leechers, peers.len()), (0, 1, 1));
    assert_eq!(directory.list(start, None, 0, 10).len(), 1, "the private one is not listed");
    // A second recall, which was on its way, changes nothing that came after the first.
    directory.apply(start, &Change::Withdraw(peer.clone(), files[0].0.key.clone()), &Changed::Done);
    directory.apply(start, &change, &Changed::Recalled(Some(recalled)));
    assert_eq!(holders(&directory, start, &files[0].0), 0);
}

// Spec T12
#[test]
fn heartbeats_withdraw_what_they_do_not_name_after_a_minute() {
    let (directory, start) = (Directory::default(), Instant::now());
    let peer = native(1);
    let (one, two) = (file(1, "a", &peer), file(2, "b", &peer));
    assert_eq!(directory.heartbeat(start, &peer, &[]), Heartbeat::Stranger);
    announce(&directory, start, &peer, &one, true);
    announce(&directory, start + 30 * SECOND, &peer, &two, true);
    let fine = |withdrawn| Heartbeat::Fine { withdrawn };
    let at = |seconds: u32| start + seconds * SECOND;
    assert_eq!(directory.heartbeat(at(59), &peer, &[]), fine(vec![]));
    assert_eq!(directory.heartbeat(at(60), &peer, &[]), fine(vec![one.key.clone()]));
    let both = [one.key.clone(), two.key.clone()];
    assert_eq!(directory.heartbeat(at(120), &peer, &both), fine(vec![]));
    let other = FileKey::Native(Locator([9; 32]));
    assert_eq!(directory.heartbeat(at(120), &peer, &[other]), Heartbeat::Unknown);
}

#[test]
fn lists_are_in_order_in_pages_and_searched_without_case() {
    let (directory, now) = (Directory::default(), Instant::now());
    for n in 0..10 {
        let by = native(n);
        announce(&directory, now, &by, &file(n, &format!("Straße {n}"), &by), n % 2 == 0);
    }
    let names = |query, offset, limit| {
        let listed = directory.list(now, query, offset, limit);
        listed.iter().map(|listed| listed.row.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(None, 0, 2), ["Straße 9", "Straße 8"]);
    assert_eq!(names(None, 9, 2), ["Straße 0"]);
    assert_eq!(names(None, 10, 2), [""; 0]);
    assert_eq!(names(Some("STRASSE 3"), 0, 9), [""; 0], "ß stays ß");
    assert_eq!(names(Some("straße 3"), 0, 9), ["Straße 3"]);
    assert_eq!(names(Some("E"), 1, 1), ["Straße 8"]);
}

#[test]
fn of_many_holders_all_are_named_sometimes_and_seeders_first() {
    let (directory, now) = (Directory::default(), Instant::now());
    let share = file(1, "a", &native(0));
    for n in 0..100 {
        announce(&directory, now, &native(n), &share, n < 3);
    }
    let mut seen = BTreeSet::new();
    for random in 0..100 {
        let (listed, peers) = directory.lookup(now, &share.key, 10, random).unwrap();
        assert_eq!((listed.seeders, listed.leechers), (3, 97));
        assert!(peers[..3].iter().all(|peer| peer.seeder));
        seen.extend(peers.iter().map(|peer| peer.row.key.clone()));
    }
    assert_eq!(seen.len(), 100);
}

// Spec T9
#[test]
fn a_proof_of_address_runs_out() {
    let (directory, start) = (Directory::default(), Instant::now());
    let (peer, share) = (native(1), file(1, "a", &native(1)));
    let mut public = row(peer.clone());
    public.addresses.push("9.9.9.9:9".parse().unwrap());
    directory.apply(start, &Change::Register(public), &Changed::Done);
    announce(&directory, start, &peer, &share, true);
    directory.relay_opened(start, instance(1));
    let addresses = |now| directory.lookup(now, &share.key, 1, 0).unwrap().1[0].addresses.len();
    assert_eq!(addresses(start), 1);
    directory.spoke(start, PeerId([1; 32]), [9, 9, 9, 9].into());
    directory.spoke(start, PeerId([2; 32]), [8, 8, 8, 8].into());
    assert_eq!(addresses(start), 2);
    assert_eq!(addresses(start + SPOKEN_FOR), 1);
    for n in 0..50 {
        directory.spoke(start, PeerId([1; 32]), [1, 1, 1, n].into());
    }
    assert_eq!(directory.at(start).spoken[&PeerId([1; 32])].len(), MAX_SPOKEN_IPS);
    directory.sweep(start + SPOKEN_FOR);
    assert!(directory.at(start).spoken.is_empty());
}

#[test]
fn what_leaves_leaves_nothing_behind() {
    let (directory, now) = (Directory::default(), Instant::now());
    let share = file(1, "a", &native(0));
    for n in 0..4 {
        announce(&directory, now, &native(n), &share, true);
        announce(&directory, now, &native(n), &file(10 + n, "", &native(n)), true);
    }
    directory.apply(now, &Change::Remove(native(0)), &Changed::Existed(true));
    directory.apply(now, &Change::Withdraw(native(1), share.key.clone()), &Changed::Done);
    directory.apply(now, &Change::DeleteFile(share.key.clone()), &Changed::Existed(true));
    assert_eq!(directory.at(now).holders, 3);
    let inner = directory.at(now + OFFLINE_AFTER);
    assert!(inner.peers.is_empty() && inner.files.is_empty() && inner.listed.is_empty());
    assert!(inner.deadlines.is_empty() && inner.holders == 0);
}

// Spec T18
#[test]
fn an_instance_may_announce_so_many_shares_and_no_more() {
    let (directory, now) = (Directory::default(), Instant::now());
    let peer = native(1);
    for n in 0..MAX_SHARES_PER_INSTANCE {
        assert!(directory.room_for(now, &peer).is_ok(), "{n}");
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&n.to_be_bytes());
        let share = FileRow { key: FileKey::Native(Locator(hash)), ..file(0, "", &peer) };
        announce(&directory, now, &peer, &share, true);
    }
    assert!(directory.room_for(now, &peer).is_err());
    assert!(directory.room_for(now, &native(2)).is_ok());
}
