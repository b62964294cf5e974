-- name: insert_run
-- A repeated id changes nothing: the answer to the first try may have been lost.
INSERT INTO @run (run_id, task, queue, priority, arguments, options, created_at, due_at,
                 dedupe_key, concurrency_key, concurrency_limit)
VALUES (:run_id, :task, :queue, :priority, :arguments, :options, :created_at, :due_at,
        :dedupe_key, :concurrency_key, :concurrency_limit)
ON CONFLICT DO NOTHING

-- name: insert_live
INSERT INTO @live (run_id, task, queue, priority, state, due_at, shared,
                  dedupe_key, concurrency_key, concurrency_limit)
VALUES (:run_id, :task, :queue, :priority, :state, :due_at, :shared,
        :dedupe_key, :concurrency_key, :concurrency_limit)

-- name: live_run_with_dedupe_key
SELECT run_id FROM @live WHERE dedupe_key = :dedupe_key

-- name: live_run_with_dedupe_key_now
-- Asked when it was taken a moment ago: a transaction that has looked before may not see that.
SELECT run_id FROM @live WHERE dedupe_key = :dedupe_key

-- name: is_enqueued
SELECT 1 FROM @run WHERE run_id = :run_id

-- name: enqueued_before
-- Asked when the id was found to be there.
SELECT task, arguments FROM @run WHERE run_id = :run_id

-- name: promote_candidates
SELECT run_id FROM @live
WHERE state = 'scheduled' AND due_at <= :now ORDER BY due_at LIMIT :limit

-- name: promote
UPDATE @live SET state = 'queued' WHERE run_id = :run_id AND state = 'scheduled'

-- name: next_due
SELECT MIN(due_at) FROM @live WHERE state = 'scheduled'

-- name: run_by_id
SELECT * FROM @run_view WHERE run_id = :run_id

-- name: ids_with_prefix
SELECT run_id FROM @run WHERE run_id >= :low AND run_id < :high ORDER BY run_id LIMIT 5

-- name: ids_with_ending
-- People copy the end of an id too: only the newest runs are searched for it.
SELECT run_id FROM (SELECT run_id FROM @run ORDER BY run_id DESC LIMIT 10000) AS newest
WHERE run_id LIKE :pattern LIMIT 5

-- name: list_runs
SELECT * FROM @run_view
WHERE run_id < :before AND run_id >= :since
  AND (:queue IS NULL OR queue = :queue) AND (:error IS NULL OR error LIKE :error ESCAPE '!')
ORDER BY run_id DESC LIMIT :limit

-- name: list_runs_of_task
SELECT * FROM @run_view
WHERE task = :task AND run_id < :before AND run_id >= :since
  AND (:state IS NULL OR state = :state)
  AND (:queue IS NULL OR queue = :queue) AND (:error IS NULL OR error LIKE :error ESCAPE '!')
ORDER BY run_id DESC LIMIT :limit

-- name: list_live_runs
SELECT v.* FROM @live l JOIN @run_view v ON v.run_id = l.run_id
WHERE l.state = :state AND l.run_id < :before AND l.run_id >= :since
  AND (:queue IS NULL OR l.queue = :queue) AND (:error IS NULL OR v.error LIKE :error ESCAPE '!')
ORDER BY l.run_id DESC LIMIT :limit

-- name: list_succeeded_runs
SELECT v.* FROM @ended e JOIN @run_view v ON v.run_id = e.run_id
WHERE e.state = :state AND e.run_id < :before AND e.run_id >= :since
  AND (:queue IS NULL OR v.queue = :queue) AND (:error IS NULL OR e.error LIKE :error ESCAPE '!')
ORDER BY e.run_id DESC LIMIT :limit

-- name: list_badly_ended_runs
-- `state <> 'succeeded'` names the index: a parameter alone could be anything.
SELECT v.* FROM @ended e JOIN @run_view v ON v.run_id = e.run_id
WHERE e.state = :state AND e.state <> 'succeeded' AND e.run_id < :before AND e.run_id >= :since
  AND (:queue IS NULL OR v.queue = :queue) AND (:error IS NULL OR e.error LIKE :error ESCAPE '!')
ORDER BY e.run_id DESC LIMIT :limit

-- name: attempts_of_run
SELECT run_id, attempt, outcome, worker_id, started_at, finished_at, cpu_ms, peak_rss, logged,
       certificate, usage
FROM @attempt_view WHERE run_id = :run_id ORDER BY attempt

-- name: runs_with_key
SELECT run_id FROM @live
WHERE concurrency_key = :concurrency_key AND state = 'running' ORDER BY run_id LIMIT :limit

-- name: cancel_waiting
DELETE FROM @live WHERE run_id = :run_id AND state IN ('queued', 'scheduled')

-- name: request_cancel
UPDATE @live SET cancel_by = :by WHERE run_id = :run_id AND state = 'running' AND cancel_by IS NULL

-- name: end_run
INSERT INTO @ended (run_id, state, failures, crashes, result, error, attempt, outcome, worker_id,
                   started_at, finished_at, cpu_ms, peak_rss, logged, certificate, usage)
VALUES (:run_id, :state, :failures, :crashes, :result, :error, :attempt, :outcome, :worker_id,
        :started_at, :finished_at, :cpu_ms, :peak_rss, :logged, :certificate, :usage)

-- name: end_succeeded
-- The same for most of them. It names no column that stays NULL: SQLite's driver takes as long for
-- one NULL as for five numbers.
INSERT INTO @ended (run_id, state, failures, crashes, result, attempt, outcome, worker_id,
                   started_at, finished_at, cpu_ms, logged)
VALUES (:run_id, 'succeeded', :failures, :crashes, :result, :attempt, 'succeeded', :worker_id,
        :started_at, :finished_at, :cpu_ms, :logged)

-- name: end_unstarted
INSERT INTO @ended (run_id, state, failures, crashes, error, attempt, finished_at)
VALUES (:run_id, :state, :failures, :crashes, :error, :attempt, :now)

-- name: keep_last_attempt
INSERT INTO @attempt (run_id, attempt, outcome, worker_id, started_at, finished_at, cpu_ms,
                     peak_rss, logged, certificate, usage)
SELECT run_id, attempt, outcome, worker_id, started_at, finished_at, cpu_ms, peak_rss, logged,
       certificate, usage
FROM @ended WHERE run_id = :run_id AND outcome IS NOT NULL

-- name: change_options
UPDATE @run SET options = :options WHERE run_id = :run_id

-- name: reinsert_live
-- The attempt number goes on where it stopped: it is the fence and never used twice. The run
-- takes its dedupe key back, unless another run holds it by now.
INSERT INTO @live (run_id, task, queue, priority, state, attempt, shared, dedupe_key,
                  concurrency_key, concurrency_limit)
SELECT r.run_id, r.task, r.queue, r.priority, 'queued', e.attempt, 0,
       CASE WHEN EXISTS (SELECT 1 FROM @live l WHERE l.dedupe_key = r.dedupe_key)
            THEN NULL ELSE r.dedupe_key END,
       r.concurrency_key, r.concurrency_limit
FROM @run r JOIN @ended e ON e.run_id = r.run_id WHERE r.run_id = :run_id

-- name: ended_before
SELECT run_id FROM @ended
WHERE run_id < :oldest AND finished_at < :before
  AND (CASE WHEN state = 'succeeded' THEN 1 ELSE 0 END) = :succeeded
ORDER BY run_id LIMIT :limit

-- name: ended_from
SELECT run_id, state, finished_at FROM @ended WHERE run_id > :after ORDER BY run_id LIMIT :limit

-- name: is_live
SELECT 1 FROM @live WHERE run_id = :run_id

-- name: delete_attempts
DELETE FROM @attempt WHERE run_id = :run_id

-- name: delete_ended
DELETE FROM @ended WHERE run_id = :run_id

-- name: delete_run
DELETE FROM @run WHERE run_id = :run_id
