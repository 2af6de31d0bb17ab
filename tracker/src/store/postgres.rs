//! The directory in PostgreSQL: for a tracker whose operator has one already, or wants several.

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, PgPool};

use crate::StartError;

super::statements::functions!(PgPool, PgConnection);

/// Connects, and brings the tables up to date.
pub(super) async fn open(url: &str) -> Result<PgPool, StartError> {
    let options: PgConnectOptions = url.parse().map_err(|error| {
        StartError::new(format!(
            "The database URL cannot be read ({error}). Write postgres://USER:PASSWORD@HOST/NAME."
        ))
    })?;
    let failed = |error: String| {
        StartError::new(format!(
            "The PostgreSQL database cannot be used: {error}. Check --database."
        ))
    };
    // The pool would try for half a minute; a person who mistyped something should know at once.
    let first = PgConnection::connect_with(&options).await;
    first.map_err(|error| failed(error.to_string()))?.close().await.ok();
    let pool = PgPoolOptions::new()
        .max_connections(8)
        .connect_with(options.disable_statement_logging())
        .await
        .map_err(|error| failed(error.to_string()))?;
    sqlx::migrate!("migrations/postgres")
        .run(&pool)
        .await
        .map_err(|error| failed(error.to_string()))?;
    Ok(pool)
}
