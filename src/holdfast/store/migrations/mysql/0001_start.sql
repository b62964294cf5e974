-- Three tables for one run: `run` is what was asked for, written once when it is enqueued; `live`
-- is narrow and small, holds only runs that have not ended, and is what workers hammer; `ended` is
-- how it ended, written once. Measured against other layouts: docs/decisions/0001-table-layout.md.
-- The names of states are those of core/states.py; times are microseconds since 1970, UTC.
--
-- Every CREATE commits by itself here: a step that was cut off is carried out again, so each
-- statement can be repeated. Texts differ when their bytes do, also by a blank at the end: that
-- collation has one name on MariaDB and another on MySQL. InnoDB adds the primary key to every
-- other index, so none of them names it again.

CREATE TABLE IF NOT EXISTS @run (
    run_id            VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    task              VARCHAR(200) NOT NULL,
    queue             VARCHAR(200) NOT NULL,
    priority          INT NOT NULL,
    arguments         MEDIUMTEXT NOT NULL,
    options           MEDIUMTEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    due_at            BIGINT,
    dedupe_key        VARCHAR(200),
    concurrency_key   VARCHAR(200),
    concurrency_limit INT NOT NULL,
    PRIMARY KEY (run_id),
    INDEX run_task_idx (task)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4
    /*M! COLLATE=utf8mb4_nopad_bin */ /*!80017 COLLATE=utf8mb4_0900_bin */;

-- There are no indexes of some rows only. The claim index begins with what makes a run claimable;
-- the index of due runs has NULL for all others, and does not change when they do.
CREATE TABLE IF NOT EXISTS @live (
    run_id            VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    task              VARCHAR(200) NOT NULL,
    queue             VARCHAR(200) NOT NULL,
    priority          INT NOT NULL,
    state             VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    blocked           TINYINT NOT NULL DEFAULT 0,
    due_at            BIGINT,
    attempt           INT NOT NULL DEFAULT 0,
    failures          INT NOT NULL DEFAULT 0,
    crashes           INT NOT NULL DEFAULT 0,
    losses            INT NOT NULL DEFAULT 0,
    shared            TINYINT NOT NULL,     -- may share its executor with others
    dedupe_key        VARCHAR(200),
    concurrency_key   VARCHAR(200),
    concurrency_limit INT NOT NULL,
    worker_id         VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin,
    claimed_at        BIGINT,
    cancel_by         TEXT,
    progress          MEDIUMTEXT,
    usage             MEDIUMTEXT,           -- of the attempt so far
    paused            TEXT,                 -- why the attempt is paused
    turn              INT AS (-priority) STORED,  -- older servers have no descending indexes
    wakes_at          BIGINT AS (CASE WHEN state = 'scheduled' THEN due_at END) STORED,
    PRIMARY KEY (run_id),
    INDEX live_claim_idx (queue, task, shared, state, blocked, turn),
    INDEX live_due_idx (wakes_at),
    INDEX live_worker_idx (worker_id),
    UNIQUE INDEX live_dedupe_idx (dedupe_key),
    INDEX live_key_idx (concurrency_key, state, blocked, turn)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4
    /*M! COLLATE=utf8mb4_nopad_bin */ /*!80017 COLLATE=utf8mb4_0900_bin */;

-- The last attempt of an ended run stands in its row here: most runs have one attempt only, and
-- to end them is one insert. `outcome` is NULL when the run ended without one: cancelled while it
-- waited.
CREATE TABLE IF NOT EXISTS @ended (
    run_id      VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    state       VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    failures    INT NOT NULL,
    crashes     INT NOT NULL,
    result      MEDIUMTEXT,
    error       MEDIUMTEXT,
    attempt     INT NOT NULL,
    outcome     VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin,
    worker_id   VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin,
    started_at  BIGINT,
    finished_at BIGINT NOT NULL,
    cpu_ms      BIGINT,
    peak_rss    BIGINT,
    logged      TINYINT,
    certificate MEDIUMTEXT,
    usage       MEDIUMTEXT,
    PRIMARY KEY (run_id),
    INDEX ended_state_idx (state)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4
    /*M! COLLATE=utf8mb4_nopad_bin */ /*!80017 COLLATE=utf8mb4_0900_bin */;

-- The attempts before the last one of an ended run, and all that a live run has behind it.
CREATE TABLE IF NOT EXISTS @attempt (
    run_id      VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    attempt     INT NOT NULL,
    outcome     VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    worker_id   VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    started_at  BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    cpu_ms      BIGINT,
    peak_rss    BIGINT,
    logged      TINYINT NOT NULL,
    certificate MEDIUMTEXT,
    usage       MEDIUMTEXT,
    PRIMARY KEY (run_id, attempt)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4
    /*M! COLLATE=utf8mb4_nopad_bin */ /*!80017 COLLATE=utf8mb4_0900_bin */;

CREATE TABLE IF NOT EXISTS @worker (
    worker_id  VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    state      TINYINT NOT NULL,
    beat       BIGINT NOT NULL,
    host       TEXT NOT NULL,
    host_id    TEXT NOT NULL,
    boot_id    TEXT NOT NULL,
    pid        INT NOT NULL,
    pid_start  BIGINT NOT NULL,
    version    TEXT NOT NULL,
    queues     MEDIUMTEXT NOT NULL,
    executors  INT NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at    BIGINT NOT NULL,
    death      MEDIUMTEXT,
    trouble    MEDIUMTEXT,
    PRIMARY KEY (worker_id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4
    /*M! COLLATE=utf8mb4_nopad_bin */ /*!80017 COLLATE=utf8mb4_0900_bin */;

-- What each worker can carry out; `shared` says that an executor may run several of it at once.
CREATE TABLE IF NOT EXISTS @worker_task (
    worker_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    task      VARCHAR(200) NOT NULL,
    shared    TINYINT NOT NULL,
    PRIMARY KEY (worker_id, task)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4
    /*M! COLLATE=utf8mb4_nopad_bin */ /*!80017 COLLATE=utf8mb4_0900_bin */;

CREATE TABLE IF NOT EXISTS @queue (
    name      VARCHAR(200) NOT NULL,
    paused_by TEXT,
    paused_at BIGINT,
    reason    TEXT,
    PRIMARY KEY (name)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4
    /*M! COLLATE=utf8mb4_nopad_bin */ /*!80017 COLLATE=utf8mb4_0900_bin */;

-- The pairs of queue and task that runs were ever enqueued to: claims look there, and only there.
CREATE TABLE IF NOT EXISTS @lane (
    queue VARCHAR(200) NOT NULL,
    task  VARCHAR(200) NOT NULL,
    PRIMARY KEY (queue, task),
    INDEX lane_task_idx (task)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4
    /*M! COLLATE=utf8mb4_nopad_bin */ /*!80017 COLLATE=utf8mb4_0900_bin */;

-- Rows to lock until the end of a transaction, for concurrency keys (the query `lock_key`).
CREATE TABLE IF NOT EXISTS @key_lock (
    slot INT NOT NULL,
    PRIMARY KEY (slot)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;

-- The move of this store: one row with `leads` = 'away' where it is moved from here, one with 'here'
-- where it is moved to here (store/moving.py). What has come so far is counted here.
CREATE TABLE IF NOT EXISTS @move (
    leads     VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    move_id   VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,  -- the same on both sides
    state     VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    other     TEXT NOT NULL,           -- the address of the other store, without its password
    runs      BIGINT NOT NULL DEFAULT 0,
    attempts  BIGINT NOT NULL DEFAULT 0,
    log_bytes BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (leads)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4
    /*M! COLLATE=utf8mb4_nopad_bin */ /*!80017 COLLATE=utf8mb4_0900_bin */;

-- One row for every run with everything people ask of it; the order of columns is RunRecord's.
CREATE OR REPLACE SQL SECURITY INVOKER VIEW @run_view AS
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

CREATE OR REPLACE SQL SECURITY INVOKER VIEW @attempt_view AS
SELECT run_id, attempt, outcome, worker_id, started_at, finished_at, cpu_ms, peak_rss, logged,
       certificate, usage
FROM @attempt
UNION ALL
SELECT run_id, attempt, outcome, worker_id, started_at, finished_at, cpu_ms, peak_rss, logged,
       certificate, usage
FROM @ended WHERE outcome IS NOT NULL;

-- While a log grows, rows are only ever inserted. The primary key is the fence: of two shippers
-- that continue one log at the same offset, one is refused. InnoDB keeps the rows in its order,
-- so a log lies together. `size` is stored, because LENGTH(data) would read all bytes.
CREATE TABLE IF NOT EXISTS @log_chunk (
    run_id     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    attempt    INT NOT NULL,
    start      BIGINT NOT NULL,       -- offset of the first byte in the log of the attempt
    line       BIGINT NOT NULL,       -- newlines before it
    lines      INT NOT NULL,          -- newlines in it
    stream     TINYINT NOT NULL,
    source     INT NOT NULL,          -- spool file, and the offset there after this chunk
    source_end BIGINT NOT NULL,
    at         BIGINT NOT NULL,       -- when its last byte was written, or found by the shipper
    crc        BIGINT NOT NULL,       -- CRC-32 of the log up to the end of this chunk
    data       LONGBLOB NOT NULL,
    size       BIGINT AS (LENGTH(data)) STORED,
    PRIMARY KEY (run_id, attempt, start)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;

-- Chunks of a log that has ended, many in one compressed row (blocks.py). The blocks of a log
-- come before its chunks: compaction goes from its beginning to its end.
CREATE TABLE IF NOT EXISTS @log_block (
    run_id  VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    attempt INT NOT NULL,
    start   BIGINT NOT NULL,
    line    BIGINT NOT NULL,
    lines   INT NOT NULL,
    size    BIGINT NOT NULL,          -- bytes of the log in it
    at      BIGINT NOT NULL,          -- of its last chunk
    data    LONGBLOB NOT NULL,
    stored  BIGINT AS (LENGTH(data)) STORED,
    PRIMARY KEY (run_id, attempt, start)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;

-- The final record of a log. Nothing is appended to a log that has one.
CREATE TABLE IF NOT EXISTS @log_end (
    run_id     VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    attempt    INT NOT NULL,
    size       BIGINT NOT NULL,
    lines      BIGINT NOT NULL,
    crc        BIGINT NOT NULL,
    missing    MEDIUMTEXT,
    holes      MEDIUMTEXT,            -- JSON list of offset and size
    ended_at   BIGINT NOT NULL,
    loose      TINYINT NOT NULL,      -- 1: compaction is worth it, and not done
    deleted_at BIGINT,                -- by the retention; this record of it stays
    PRIMARY KEY (run_id, attempt),
    INDEX log_end_loose_idx (loose),
    INDEX log_end_age_idx (deleted_at, ended_at)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARSET=utf8mb4
    /*M! COLLATE=utf8mb4_nopad_bin */ /*!80017 COLLATE=utf8mb4_0900_bin */;

-- What is to be deleted: done in small steps, each from the end of a log backwards.
CREATE TABLE IF NOT EXISTS @log_deletion (
    run_id  VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    attempt INT NOT NULL,
    forget  TINYINT NOT NULL,         -- 1: the record of its end goes too
    PRIMARY KEY (run_id, attempt)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;

-- Who is looking: the shipper sends at once what somebody watches. `until` is microseconds.
CREATE TABLE IF NOT EXISTS @log_watch (
    run_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    until  BIGINT NOT NULL,
    PRIMARY KEY (run_id)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC;
