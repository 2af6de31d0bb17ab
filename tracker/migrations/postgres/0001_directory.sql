-- What peers announced. Who of them is online is not here: that is soft state in memory.

CREATE TABLE peers (
    id            TEXT    PRIMARY KEY,          -- native: key.instance; founding: as it named itself
    owner_ip      TEXT,                         -- founding only: the address that may speak for it
    ip            TEXT    NOT NULL,
    port          BIGINT  NOT NULL,
    hostname      TEXT,
    addresses     TEXT    NOT NULL,             -- separated by spaces
    suites        TEXT    NOT NULL,             -- separated by spaces
    relay         BOOLEAN NOT NULL,
    registered_at BIGINT  NOT NULL,             -- seconds since 1970
    seen_at       BIGINT  NOT NULL
);

CREATE INDEX peers_by_seen ON peers (seen_at);

CREATE TABLE files (
    native      BOOLEAN NOT NULL,               -- two namespaces that never touch
    hash        TEXT    NOT NULL,               -- native: locator; founding: as announced
    public      BOOLEAN NOT NULL,
    name        TEXT    NOT NULL,               -- empty for a private share
    named_by    TEXT    NOT NULL,
    size        BIGINT  NOT NULL,               -- 0 for a private share
    kind        TEXT,
    root        TEXT,
    chunk_size  BIGINT  NOT NULL,
    chunk_count BIGINT  NOT NULL,
    chunks      TEXT,                           -- founding only: JSON
    added_at    BIGINT  NOT NULL,
    seen_at     BIGINT  NOT NULL,
    PRIMARY KEY (native, hash)
);

CREATE INDEX files_by_seen ON files (seen_at);

CREATE TABLE holders (
    native  BOOLEAN NOT NULL,
    hash    TEXT    NOT NULL,
    peer_id TEXT    NOT NULL,
    seeder  BOOLEAN NOT NULL,
    PRIMARY KEY (native, hash, peer_id)
);

CREATE INDEX holders_by_peer ON holders (peer_id);
