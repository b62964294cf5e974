-- name: insert_run
-- A repeated id changes nothing: the answer to the first try may have been lost.
INSERT INTO run (run_id, task, queue, priority, arguments, options, created_at, due_at,
                 dedupe_key, concurrency_key, concurrency_limit)
VALUES (:run_id, :task, :queue, :priority, :arguments, :options, :now, :due_at,
        :dedupe_key, :concurrency_key, :concurrency_limit)
ON CONFLICT DO NOTHING

-- name: insert_live
INSERT INTO live (run_id, task, queue, priority, state, due_at, shared,
                  dedupe_key, concurrency_key, concurrency_limit)
VALUES (:run_id, :task, :queue, :priority, :state, :due_at, :shared,
        :dedupe_key, :concurrency_key, :concurrency_limit)

-- name: live_run_with_dedupe_key
SELECT run_id FROM live WHERE dedupe_key = :dedupe_key

-- name: promote_candidates
SELECT run_id FROM live
WHERE state = 'scheduled' AND due_at <= :now ORDER BY due_at LIMIT :limit

-- name: promote
UPDATE live SET state = 'queued' WHERE run_id = :run_id AND state = 'scheduled'

-- name: next_due
SELECT MIN(due_at) FROM live WHERE state = 'scheduled'

-- name: run_by_id
SELECT * FROM run_view WHERE run_id = :run_id

-- name: ids_with_prefix
SELECT run_id FROM run WHERE run_id >= :low AND run_id < :high ORDER BY run_id LIMIT 5

-- name: ids_with_ending
-- People copy the end of an id too: only the newest runs are searched for it.
SELECT run_id FROM (SELECT run_id FROM run ORDER BY run_id DESC LIMIT 10000) AS newest
WHERE run_id LIKE :pattern LIMIT 5

-- name: list_runs
SELECT * FROM run_view
WHERE run_id < :before AND run_id >= :since
  AND (:queue IS NULL OR queue = :queue) AND (:error IS NULL OR error LIKE :error)
ORDER BY run_id DESC LIMIT :limit

-- name: list_runs_of_task
SELECT * FROM run_view
WHERE task = :task AND run_id < :before AND run_id >= :since
  AND (:state IS NULL OR state = :state)
  AND (:queue IS NULL OR queue = :queue) AND (:error IS NULL OR error LIKE :error)
ORDER BY run_id DESC LIMIT :limit

-- name: list_live_runs
SELECT v.* FROM live l JOIN run_view v ON v.run_id = l.run_id
WHERE l.state = :state AND l.run_id < :before AND l.run_id >= :since
  AND (:queue IS NULL OR l.queue = :queue) AND (:error IS NULL OR v.error LIKE :error)
ORDER BY l.run_id DESC LIMIT :limit

-- name: list_ended_runs
-- `run.state` is set only for ended runs, so that the index on it can be used.
SELECT v.* FROM run r JOIN run_view v ON v.run_id = r.run_id
WHERE r.state = :state AND r.run_id < :before AND r.run_id >= :since
  AND (:queue IS NULL OR r.queue = :queue) AND (:error IS NULL OR r.error LIKE :error)
ORDER BY r.run_id DESC LIMIT :limit

-- name: attempts_of_run
SELECT run_id, attempt, outcome, worker_id, started_at, finished_at, cpu_ms, peak_rss, logged,
       certificate
FROM attempt WHERE run_id = :run_id ORDER BY attempt

-- name: runs_with_key
SELECT run_id FROM live
WHERE concurrency_key = :concurrency_key AND state = 'running' ORDER BY run_id LIMIT :limit

-- name: cancel_waiting
DELETE FROM live WHERE run_id = :run_id AND state IN ('queued', 'scheduled')

-- name: request_cancel
UPDATE live SET cancel_by = :by WHERE run_id = :run_id AND state = 'running' AND cancel_by IS NULL

-- name: end_run
UPDATE run SET state = :state, attempt = :attempt, failures = :failures, crashes = :crashes,
               finished_at = :now, result = :result, error = :error
WHERE run_id = :run_id

-- name: reopen_run
UPDATE run SET state = NULL, finished_at = NULL, result = NULL, error = NULL, options = :options
WHERE run_id = :run_id AND state = :state

-- name: reinsert_live
-- The attempt number goes on where it stopped: it is the fence and never used twice. The run
-- takes its dedupe key back, unless another run holds it by now.
INSERT INTO live (run_id, task, queue, priority, state, attempt, shared, dedupe_key,
                  concurrency_key, concurrency_limit)
SELECT run_id, task, queue, priority, 'queued', attempt, 0,
       CASE WHEN EXISTS (SELECT 1 FROM live l WHERE l.dedupe_key = run.dedupe_key)
            THEN NULL ELSE dedupe_key END,
       concurrency_key, concurrency_limit
FROM run WHERE run_id = :run_id

-- name: ended_before
SELECT run_id FROM run
WHERE run_id < :oldest AND finished_at < :before
  AND (state = 'succeeded') = :succeeded
ORDER BY run_id LIMIT :limit

-- name: delete_attempts
DELETE FROM attempt WHERE run_id = :run_id

-- name: delete_run
DELETE FROM run WHERE run_id = :run_id AND state IS NOT NULL
