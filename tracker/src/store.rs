//! What was announced, durably: SQLite in the data folder, or PostgreSQL.
//!
//! One task makes all changes, in the order in which they were asked for. It takes what waits,
//! makes it one transaction, commits, lets the [`Directory`] follow, and only then answers: so a
//! `200` means durable, a commit is shared by many calls, and memory never knows more than the
//! database. If a transaction fails, its changes are tried one by one, so that each call gets its
//! own answer.
//!
//! The two databases have their own SQL and their own migrations ([`sqlite`], [`postgres`]); the
//! rows and everything above them are the same.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sqlx::{PgPool, SqlitePool};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::StartError;
use crate::directory::Directory;
use crate::limits::{GROUP_WRITES, WRITE_QUEUE};
use crate::model::{Change, Changed, FileKey, FileRow};

mod postgres;
mod record;
mod sqlite;
mod statements;
#[cfg(test)]
mod tests;

/// The way to the database.
#[derive(Debug)]
pub(crate) struct Store {
    database: Database,
    orders: mpsc::Sender<Order>,
    /// No more changes: the writer makes those that wait, and ends.
    stop: CancellationToken,
}

#[derive(Debug, Clone)]
enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// Why the database did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StoreError {
    /// Too many writes wait already.
    Busy,
    /// The database's sentence; for the log.
    Failed(String),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too many writes wait"),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

struct Order {
    change: Change,
    done: oneshot::Sender<Result<Changed, StoreError>>,
}

/// The writing task; it ends when the store is closed or dropped and its last change is made.
pub(crate) type Writer = JoinHandle<()>;

impl Store {
    /// Opens (and if need be creates) the database at `url`, or SQLite in `folder`.
    pub(crate) async fn open(
        url: Option<&str>,
        folder: &Path,
        directory: Arc<Directory>,
    ) -> Result<(Self, Writer), StartError> {
        let database = match url {
            Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                Database::Postgres(postgres::open(url).await?)
            }
            Some(url) => match url.strip_prefix("sqlite:") {
                Some(path) => {
                    let path = path.strip_prefix("//").unwrap_or(path);
                    Database::Sqlite(sqlite::open(Path::new(path)).await?)
                }
                None => {
                    return Err(StartError::new(format!(
                        "I do not know the kind of database in {url:?}. Write \
                         postgres://USER:PASSWORD@HOST/NAME or sqlite:FILE."
                    )));
                }
            },
            None => Database::Sqlite(sqlite::open(&folder.join("tracker.sqlite")).await?),
        };
        let (orders, queue) = mpsc::channel(WRITE_QUEUE);
        let stop = CancellationToken::new();
        let writer = tokio::spawn(write(database.clone(), queue, directory, stop.clone()));
        Ok((Self { database, orders, stop }, writer))
    }

    /// Makes a change; when this returns it is durable, and the directory knows.
    pub(crate) async fn change(&self, change: Change) -> Result<Changed, StoreError> {
        let (done, answer) = oneshot::channel();
        self.orders.try_send(Order { change, done }).map_err(|_| StoreError::Busy)?;
        answer.await.map_err(|_| StoreError::Failed("the tracker is stopping".to_owned()))?
    }

    /// A file, whether or not somebody online has it.
    pub(crate) async fn file(&self, key: &FileKey) -> Result<Option<FileRow>, StoreError> {
        Ok(match &self.database {
            Database::Sqlite(pool) => sqlite::file(pool, key).await?,
            Database::Postgres(pool) => postgres::file(pool, key).await?,
        })
    }

    /// The chunks that a founding client announced, in JSON.
    pub(crate) async fn chunks(&self, key: &FileKey) -> Result<Option<String>, StoreError> {
        Ok(match &self.database {
            Database::Sqlite(pool) => sqlite::chunks(pool, key).await?,
            Database::Postgres(pool) => postgres::chunks(pool, key).await?,
        })
    }

    /// After the last change: closes the database's files and connections.
    pub(crate) async fn close(&self, writer: Writer) {
        self.stop.cancel();
        // A panic of the writer was reported when it happened.
        let _ = writer.await;
        match &self.database {
            Database::Sqlite(pool) => pool.close().await,
            Database::Postgres(pool) => pool.close().await,
        }
    }
}

async fn write(
    database: Database,
    mut queue: mpsc::Receiver<Order>,
    directory: Arc<Directory>,
    stop: CancellationToken,
) {
    let mut group = Vec::new();
    loop {
        let received = tokio::select! {
            biased;
            received = queue.recv_many(&mut group, GROUP_WRITES) => received,
            () = stop.cancelled(), if !queue.is_closed() => {
                queue.close();
                continue;
            }
        };
        if received == 0 {
            return;
        }
        let changes: Vec<&Change> = group.iter().map(|order| &order.change).collect();
        let results = match commit(&database, &changes, &directory).await {
            Ok(changed) => changed.into_iter().map(Ok).collect(),
            Err(error) if changes.len() == 1 => vec![Err(error)],
            Err(_) => one_by_one(&database, &changes, &directory).await,
        };
        let mut failed = None;
        for (order, result) in group.drain(..).zip(results) {
            match &result {
                Ok(changed) => directory.apply(Instant::now(), &order.change, changed),
                Err(error) => failed = Some(error.clone()),
            }
            // The caller may have gone away meanwhile.
            let _ = order.done.send(result);
        }
        // Once a group: a full disk must not fill the log too.
        if let Some(error) = failed {
            tracing::warn!(%error, "the database refused a change");
        }
    }
}

async fn one_by_one(
    database: &Database,
    changes: &[&Change],
    directory: &Directory,
) -> Vec<Result<Changed, StoreError>> {
    let mut results = Vec::with_capacity(changes.len());
    for change in changes {
        let result = commit(database, &[change], directory).await;
        results.push(result.map(|mut changed| changed.remove(0)));
    }
    results
}

async fn commit(
    database: &Database,
    changes: &[&Change],
    directory: &Directory,
) -> Result<Vec<Changed>, StoreError> {
    let at = unix_now();
    // A name may be replaced if its giver is gone; only memory knows who is.
    let replace = |change: &Change| match change {
        Change::Announce { by, file, .. } => {
            file.public && directory.is_orphan(Instant::now(), &file.key, &by.key)
        }
        _ => false,
    };
    let mut changed = Vec::with_capacity(changes.len());
    match database {
        Database::Sqlite(pool) => {
            let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
            for change in changes {
                changed.push(sqlite::apply(&mut transaction, change, replace(change), at).await?);
            }
            transaction.commit().await?;
        }
        Database::Postgres(pool) => {
            let mut transaction = pool.begin().await?;
            for change in changes {
                changed.push(postgres::apply(&mut transaction, change, replace(change), at).await?);
            }
            transaction.commit().await?;
        }
    }
    Ok(changed)
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
