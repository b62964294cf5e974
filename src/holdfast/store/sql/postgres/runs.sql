-- name: copy_run
COPY @run (run_id, task, queue, priority, arguments, options, created_at, due_at, dedupe_key,
           concurrency_key, concurrency_limit) FROM STDIN

-- name: copy_live
COPY @live (run_id, task, queue, priority, state, due_at, shared, dedupe_key, concurrency_key,
            concurrency_limit) FROM STDIN

-- name: insert_alone
-- One run in one round trip: whoever enqueues waits for it. It may ring the bell as well.
WITH made AS (
    INSERT INTO @run (run_id, task, queue, priority, arguments, options, created_at, due_at,
                      dedupe_key, concurrency_key, concurrency_limit)
    VALUES (:run_id, :task, :queue, :priority, :arguments, :options, :created_at, :due_at,
            NULL, :concurrency_key, :concurrency_limit)
    RETURNING run_id, task, queue, priority, due_at, concurrency_key, concurrency_limit),
waiting AS (
    INSERT INTO @live (run_id, task, queue, priority, state, due_at, shared,
                       concurrency_key, concurrency_limit)
    SELECT run_id, task, queue, priority, :state, due_at, :shared, concurrency_key,
           concurrency_limit
    FROM made)
SELECT pg_notify('holdfast', '') WHERE :rings

-- name: end_run
COPY @ended (run_id, state, failures, crashes, result, error, attempt, outcome, worker_id,
             started_at, finished_at, cpu_ms, peak_rss, logged, certificate, usage) FROM STDIN

-- name: end_succeeded
COPY @ended (run_id, state, failures, crashes, result, attempt, outcome, worker_id, started_at,
             finished_at, cpu_ms, logged) FROM STDIN
