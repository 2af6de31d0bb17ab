//! What the directory is asked, in the words that SQLite and PostgreSQL share.
//!
//! sqlx has types of its own for each database, and no function can be written for both without
//! saying a dozen bounds; so the functions stand in a macro, and each database takes them once.

pub(super) const PUT_PEER: &str = "\
    INSERT INTO peers (id, owner_ip, ip, port, hostname, addresses, suites, relay, registered_at, \
        seen_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
    ON CONFLICT (id) DO UPDATE SET owner_ip = excluded.owner_ip, ip = excluded.ip, \
        port = excluded.port, hostname = excluded.hostname, addresses = excluded.addresses, \
        suites = excluded.suites, relay = excluded.relay, \
        registered_at = excluded.registered_at, seen_at = excluded.seen_at";

pub(super) const KNOW_PEER: &str = "\
    INSERT INTO peers (id, owner_ip, ip, port, hostname, addresses, suites, relay, registered_at, \
        seen_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
    ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at";

pub(super) const KEEP_FILE: &str = "\
    INSERT INTO files (native, hash, public, name, named_by, size, kind, root, chunk_size, \
        chunk_count, added_at, chunks, seen_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
    ON CONFLICT (native, hash) DO UPDATE SET seen_at = excluded.seen_at \
    RETURNING native, hash, public, name, named_by, size, kind, root, chunk_size, chunk_count, \
        added_at";

pub(super) const REPLACE_FILE: &str = "\
    INSERT INTO files (native, hash, public, name, named_by, size, kind, root, chunk_size, \
        chunk_count, added_at, chunks, seen_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) \
    ON CONFLICT (native, hash) DO UPDATE SET public = excluded.public, name = excluded.name, \
        named_by = excluded.named_by, size = excluded.size, kind = excluded.kind, \
        root = excluded.root, chunk_size = excluded.chunk_size, \
        chunk_count = excluded.chunk_count, chunks = excluded.chunks, \
        seen_at = excluded.seen_at \
    RETURNING native, hash, public, name, named_by, size, kind, root, chunk_size, chunk_count, \
        added_at";

pub(super) const HOLD: &str = "\
    INSERT INTO holders (native, hash, peer_id, seeder) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (native, hash, peer_id) DO UPDATE SET seeder = excluded.seeder";

pub(super) const RELEASE: &str =
    "DELETE FROM holders WHERE native = $1 AND hash = $2 AND peer_id = $3";

pub(super) const PEER: &str = "\
    SELECT id, owner_ip, ip, port, hostname, addresses, suites, relay, registered_at \
    FROM peers WHERE id = $1";

pub(super) const HELD: &str = "\
    SELECT f.native, f.hash, f.public, f.name, f.named_by, f.size, f.kind, f.root, f.chunk_size, \
        f.chunk_count, f.added_at, h.seeder \
    FROM holders h JOIN files f ON f.native = h.native AND f.hash = h.hash \
    WHERE h.peer_id = $1";

pub(super) const FILE: &str = "\
    SELECT native, hash, public, name, named_by, size, kind, root, chunk_size, chunk_count, \
        added_at \
    FROM files WHERE native = $1 AND hash = $2";

pub(super) const CHUNKS: &str = "SELECT chunks FROM files WHERE native = $1 AND hash = $2";

pub(super) const TOUCH_PEER: &str = "UPDATE peers SET seen_at = $1 WHERE id = $2";

pub(super) const TOUCH_FILES: &str = "\
    UPDATE files SET seen_at = $1 WHERE EXISTS (SELECT 1 FROM holders h \
        WHERE h.peer_id = $2 AND h.native = files.native AND h.hash = files.hash)";

/// In this order: what peers had, the peers, then what nobody has any more.
pub(super) const PRUNE: [&str; 3] = [
    "DELETE FROM holders WHERE peer_id IN (SELECT id FROM peers WHERE seen_at < $1)",
    "DELETE FROM peers WHERE seen_at < $1",
    "DELETE FROM files WHERE seen_at < $1 AND NOT EXISTS (SELECT 1 FROM holders h \
        WHERE h.native = files.native AND h.hash = files.hash)",
];

/// The functions that ask, for one database.
macro_rules! functions {
    ($pool:ty, $connection:ty) => {
        use $crate::model::{Change, Changed, FileKey, FileRow, PeerKey, Recalled};
        use $crate::store::record::{FileRecord, HeldRecord, PeerRecord};
        use $crate::store::statements;

        pub(super) async fn file(
            pool: &$pool,
            key: &FileKey,
        ) -> Result<Option<FileRow>, sqlx::Error> {
            let record: Option<FileRecord> = sqlx::query_as(statements::FILE)
                .bind(key.is_native())
                .bind(key.text())
                .fetch_optional(pool)
                .await?;
            Ok(record.and_then(FileRecord::read))
        }

        pub(super) async fn chunks(
            pool: &$pool,
            key: &FileKey,
        ) -> Result<Option<String>, sqlx::Error> {
            let found: Option<Option<String>> = sqlx::query_scalar(statements::CHUNKS)
                .bind(key.is_native())
                .bind(key.text())
                .fetch_optional(pool)
                .await?;
            Ok(found.flatten())
        }

        /// Makes one change inside a transaction. `replace`: an announce may replace what others
        /// said of the file; `at`: seconds since 1970.
        pub(super) async fn apply(
            on: &mut $connection,
            change: &Change,
            replace: bool,
            at: i64,
        ) -> Result<Changed, sqlx::Error> {
            match change {
                Change::Register(row) => {
                    put_peer(on, statements::PUT_PEER, PeerRecord::new(row), at).await?;
                    Ok(Changed::Done)
                }
                Change::Announce { by, file, chunks, seeder } => {
                    put_peer(on, statements::KNOW_PEER, PeerRecord::new(by), at).await?;
                    let sql =
                        if replace { statements::REPLACE_FILE } else { statements::KEEP_FILE };
                    let kept =
                        put_file(on, sql, FileRecord::new(file), chunks.as_deref(), at).await?;
                    let hold = sqlx::query(statements::HOLD)
                        .bind(file.key.is_native())
                        .bind(file.key.text());
                    hold.bind(by.key.to_string()).bind(*seeder).execute(&mut *on).await?;
                    Ok(Changed::File(kept.read().unwrap_or_else(|| (**file).clone()).into()))
                }
                Change::Withdraw(peer, file) => {
                    let release =
                        sqlx::query(statements::RELEASE).bind(file.is_native()).bind(file.text());
                    let gone = release.bind(peer.to_string()).execute(&mut *on).await?;
                    Ok(Changed::Existed(gone.rows_affected() > 0))
                }
                Change::Remove(peer) => remove(on, peer).await,
                Change::DeleteFile(file) => delete(on, file).await,
                Change::Recall(peer) => recall(on, peer).await,
                Change::Touch(peers) => {
                    for peer in peers {
                        for sql in [statements::TOUCH_PEER, statements::TOUCH_FILES] {
                            sqlx::query(sql)
                                .bind(at)
                                .bind(peer.to_string())
                                .execute(&mut *on)
                                .await?;
                        }
                    }
                    Ok(Changed::Done)
                }
                Change::Prune { before } => {
                    for sql in statements::PRUNE {
                        sqlx::query(sql).bind(*before).execute(&mut *on).await?;
                    }
                    Ok(Changed::Done)
                }
            }
        }

        async fn put_peer(
            on: &mut $connection,
            sql: &'static str,
            peer: PeerRecord,
            at: i64,
        ) -> Result<(), sqlx::Error> {
            sqlx::query(sql)
                .bind(peer.id)
                .bind(peer.owner_ip)
                .bind(peer.ip)
                .bind(peer.port)
                .bind(peer.hostname)
                .bind(peer.addresses)
                .bind(peer.suites)
                .bind(peer.relay)
                .bind(peer.registered_at)
                .bind(at)
                .execute(on)
                .await?;
            Ok(())
        }

        async fn put_file(
            on: &mut $connection,
            sql: &'static str,
            file: FileRecord,
            chunks: Option<&str>,
            at: i64,
        ) -> Result<FileRecord, sqlx::Error> {
            sqlx::query_as(sql)
                .bind(file.native)
                .bind(file.hash)
                .bind(file.public)
                .bind(file.name)
                .bind(file.named_by)
                .bind(file.size)
                .bind(file.kind)
                .bind(file.root)
                .bind(file.chunk_size)
                .bind(file.chunk_count)
                .bind(file.added_at)
                .bind(chunks)
                .bind(at)
                .fetch_one(on)
                .await
        }

        async fn remove(on: &mut $connection, peer: &PeerKey) -> Result<Changed, sqlx::Error> {
            let id = peer.to_string();
            sqlx::query("DELETE FROM holders WHERE peer_id = $1")
                .bind(&id)
                .execute(&mut *on)
                .await?;
            let gone = sqlx::query("DELETE FROM peers WHERE id = $1").bind(&id).execute(on).await?;
            Ok(Changed::Existed(gone.rows_affected() > 0))
        }

        async fn delete(on: &mut $connection, file: &FileKey) -> Result<Changed, sqlx::Error> {
            let mut gone = 0;
            for sql in [
                "DELETE FROM holders WHERE native = $1 AND hash = $2",
                "DELETE FROM files WHERE native = $1 AND hash = $2",
            ] {
                let delete = sqlx::query(sql).bind(file.is_native()).bind(file.text());
                gone += delete.execute(&mut *on).await?.rows_affected();
            }
            Ok(Changed::Existed(gone > 0))
        }

        async fn recall(on: &mut $connection, peer: &PeerKey) -> Result<Changed, sqlx::Error> {
            let id = peer.to_string();
            let row: Option<PeerRecord> =
                sqlx::query_as(statements::PEER).bind(&id).fetch_optional(&mut *on).await?;
            let Some(peer) = row.and_then(PeerRecord::read) else {
                return Ok(Changed::Recalled(None));
            };
            let held: Vec<HeldRecord> =
                sqlx::query_as(statements::HELD).bind(&id).fetch_all(on).await?;
            let files = held.into_iter().filter_map(HeldRecord::read).collect();
            Ok(Changed::Recalled(Some(Recalled { peer, files }.into())))
        }
    };
}

pub(super) use functions;
