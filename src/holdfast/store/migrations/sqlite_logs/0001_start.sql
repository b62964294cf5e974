-- Logs live in a file of their own: SQLite has one writer per file, and shipping a flood of
-- output must not make an enqueue wait. While a log grows, rows are only ever inserted.

CREATE TABLE log_chunk (
    run_id     TEXT NOT NULL,
    attempt    INTEGER NOT NULL,
    start      INTEGER NOT NULL,      -- offset of the first byte in the log of the attempt
    line       INTEGER NOT NULL,      -- newlines before it
    lines      INTEGER NOT NULL,      -- newlines in it
    stream     INTEGER NOT NULL,
    source     INTEGER NOT NULL,      -- spool file, and the offset there after this chunk
    source_end INTEGER NOT NULL,
    at         INTEGER NOT NULL,      -- when its last byte was written, or found by the shipper
    crc        INTEGER NOT NULL,      -- CRC-32 of the log up to the end of this chunk
    data       BLOB NOT NULL
);
-- The table keeps the order of arrival: a chunk is appended, never sorted in. The index is the
-- fence: of two shippers that continue one log at the same offset, one is refused.
CREATE UNIQUE INDEX log_chunk_start_idx ON log_chunk (run_id, attempt, start);

-- Chunks of a log that has ended, many in one compressed row (blocks.py). The blocks of a log
-- come before its chunks: compaction goes from its beginning to its end.
CREATE TABLE log_block (
    run_id  TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    start   INTEGER NOT NULL,
    line    INTEGER NOT NULL,
    lines   INTEGER NOT NULL,
    size    INTEGER NOT NULL,         -- bytes of the log in it
    at      INTEGER NOT NULL,         -- of its last chunk
    data    BLOB NOT NULL
);
CREATE UNIQUE INDEX log_block_start_idx ON log_block (run_id, attempt, start);

-- The final record of a log. Nothing is appended to a log that has one.
CREATE TABLE log_end (
    run_id     TEXT NOT NULL,
    attempt    INTEGER NOT NULL,
    size       INTEGER NOT NULL,
    lines      INTEGER NOT NULL,
    crc        INTEGER NOT NULL,
    missing    TEXT,
    holes      TEXT,                  -- JSON list of offset and size
    ended_at   INTEGER NOT NULL,
    loose      INTEGER NOT NULL,      -- 1: compaction is worth it, and not done
    deleted_at INTEGER,               -- by the retention; this record of it stays
    PRIMARY KEY (run_id, attempt)
) WITHOUT ROWID;
CREATE INDEX log_end_loose_idx ON log_end (run_id, attempt) WHERE loose = 1;
CREATE INDEX log_end_age_idx ON log_end (ended_at, run_id, attempt) WHERE deleted_at IS NULL;

-- What is to be deleted: done in small steps, each from the end of a log backwards.
CREATE TABLE log_deletion (
    run_id  TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    forget  INTEGER NOT NULL,         -- 1: the record of its end goes too
    PRIMARY KEY (run_id, attempt)
) WITHOUT ROWID;

-- Who is looking: the shipper sends at once what somebody watches. `until` is microseconds.
CREATE TABLE log_watch (
    run_id TEXT PRIMARY KEY NOT NULL,
    until  INTEGER NOT NULL
) WITHOUT ROWID;

-- The move of this store: one row with `leads` = 'away' where it is moved from here, one with 'here'
-- where it is moved to here (store/moving.py); as in the other file: no transaction spans both.
CREATE TABLE move (
    leads     TEXT PRIMARY KEY NOT NULL,
    move_id   TEXT NOT NULL,           -- the same on both sides
    state     TEXT NOT NULL,           -- leaving, left; arriving, arrived
    other     TEXT NOT NULL,           -- the address of the other store, without its password
    runs      INTEGER NOT NULL DEFAULT 0,
    attempts  INTEGER NOT NULL DEFAULT 0,
    log_bytes INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
