-- What peers announced. Who of them is online is not here: that is soft state in memory.

CREATE TABLE peers (
    id            TEXT    PRIMARY KEY NOT NULL, -- native: key.instance; founding: as it named itself
    owner_ip      TEXT,                         -- founding only: the address that may speak for it
    ip            TEXT    NOT NULL,
    port          INTEGER NOT NULL,
    hostname      TEXT,
    addresses     TEXT    NOT NULL,             -- separated by spaces
    suites        TEXT    NOT NULL,             -- separated by spaces
    relay         INTEGER NOT NULL,
    registered_at INTEGER NOT NULL,             -- seconds since 1970
    seen_at       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX peers_by_seen ON peers (seen_at);

CREATE TABLE files (
    native      INTEGER NOT NULL,               -- two namespaces that never touch
    hash        TEXT    NOT NULL,               -- native: locator; founding: as announced
    public      INTEGER NOT NULL,
    name        TEXT    NOT NULL,               -- empty for a private share
    named_by    TEXT    NOT NULL,
    size        INTEGER NOT NULL,               -- 0 for a private share
    kind        TEXT,
    root        TEXT,
    chunk_size  INTEGER NOT NULL,
    chunk_count INTEGER NOT NULL,
    chunks      TEXT,                           -- founding only: JSON
    added_at    INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL,
    PRIMARY KEY (native, hash)
) STRICT, WITHOUT ROWID;

CREATE INDEX files_by_seen ON files (seen_at);

CREATE TABLE holders (
    native  INTEGER NOT NULL,
    hash    TEXT    NOT NULL,
    peer_id TEXT    NOT NULL,
    seeder  INTEGER NOT NULL,
    PRIMARY KEY (native, hash, peer_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX holders_by_peer ON holders (peer_id);
