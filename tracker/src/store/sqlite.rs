//! The directory in SQLite: one file beside the keys, nothing to install.
//!
//! WAL lets lookups read while the writer commits; `synchronous=FULL` makes a commit survive a loss
//! of power, which is why announces are committed in groups.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, SqliteConnection, SqlitePool};

use crate::StartError;

super::statements::functions!(SqlitePool, SqliteConnection);

/// Opens the file, creates it if it is not there, and brings its tables up to date.
pub(super) async fn open(path: &Path) -> Result<SqlitePool, StartError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .disable_statement_logging();
    let failed = |error: String| {
        StartError::new(format!(
            "The database {} cannot be used: {error}. Check that the folder can be written, or \
             name another with --data.",
            path.display()
        ))
    };
    make_private(path).map_err(|error| failed(error.to_string()))?;
    let pool = SqlitePoolOptions::new()
        .max_connections(4)
        .connect_with(options)
        .await
        .map_err(|error| failed(error.to_string()))?;
    sqlx::migrate!("migrations/sqlite")
        .run(&pool)
        .await
        .map_err(|error| failed(error.to_string()))?;
    Ok(pool)
}

/// SQLite gives its other files the mode of the first: who asks for what is nobody's business.
fn make_private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}
