//! A tracker of one's own on a free port, and a database of one's own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;
use towpath_tracker::{Config, Limits, Listen, Running, Tracker};

/// A running tracker and its data folder.
pub(crate) struct Server {
    pub(crate) folder: TempDir,
    pub(crate) running: Running,
}

impl Server {
    /// With everything as usual.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// With some things changed.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        change(&mut config);
        let running = Tracker::start(config).await.unwrap();
        Self { folder, running }
    }

    /// Stopped and started again with the same data.
    pub(crate) async fn restart(self, database: Option<String>) -> Self {
        let Self { folder, running } = self;
        running.shutdown().await;
        let mut config = config(folder.path());
        config.database = database;
        let running = Tracker::start(config).await.unwrap();
        Self { folder, running }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.running.local_addr()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn admin_key(&self) -> String {
        std::fs::read_to_string(self.data().join("admin.key")).unwrap().trim().to_owned()
    }
}

fn config(folder: &Path) -> Config {
    let mut config = Config::new(folder.join("data"));
    config.listen = Listen::Address((Ipv4Addr::LOCALHOST, 0).into());
    config.limits = Limits::default();
    config
}

/// The databases to try: SQLite in the data folder, and a fresh PostgreSQL database where the
/// variable `TOWPATH_TEST_POSTGRES` names a server on which databases may be created.
pub(crate) async fn databases() -> Vec<Option<String>> {
    let Ok(server) = std::env::var("TOWPATH_TEST_POSTGRES") else {
        println!("TOWPATH_TEST_POSTGRES is not set: PostgreSQL was not tried");
        return vec![None];
    };
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    let name = format!("towpath_test_{:016x}", u64::from_be_bytes(random));
    let mut connection = PgConnection::connect(&server).await.unwrap();
    let create = AssertSqlSafe(format!("CREATE DATABASE {name}"));
    sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
    // The part behind the question mark may hold slashes: the folder of a socket.
    let (url, query) = server.split_once('?').unwrap_or((&server, ""));
    let (base, _) = url.rsplit_once('/').unwrap();
    vec![None, Some(format!("{base}/{name}?{query}"))]
}
