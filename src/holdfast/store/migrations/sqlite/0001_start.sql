-- Two tables for one run: `live` is narrow and small, holds only runs that have not ended, and
-- is what workers hammer; `run` is wide, written when a run is enqueued and when it ends, and is
-- what people read. Measured against one wide table and against copying to history at the end:
-- docs/decisions/0001-table-layout.md.
-- The names of states are those of core/states.py; times are microseconds since 1970, UTC.

CREATE TABLE run (
    run_id            TEXT PRIMARY KEY NOT NULL,
    task              TEXT NOT NULL,
    queue             TEXT NOT NULL,
    priority          INTEGER NOT NULL,
    arguments         TEXT NOT NULL,
    options           TEXT NOT NULL,
    created_at        INTEGER NOT NULL,
    due_at            INTEGER,
    dedupe_key        TEXT,
    concurrency_key   TEXT,
    concurrency_limit INTEGER NOT NULL,
    state             TEXT,               -- NULL while the run is in `live`
    attempt           INTEGER,
    failures          INTEGER,
    crashes           INTEGER,
    finished_at       INTEGER,
    result            TEXT,
    error             TEXT
);
CREATE INDEX run_task_idx ON run (task, run_id);
CREATE INDEX run_ended_badly_idx ON run (state, run_id)
    WHERE state IN ('failed', 'cancelled', 'quarantined');

CREATE TABLE live (
    run_id            TEXT PRIMARY KEY NOT NULL,
    task              TEXT NOT NULL,
    queue             TEXT NOT NULL,
    priority          INTEGER NOT NULL,
    state             TEXT NOT NULL,
    blocked           INTEGER NOT NULL DEFAULT 0,
    due_at            INTEGER,
    attempt           INTEGER NOT NULL DEFAULT 0,
    failures          INTEGER NOT NULL DEFAULT 0,
    crashes           INTEGER NOT NULL DEFAULT 0,
    losses            INTEGER NOT NULL DEFAULT 0,
    shared            INTEGER NOT NULL,   -- may share its executor with others
    dedupe_key        TEXT,
    concurrency_key   TEXT,
    concurrency_limit INTEGER NOT NULL,
    worker_id         TEXT,
    claimed_at        INTEGER,
    cancel_by         TEXT,
    progress          TEXT
) WITHOUT ROWID;
CREATE INDEX live_claim_idx ON live (queue, shared, priority DESC, run_id)
    WHERE state = 'queued' AND blocked = 0;
CREATE INDEX live_due_idx ON live (due_at) WHERE state = 'scheduled';
CREATE INDEX live_worker_idx ON live (worker_id) WHERE state = 'running';
CREATE UNIQUE INDEX live_dedupe_idx ON live (dedupe_key) WHERE dedupe_key IS NOT NULL;
CREATE INDEX live_key_idx ON live (concurrency_key, state, blocked, priority DESC, run_id)
    WHERE concurrency_key IS NOT NULL;

CREATE TABLE attempt (
    run_id      TEXT NOT NULL,
    attempt     INTEGER NOT NULL,
    outcome     TEXT NOT NULL,
    worker_id   TEXT NOT NULL,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    cpu_ms      INTEGER,
    peak_rss    INTEGER,
    logged      INTEGER NOT NULL,
    certificate TEXT,
    PRIMARY KEY (run_id, attempt)
) WITHOUT ROWID;

CREATE TABLE worker (
    worker_id  TEXT PRIMARY KEY NOT NULL,
    state      INTEGER NOT NULL,
    beat       INTEGER NOT NULL,
    host       TEXT NOT NULL,
    host_id    TEXT NOT NULL,
    boot_id    TEXT NOT NULL,
    pid        INTEGER NOT NULL,
    pid_start  INTEGER NOT NULL,
    version    TEXT NOT NULL,
    queues     TEXT NOT NULL,
    executors  INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL,
    death      TEXT
);

-- What each worker can carry out; `shared` says that an executor may run several of it at once.
CREATE TABLE worker_task (
    worker_id TEXT NOT NULL,
    task      TEXT NOT NULL,
    shared    INTEGER NOT NULL,
    PRIMARY KEY (worker_id, task)
) WITHOUT ROWID;

CREATE TABLE queue (
    name      TEXT PRIMARY KEY NOT NULL,
    paused_by TEXT,
    paused_at INTEGER,
    reason    TEXT
) WITHOUT ROWID;

-- One row for every run with everything people ask of it; the order of columns is RunRecord's.
CREATE VIEW run_view AS
SELECT r.run_id, r.task, r.queue, r.priority,
       COALESCE(l.state, r.state) AS state,
       r.arguments, r.options, r.created_at,
       COALESCE(l.due_at, r.due_at) AS due_at,
       COALESCE(l.attempt, r.attempt) AS attempt,
       COALESCE(l.failures, r.failures) AS failures,
       COALESCE(l.crashes, r.crashes) AS crashes,
       r.dedupe_key, r.concurrency_key, r.concurrency_limit,
       COALESCE(l.blocked, 0) AS blocked,
       l.worker_id, l.claimed_at, l.cancel_by, l.progress,
       r.finished_at, r.result, r.error
FROM run r LEFT JOIN live l ON l.run_id = r.run_id;
