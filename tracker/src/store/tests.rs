//! The same promises on each database.

use towpath_core::id::{Instance, Kind, Locator, PeerId};

use super::*;
use crate::model::{PeerKey, PeerRow, Recalled};

/// A store of its own on each database that there is, with the directory that follows it.
async fn stores() -> Vec<(Store, Writer, Arc<Directory>, tempfile::TempDir)> {
    let mut urls = vec![None];
    match std::env::var("TOWPATH_TEST_POSTGRES") {
        Ok(server) => urls.push(Some(fresh(&server).await)),
        Err(_) => println!("TOWPATH_TEST_POSTGRES is not set: PostgreSQL was not tried"),
    }
    let mut stores = Vec::new();
    for url in urls {
        let folder = tempfile::tempdir().unwrap();
        let directory = Arc::new(Directory::default());
        let opened = Store::open(url.as_deref(), folder.path(), Arc::clone(&directory)).await;
        let (store, writer) = opened.unwrap();
        stores.push((store, writer, directory, folder));
    }
    stores
}

async fn fresh(server: &str) -> String {
    use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    let name = format!("towpath_test_{:016x}", u64::from_be_bytes(random));
    let mut connection = PgConnection::connect(server).await.unwrap();
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
    // The part behind the question mark may hold slashes: the folder of a socket.
    let (url, query) = server.split_once('?').unwrap_or((server, ""));
    format!("{}/{name}?{query}", url.rsplit_once('/').unwrap().0)
}

fn native(peer: u8) -> PeerKey {
    PeerKey::Native(Instance { peer: PeerId([peer; 32]), number: u64::MAX })
}

fn peer(key: PeerKey) -> PeerRow {
    PeerRow {
        key,
        owner_ip: None,
        founding_address: None,
        hostname: None,
        addresses: vec!["127.0.0.1:1".parse().unwrap(), "[fe80::1]:2".parse().unwrap()],
        suites: vec!["25519_AESGCM_SHA256".to_owned()],
        relay: true,
        registered_at: 1_700_000_000,
    }
}

fn file(n: u8, name: &str, by: &PeerKey) -> FileRow {
    let public = !name.is_empty();
    FileRow {
        key: FileKey::Native(Locator([n; 32])),
        public,
        name: name.to_owned(),
        named_by: by.clone(),
        size: if public { 1 << 48 } else { 0 },
        kind: public.then_some(Kind::Manifest),
        root: public.then(|| "ab".repeat(32)),
        chunk_size: 0,
        chunk_count: 0,
        added_at: 1_700_000_000,
    }
}

async fn announce(store: &Store, by: &PeerKey, file: &FileRow, seeder: bool) -> Arc<FileRow> {
    let change = Change::Announce {
        by: Box::new(peer(by.clone())),
        file: Box::new(file.clone()),
        chunks: None,
        seeder,
    };
    match store.change(change).await.unwrap() {
        Changed::File(file) => file,
        other => panic!("an announce yields the file, not {other:?}"),
    }
}

async fn recall(store: &Store, key: &PeerKey) -> Option<Arc<Recalled>> {
    match store.change(Change::Recall(key.clone())).await.unwrap() {
        Changed::Recalled(found) => found,
        other => panic!("a recall yields what is known, not {other:?}"),
    }
}

#[tokio::test]
async fn what_is_written_is_read_again() {
    for (store, writer, _, _folder) in stores().await {
        let by = native(1);
        let founding = PeerRow {
            key: PeerKey::parse("7d444840-9dc0-11d1-b245-5ffdce74fad2").unwrap(),
            owner_ip: Some("2001:db8::1".parse().unwrap()),
            founding_address: Some("192.0.2.1:6881".parse().unwrap()),
            hostname: Some("Bücher 'x'".to_owned()),
            addresses: Vec::new(),
            suites: Vec::new(),
            relay: false,
            registered_at: -1,
        };
        store.change(Change::Register(founding.clone())).await.unwrap();
        let found = recall(&store, &founding.key).await.unwrap();
        assert_eq!(*found, Recalled { peer: founding, files: Vec::new() });

        let (public, private) = (file(1, "a 'name'; \u{1f600}", &by), file(2, "", &by));
        announce(&store, &by, &public, true).await;
        announce(&store, &by, &private, false).await;
        let found = recall(&store, &by).await.unwrap();
        assert_eq!(found.peer, peer(by.clone()));
        let mut files = found.files.clone();
        files.sort_by_key(|(file, _)| file.key.clone());
        assert_eq!(files, [(Arc::new(public.clone()), true), (Arc::new(private), false)]);
        assert_eq!(store.file(&public.key).await.unwrap(), Some(public));
        assert_eq!(recall(&store, &native(9)).await, None);
        store.close(writer).await;
    }
}

// Spec T17
#[tokio::test]
async fn a_public_file_is_not_made_private_and_keeps_its_name_while_its_giver_is_there() {
    for (store, writer, _, _folder) in stores().await {
        let (one, two) = (native(1), native(2));
        announce(&store, &one, &file(1, "first", &one), true).await;
        let kept = announce(&store, &two, &file(1, "second", &two), true).await;
        assert_eq!((kept.name.as_str(), &kept.named_by), ("first", &one));
        let kept = announce(&store, &two, &file(1, "", &two), true).await;
        assert_eq!((kept.name.as_str(), kept.public), ("first", true));
        let kept = announce(&store, &one, &file(1, "renamed", &one), true).await;
        assert_eq!(kept.name, "renamed");
        store.change(Change::Remove(one)).await.unwrap();
        let kept = announce(&store, &two, &file(1, "second", &two), true).await;
        assert_eq!(kept.name, "second", "its giver is gone");
        store.close(writer).await;
    }
}

#[tokio::test]
async fn removing_withdrawing_and_deleting_say_whether_there_was_something() {
    for (store, writer, directory, _folder) in stores().await {
        let by = native(1);
        let (one, two) = (file(1, "one", &by), file(2, "two", &by));
        announce(&store, &by, &one, true).await;
        announce(&store, &by, &two, true).await;
        let existed = async |change: Change| match store.change(change).await.unwrap() {
            Changed::Existed(existed) => existed,
            other => panic!("whether it existed, not {other:?}"),
        };
        assert!(existed(Change::Withdraw(by.clone(), one.key.clone())).await);
        assert!(!existed(Change::Withdraw(by.clone(), one.key.clone())).await);
        assert_eq!(recall(&store, &by).await.unwrap().files.len(), 1);
        assert!(existed(Change::DeleteFile(two.key.clone())).await);
        assert!(!existed(Change::DeleteFile(two.key.clone())).await);
        assert!(existed(Change::Remove(by.clone())).await);
        assert!(!existed(Change::Remove(by.clone())).await);
        assert_eq!(recall(&store, &by).await, None);
        assert!(directory.peers(Instant::now()).is_empty());
        assert!(store.file(&one.key).await.unwrap().is_some(), "its link is still known");
        store.close(writer).await;
    }
}

#[tokio::test]
async fn what_was_not_seen_for_long_is_forgotten_and_what_is_touched_is_not() {
    for (store, writer, _, _folder) in stores().await {
        let (gone, here) = (native(1), native(2));
        let (old, live) = (file(1, "old", &gone), file(2, "live", &here));
        announce(&store, &gone, &old, true).await;
        announce(&store, &here, &live, true).await;
        store.change(Change::Prune { before: unix_now() - 100 }).await.unwrap();
        assert!(recall(&store, &gone).await.is_some(), "seen just now");
        for sql in ["UPDATE peers SET seen_at = 1000", "UPDATE files SET seen_at = 1000"] {
            match &store.database {
                Database::Sqlite(pool) => drop(sqlx::query(sql).execute(pool).await.unwrap()),
                Database::Postgres(pool) => drop(sqlx::query(sql).execute(pool).await.unwrap()),
            }
        }
        store.change(Change::Touch(vec![here.clone()])).await.unwrap();
        store.change(Change::Prune { before: 1000 }).await.unwrap();
        assert!(recall(&store, &gone).await.is_some(), "just young enough");
        store.change(Change::Prune { before: 1001 }).await.unwrap();
        assert_eq!(recall(&store, &gone).await, None);
        assert_eq!(store.file(&old.key).await.unwrap(), None);
        assert_eq!(recall(&store, &here).await.unwrap().files.len(), 1);
        assert_eq!(store.file(&live.key).await.unwrap(), Some(live));
        store.close(writer).await;
    }
}

#[tokio::test]
async fn one_bad_change_does_not_take_its_group_along() {
    for (store, writer, _, _folder) in stores().await {
        let by = native(1);
        // A NUL in a text is what PostgreSQL refuses; SQLite takes it, and then both are kept.
        let mut bad = file(1, "bad", &by);
        bad.name = "a\0b".to_owned();
        let bad = Change::Announce {
            by: Box::new(peer(by.clone())),
            file: Box::new(bad),
            chunks: None,
            seeder: true,
        };
        let good = file(2, "good", &by);
        let (first, second) =
            tokio::join!(store.change(bad), async { announce(&store, &by, &good, true).await });
        assert_eq!(second.name, "good");
        assert_eq!(first.is_err(), matches!(store.database, Database::Postgres(_)));
        assert_eq!(store.file(&good.key).await.unwrap(), Some(good));
        store.close(writer).await;
    }
}

#[tokio::test]
async fn closing_makes_what_waits_and_takes_no_more() {
    for (store, writer, _, folder) in stores().await {
        let store = Arc::new(store);
        let by = native(1);
        let waiting: Vec<_> = (0..50)
            .map(|n| {
                let (store, by) = (Arc::clone(&store), by.clone());
                tokio::spawn(async move { announce(&store, &by, &file(n, "x", &by), true).await })
            })
            .collect();
        tokio::task::yield_now().await;
        store.close(writer).await;
        for done in waiting {
            done.await.unwrap();
        }
        assert_eq!(store.change(Change::Recall(by.clone())).await.err(), Some(StoreError::Busy));
        if matches!(store.database, Database::Sqlite(_)) {
            let directory = Arc::new(Directory::default());
            let (store, writer) = Store::open(None, folder.path(), directory).await.unwrap();
            assert_eq!(recall(&store, &by).await.unwrap().files.len(), 50);
            store.close(writer).await;
        }
    }
}
