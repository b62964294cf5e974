-- Three tables for one run: `run` is what was asked for, written once when it is enqueued; `live`
-- is narrow and small, holds only runs that have not ended, and is what workers hammer; `ended` is
-- how it ended, written once. Measured against other layouts: docs/decisions/0001-table-layout.md.
-- The names of states are those of core/states.py; times are microseconds since 1970, UTC.

CREATE TABLE @run (
    run_id            TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    task              TEXT COLLATE "C" NOT NULL,
    queue             TEXT COLLATE "C" NOT NULL,
    priority          INTEGER NOT NULL,
    arguments         TEXT NOT NULL,
    options           TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    due_at            BIGINT,
    dedupe_key        TEXT COLLATE "C",
    concurrency_key   TEXT COLLATE "C",
    concurrency_limit INTEGER NOT NULL
);
CREATE INDEX run_task_idx ON @run (task, run_id);

CREATE TABLE @live (
    run_id            TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    task              TEXT COLLATE "C" NOT NULL,
    queue             TEXT COLLATE "C" NOT NULL,
    priority          INTEGER NOT NULL,
    state             TEXT NOT NULL,
    blocked           INTEGER NOT NULL DEFAULT 0,
    due_at            BIGINT,
    attempt           INTEGER NOT NULL DEFAULT 0,
    failures          INTEGER NOT NULL DEFAULT 0,
    crashes           INTEGER NOT NULL DEFAULT 0,
    losses            INTEGER NOT NULL DEFAULT 0,
    shared            INTEGER NOT NULL,   -- may share its executor with others
    dedupe_key        TEXT COLLATE "C",
    concurrency_key   TEXT COLLATE "C",
    concurrency_limit INTEGER NOT NULL,
    worker_id         TEXT COLLATE "C",
    claimed_at        BIGINT,
    cancel_by         TEXT,
    progress          TEXT,
    usage             TEXT,               -- of the attempt so far
    paused            TEXT                -- why the attempt is paused
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX live_claim_idx ON @live (queue, task, shared, priority DESC, run_id)
    WHERE state = 'queued' AND blocked = 0;
CREATE INDEX live_due_idx ON @live (due_at) WHERE state = 'scheduled';
CREATE INDEX live_worker_idx ON @live (worker_id) WHERE state = 'running';
CREATE UNIQUE INDEX live_dedupe_idx ON @live (dedupe_key) WHERE dedupe_key IS NOT NULL;
CREATE INDEX live_key_idx ON @live (concurrency_key, state, blocked, priority DESC, run_id)
    WHERE concurrency_key IS NOT NULL;

-- The last attempt of an ended run stands in its row here: most runs have one attempt only, and
-- to end them is one insert. `outcome` is NULL when the run ended without one: cancelled while it
-- waited.
CREATE TABLE @ended (
    run_id      TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    state       TEXT NOT NULL,
    failures    INTEGER NOT NULL,
    crashes     INTEGER NOT NULL,
    result      TEXT,
    error       TEXT,
    attempt     INTEGER NOT NULL,
    outcome     TEXT,
    worker_id   TEXT COLLATE "C",
    started_at  BIGINT,
    finished_at BIGINT NOT NULL,
    cpu_ms      BIGINT,
    peak_rss    BIGINT,
    logged      INTEGER,
    certificate TEXT,
    usage       TEXT
);
CREATE INDEX ended_badly_idx ON @ended (state, run_id) WHERE state <> 'succeeded';

-- The attempts before the last one of an ended run, and all that a live run has behind it.
CREATE TABLE @attempt (
    run_id      TEXT COLLATE "C" NOT NULL,
    attempt     INTEGER NOT NULL,
    outcome     TEXT NOT NULL,
    worker_id   TEXT COLLATE "C" NOT NULL,
    started_at  BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    cpu_ms      BIGINT,
    peak_rss    BIGINT,
    logged      INTEGER NOT NULL,
    certificate TEXT,
    usage       TEXT,
    PRIMARY KEY (run_id, attempt)
);

CREATE TABLE @worker (
    worker_id  TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    state      INTEGER NOT NULL,
    beat       BIGINT NOT NULL,
    host       TEXT NOT NULL,
    host_id    TEXT NOT NULL,
    boot_id    TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    pid_start  BIGINT NOT NULL,
    version    TEXT NOT NULL,
    queues     TEXT NOT NULL,
    executors  INTEGER NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    death      TEXT,
    trouble    TEXT
);

-- What each worker can carry out; `shared` says that an executor may run several of it at once.
CREATE TABLE @worker_task (
    worker_id TEXT COLLATE "C" NOT NULL,
    task      TEXT COLLATE "C" NOT NULL,
    shared    INTEGER NOT NULL,
    PRIMARY KEY (worker_id, task)
);

CREATE TABLE @queue (
    name      TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    paused_by TEXT,
    paused_at BIGINT,
    reason    TEXT
);

-- The pairs of queue and task that runs were ever enqueued to: claims look there, and only there.
CREATE TABLE @lane (
    queue TEXT COLLATE "C" NOT NULL,
    task  TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (queue, task)
);
CREATE INDEX lane_task_idx ON @lane (task);

-- The move of this store: one row with `leads` = 'away' where it is moved from here, one with 'here'
-- where it is moved to here (store/moving.py). What has come so far is counted here.
CREATE TABLE @move (
    leads     TEXT PRIMARY KEY NOT NULL,
    move_id   TEXT NOT NULL,           -- the same on both sides
    state     TEXT NOT NULL,           -- leaving, left; arriving, arrived
    other     TEXT NOT NULL,           -- the address of the other store, without its password
    runs      BIGINT NOT NULL DEFAULT 0,
    attempts  BIGINT NOT NULL DEFAULT 0,
    log_bytes BIGINT NOT NULL DEFAULT 0
);

-- One row for every run with everything people ask of it; the order of columns is RunRecord's.
CREATE VIEW @run_view AS
SELECT r.run_id, r.task, r.queue, r.priority,
       COALESCE(l.state, e.state) AS state,
       r.arguments, r.options, r.created_at,
       COALESCE(l.due_at, r.due_at) AS due_at,
       COALESCE(l.attempt, e.attempt) AS attempt,
       COALESCE(l.failures, e.failures) AS failures,
       COALESCE(l.crashes, e.crashes) AS crashes,
       r.dedupe_key, r.concurrency_key, r.concurrency_limit,
       COALESCE(l.blocked, 0) AS blocked,
       l.worker_id, l.claimed_at, l.cancel_by, l.progress, l.usage,
       l.paused,       e.finished_at, e.result, e.error
FROM @run r LEFT JOIN @live l ON l.run_id = r.run_id LEFT JOIN @ended e ON e.run_id = r.run_id;

CREATE VIEW @attempt_view AS
SELECT run_id, attempt, outcome, worker_id, started_at, finished_at, cpu_ms, peak_rss, logged,
       certificate, usage
FROM @attempt
UNION ALL
SELECT run_id, attempt, outcome, worker_id, started_at, finished_at, cpu_ms, peak_rss, logged,
       certificate, usage
FROM @ended WHERE outcome IS NOT NULL;

-- Logs live in a file of their own: SQLite has one writer per file, and shipping a flood of
-- output must not make an enqueue wait. While a log grows, rows are only ever inserted.

CREATE TABLE @log_chunk (
    run_id     TEXT COLLATE "C" NOT NULL,
    attempt    INTEGER NOT NULL,
    start      BIGINT NOT NULL,      -- offset of the first byte in the log of the attempt
    line       BIGINT NOT NULL,      -- newlines before it
    lines      INTEGER NOT NULL,      -- newlines in it
    stream     INTEGER NOT NULL,
    source     INTEGER NOT NULL,      -- spool file, and the offset there after this chunk
    source_end BIGINT NOT NULL,
    at         BIGINT NOT NULL,      -- when its last byte was written, or found by the shipper
    crc        BIGINT NOT NULL,      -- CRC-32 of the log up to the end of this chunk
    data       BYTEA NOT NULL
);
-- The table keeps the order of arrival: a chunk is appended, never sorted in. The index is the
-- fence: of two shippers that continue one log at the same offset, one is refused.
CREATE UNIQUE INDEX log_chunk_start_idx ON @log_chunk (run_id, attempt, start);

-- Chunks of a log that has ended, many in one compressed row (blocks.py). The blocks of a log
-- come before its chunks: compaction goes from its beginning to its end.
CREATE TABLE @log_block (
    run_id  TEXT COLLATE "C" NOT NULL,
    attempt INTEGER NOT NULL,
    start   BIGINT NOT NULL,
    line    BIGINT NOT NULL,
    lines   INTEGER NOT NULL,
    size    BIGINT NOT NULL,         -- bytes of the log in it
    at      BIGINT NOT NULL,         -- of its last chunk
    data    BYTEA NOT NULL
);
CREATE UNIQUE INDEX log_block_start_idx ON @log_block (run_id, attempt, start);

-- The final record of a log. Nothing is appended to a log that has one.
CREATE TABLE @log_end (
    run_id     TEXT COLLATE "C" NOT NULL,
    attempt    INTEGER NOT NULL,
    size       BIGINT NOT NULL,
    lines      BIGINT NOT NULL,
    crc        BIGINT NOT NULL,
    missing    TEXT,
    holes      TEXT,                  -- JSON list of offset and size
    ended_at   BIGINT NOT NULL,
    loose      INTEGER NOT NULL,      -- 1: compaction is worth it, and not done
    deleted_at BIGINT,               -- by the retention; this record of it stays
    PRIMARY KEY (run_id, attempt)
);
CREATE INDEX log_end_loose_idx ON @log_end (run_id, attempt) WHERE loose = 1;
CREATE INDEX log_end_age_idx ON @log_end (ended_at, run_id, attempt) WHERE deleted_at IS NULL;

-- What is to be deleted: done in small steps, each from the end of a log backwards.
CREATE TABLE @log_deletion (
    run_id  TEXT COLLATE "C" NOT NULL,
    attempt INTEGER NOT NULL,
    forget  INTEGER NOT NULL,         -- 1: the record of its end goes too
    PRIMARY KEY (run_id, attempt)
);

-- Who is looking: the shipper sends at once what somebody watches. `until` is microseconds.
CREATE TABLE @log_watch (
    run_id TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    until  BIGINT NOT NULL
);
