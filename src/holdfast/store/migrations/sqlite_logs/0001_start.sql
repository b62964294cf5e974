-- Logs live in a file of their own: SQLite has one writer per file, and shipping a flood of
-- output must not make an enqueue wait. Rows are only ever inserted.

CREATE TABLE log_chunk (
    run_id     TEXT NOT NULL,
    attempt    INTEGER NOT NULL,
    start      INTEGER NOT NULL,      -- offset of the first byte in the log of the attempt
    line       INTEGER NOT NULL,      -- newlines before it
    lines      INTEGER NOT NULL,      -- newlines in it
    stream     INTEGER NOT NULL,
    source     INTEGER NOT NULL,      -- spool file, and the offset there after this chunk
    source_end INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    crc        INTEGER NOT NULL,      -- CRC-32 of the log up to the end of this chunk
    data       BLOB NOT NULL
);
-- The table keeps the order of arrival: a chunk is appended, never sorted in. The index is the
-- fence: of two shippers that continue one log at the same offset, one is refused.
CREATE UNIQUE INDEX log_chunk_start_idx ON log_chunk (run_id, attempt, start);

CREATE TABLE log_end (
    run_id  TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    size    INTEGER NOT NULL,
    lines   INTEGER NOT NULL,
    crc     INTEGER NOT NULL,
    missing TEXT,
    PRIMARY KEY (run_id, attempt)
) WITHOUT ROWID;

-- Who is looking: the shipper sends at once what somebody watches. `until` is microseconds.
CREATE TABLE log_watch (
    run_id TEXT PRIMARY KEY NOT NULL,
    until  INTEGER NOT NULL
) WITHOUT ROWID;
