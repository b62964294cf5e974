-- Three tables for one run: `run` is what was asked for, written once when it is enqueued; `live`
-- is narrow and small, holds only runs that have not ended, and is what workers hammer; `ended` is
-- how it ended, written once. Measured against other layouts: docs/decisions/0001-table-layout.md.
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
    concurrency_limit INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX run_task_idx ON run (task, run_id);

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
    progress          TEXT,
    usage             TEXT,               -- of the attempt so far
    paused            TEXT                -- why the attempt is paused
) WITHOUT ROWID;
CREATE INDEX live_claim_idx ON live (queue, task, shared, priority DESC, run_id)
    WHERE state = 'queued' AND blocked = 0;
CREATE INDEX live_due_idx ON live (due_at) WHERE state = 'scheduled';
CREATE INDEX live_worker_idx ON live (worker_id) WHERE state = 'running';
CREATE UNIQUE INDEX live_dedupe_idx ON live (dedupe_key) WHERE dedupe_key IS NOT NULL;
CREATE INDEX live_key_idx ON live (concurrency_key, state, blocked, priority DESC, run_id)
    WHERE concurrency_key IS NOT NULL;

-- The last attempt of an ended run stands in its row here: most runs have one attempt only, and
-- to end them is one insert. `outcome` is NULL when the run ended without one: cancelled while it
-- waited.
CREATE TABLE ended (
    run_id      TEXT PRIMARY KEY NOT NULL,
    state       TEXT NOT NULL,
    failures    INTEGER NOT NULL,
    crashes     INTEGER NOT NULL,
    result      TEXT,
    error       TEXT,
    attempt     INTEGER NOT NULL,
    outcome     TEXT,
    worker_id   TEXT,
    started_at  INTEGER,
    finished_at INTEGER NOT NULL,
    cpu_ms      INTEGER,
    peak_rss    INTEGER,
    logged      INTEGER,
    certificate TEXT,
    usage       TEXT
) WITHOUT ROWID;
CREATE INDEX ended_badly_idx ON ended (state, run_id) WHERE state <> 'succeeded';

-- The attempts before the last one of an ended run, and all that a live run has behind it.
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
    usage       TEXT,
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
    death      TEXT,
    trouble    TEXT
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

-- The pairs of queue and task that runs were ever enqueued to: claims look there, and only there.
CREATE TABLE lane (
    queue TEXT NOT NULL,
    task  TEXT NOT NULL,
    PRIMARY KEY (queue, task)
) WITHOUT ROWID;
CREATE INDEX lane_task_idx ON lane (task);

-- One statement enqueues a run: whoever does so waits for it.
CREATE VIEW new_run AS
SELECT r.run_id, r.task, r.queue, r.priority, r.arguments, r.options, r.created_at, r.due_at,
       r.concurrency_key, r.concurrency_limit, l.state, l.shared
FROM run r JOIN live l ON l.run_id = r.run_id;
CREATE TRIGGER new_run_insert INSTEAD OF INSERT ON new_run
BEGIN
    INSERT INTO run (run_id, task, queue, priority, arguments, options, created_at, due_at,
                     concurrency_key, concurrency_limit)
    VALUES (new.run_id, new.task, new.queue, new.priority, new.arguments, new.options,
            new.created_at, new.due_at, new.concurrency_key, new.concurrency_limit);
    INSERT INTO live (run_id, task, queue, priority, state, due_at, shared,
                      concurrency_key, concurrency_limit)
    VALUES (new.run_id, new.task, new.queue, new.priority, new.state, new.due_at, new.shared,
            new.concurrency_key, new.concurrency_limit);
END;

-- The move of this store: one row with `leads` = 'away' where it is moved from here, one with 'here'
-- where it is moved to here (store/moving.py). What has come so far is counted here.
CREATE TABLE move (
    leads     TEXT PRIMARY KEY NOT NULL,
    move_id   TEXT NOT NULL,           -- the same on both sides
    state     TEXT NOT NULL,           -- leaving, left; arriving, arrived
    other     TEXT NOT NULL,           -- the address of the other store, without its password
    runs      INTEGER NOT NULL DEFAULT 0,
    attempts  INTEGER NOT NULL DEFAULT 0,
    log_bytes INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- One row for every run with everything people ask of it; the order of columns is RunRecord's.
CREATE VIEW run_view AS
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
FROM run r LEFT JOIN live l ON l.run_id = r.run_id LEFT JOIN ended e ON e.run_id = r.run_id;

CREATE VIEW attempt_view AS
SELECT run_id, attempt, outcome, worker_id, started_at, finished_at, cpu_ms, peak_rss, logged,
       certificate, usage
FROM attempt
UNION ALL
SELECT run_id, attempt, outcome, worker_id, started_at, finished_at, cpu_ms, peak_rss, logged,
       certificate, usage
FROM ended WHERE outcome IS NOT NULL;
