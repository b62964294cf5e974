-- name: claim_candidates
-- In the order of the index, so that the cost does not grow with the queue.
SELECT l.run_id, l.attempt + 1, l.task, l.queue, r.arguments, r.options,
       l.failures, l.crashes, l.losses, l.shared, l.concurrency_key, :now,
       l.concurrency_limit, l.priority
FROM live l JOIN run r ON r.run_id = l.run_id
WHERE l.state = 'queued' AND l.blocked = 0 AND l.queue = :queue AND l.shared = :shared
  AND EXISTS (SELECT 1 FROM worker_task t
              WHERE t.worker_id = :worker_id AND t.task = l.task)
ORDER BY l.priority DESC, l.run_id LIMIT :limit

-- name: claim
-- The attempt is counted here, so that a run that kills its worker cannot loop for ever.
UPDATE live SET state = 'running', attempt = attempt + 1, worker_id = :worker_id,
                claimed_at = :now
WHERE run_id = :run_id AND state = 'queued'

-- name: running_with_key
SELECT COUNT(*) FROM live WHERE concurrency_key = :concurrency_key AND state = 'running'

-- name: block_key
-- Out of the claim index until a slot of the key is free: a thousand runs of one busy key
-- cost the claim nothing, and hide no other run from it.
UPDATE live SET blocked = 1
WHERE state = 'queued' AND blocked = 0 AND run_id IN (
    SELECT run_id FROM (
        SELECT run_id FROM live
        WHERE concurrency_key = :concurrency_key AND state = 'queued' AND blocked = 0
        ORDER BY priority DESC, run_id LIMIT :limit) AS some)

-- name: blocked_with_key
-- Not one of a paused queue: it would keep the slot from the others without using it.
SELECT run_id FROM live
WHERE concurrency_key = :concurrency_key AND state = 'queued' AND blocked = 1
  AND NOT EXISTS (SELECT 1 FROM queue q
                  WHERE q.name = live.queue AND q.paused_at IS NOT NULL)
ORDER BY priority DESC, run_id LIMIT 1

-- name: unblock
UPDATE live SET blocked = 0 WHERE run_id = :run_id

-- name: keys_with_blocked
SELECT concurrency_key, MAX(concurrency_limit) FROM live
WHERE concurrency_key IS NOT NULL AND state = 'queued' AND blocked = 1
GROUP BY concurrency_key ORDER BY concurrency_key LIMIT :limit

-- name: end_live
-- The guarded write: only the holder of the lease ends the run.
DELETE FROM live WHERE run_id = :run_id AND attempt = :attempt AND state = 'running'

-- name: return_live
-- The run goes back to wait, unless somebody asked to cancel it meanwhile.
UPDATE live SET state = :state, due_at = :due_at, failures = :failures, crashes = :crashes,
                losses = :losses, shared = :shared, worker_id = NULL, claimed_at = NULL,
                progress = NULL
WHERE run_id = :run_id AND attempt = :attempt AND state = 'running' AND cancel_by IS NULL

-- name: insert_attempt
INSERT INTO attempt (run_id, attempt, outcome, worker_id, started_at, finished_at, cpu_ms,
                     peak_rss, logged, certificate)
VALUES (:run_id, :attempt, :outcome, :worker_id, :started_at, :finished_at, :cpu_ms,
        :peak_rss, :logged, :certificate)

-- name: ending_of_attempt
SELECT worker_id, outcome, finished_at FROM attempt WHERE run_id = :run_id AND attempt = :attempt

-- name: cancel_of_running
SELECT cancel_by FROM live WHERE run_id = :run_id AND attempt = :attempt AND state = 'running'

-- name: cancel_requests
SELECT run_id, attempt, cancel_by FROM live
WHERE worker_id = :worker_id AND state = 'running' AND cancel_by IS NOT NULL

-- name: held_by_worker
SELECT l.run_id, l.attempt, l.task, l.queue, '', r.options, l.failures, l.crashes, l.losses,
       l.shared, l.concurrency_key, l.claimed_at
FROM live l JOIN run r ON r.run_id = l.run_id
WHERE l.worker_id = :worker_id AND l.state = 'running' ORDER BY l.run_id LIMIT :limit

-- name: set_progress
UPDATE live SET progress = :progress
WHERE run_id = :run_id AND attempt = :attempt AND state = 'running'
