-- name: lanes
-- The pairs of queue and task that this worker may look at, and whether the task may be shared: none
-- when others hold it for dead.
SELECT n.queue, n.task, t.shared
FROM @worker w JOIN @worker_task t ON t.worker_id = w.worker_id
JOIN @lane n ON n.task = t.task JOIN @queue q ON q.name = n.queue
WHERE w.worker_id = :worker_id AND w.state < 2 AND q.paused_at IS NULL
ORDER BY n.queue, n.task LIMIT 10000

-- name: claim_heads
SELECT priority, run_id FROM @live
WHERE state = 'queued' AND blocked = 0 AND queue = :queue AND task = :task AND shared = :shared
ORDER BY priority DESC, run_id LIMIT :limit

-- name: claim_candidates
-- In the order of the index, so that the cost does not grow with the queue.
SELECT l.run_id, l.attempt + 1, l.task, l.queue, r.arguments, r.options,
       l.failures, l.crashes, l.losses, l.shared, l.concurrency_key, :now,
       l.concurrency_limit, l.priority
FROM @live l JOIN @run r ON r.run_id = l.run_id
WHERE l.state = 'queued' AND l.blocked = 0 AND l.queue = :queue AND l.task = :task
  AND l.shared = :shared
ORDER BY l.priority DESC, l.run_id LIMIT :limit

-- name: claim_all
-- What `claim_candidates` has just found. The attempt is counted here, so that a run that kills its
-- worker cannot loop for ever.
UPDATE @live SET state = 'running', attempt = attempt + 1, worker_id = :worker_id,
                claimed_at = :now
WHERE run_id IN :run_ids

-- name: claim
-- One of them alone, where concurrency keys have a say.
UPDATE @live SET state = 'running', attempt = attempt + 1, worker_id = :worker_id,
                claimed_at = :now
WHERE run_id = :run_id AND state = 'queued'

-- name: lock_key
-- Who counts the running ones of a key counts alone, where that is not so for every transaction.
SELECT 1

-- name: try_key
-- The same without waiting: no row when somebody else has it.
SELECT 1

-- name: key_is_known
-- Whether there is anything to lock for a key yet.
SELECT 1

-- name: running_with_key
SELECT COUNT(*) FROM @live WHERE concurrency_key = :concurrency_key AND state = 'running'

-- name: first_of_key
SELECT run_id FROM @live
WHERE concurrency_key = :concurrency_key AND state = 'queued' AND blocked = 0
ORDER BY priority DESC, run_id LIMIT :limit

-- name: block_all
-- Out of the claim index until a slot of the key is free: a thousand runs of one busy key
-- cost the claim nothing, and hide no other run from it. What `first_of_key` has just found.
UPDATE @live SET blocked = 1 WHERE run_id IN :run_ids

-- name: blocked_with_key
-- Not one of a paused queue: it would keep the slot from the others without using it.
SELECT l.run_id FROM @live l
WHERE l.concurrency_key = :concurrency_key AND l.state = 'queued' AND l.blocked = 1
  AND NOT EXISTS (SELECT 1 FROM @queue q
                  WHERE q.name = l.queue AND q.paused_at IS NOT NULL)
ORDER BY l.priority DESC, l.run_id LIMIT 1

-- name: unblock
UPDATE @live SET blocked = 0 WHERE run_id = :run_id

-- name: next_key_with_blocked
-- From key to key by the index, in its order: of a key with a million blocked runs one is read, the
-- one that `blocked_with_key` finds. How many run of the key, and how many may.
SELECT l.concurrency_key, l.concurrency_limit,
       (SELECT COUNT(*) FROM @live r
        WHERE r.concurrency_key = l.concurrency_key AND r.state = 'running')
FROM @live l
WHERE l.concurrency_key > :after AND l.state = 'queued' AND l.blocked = 1
  AND NOT EXISTS (SELECT 1 FROM @queue q
                  WHERE q.name = l.queue AND q.paused_at IS NOT NULL)
ORDER BY l.concurrency_key, l.state, l.blocked, l.priority DESC, l.run_id LIMIT 1

-- name: end_all_live
-- The guarded write: only the holder of the lease ends the run.
DELETE FROM @live WHERE run_id IN :run_ids AND attempt = :attempt AND state = 'running'

-- name: end_live
-- One of them alone.
DELETE FROM @live WHERE run_id = :run_id AND attempt = :attempt AND state = 'running'

-- name: return_live
-- The run goes back to wait, unless somebody asked to cancel it meanwhile.
UPDATE @live SET state = :state, due_at = :due_at, failures = :failures, crashes = :crashes,
                losses = :losses, shared = :shared, worker_id = NULL, claimed_at = NULL,
                progress = NULL, usage = NULL, paused = NULL
WHERE run_id = :run_id AND attempt = :attempt AND state = 'running' AND cancel_by IS NULL

-- name: insert_attempt
INSERT INTO @attempt (run_id, attempt, outcome, worker_id, started_at, finished_at, cpu_ms,
                     peak_rss, logged, certificate, usage)
VALUES (:run_id, :attempt, :outcome, :worker_id, :started_at, :finished_at, :cpu_ms,
        :peak_rss, :logged, :certificate, :usage)

-- name: certificates_of_run
-- The newest first: a run that was released from quarantine has older ones of no concern.
SELECT attempt, certificate FROM @attempt
WHERE run_id = :run_id AND outcome = :outcome AND certificate IS NOT NULL
ORDER BY attempt DESC LIMIT :limit

-- name: ending_of_attempt
SELECT worker_id, outcome, finished_at FROM @attempt_view
WHERE run_id = :run_id AND attempt = :attempt

-- name: cancel_of_running
SELECT cancel_by FROM @live WHERE run_id = :run_id AND attempt = :attempt AND state = 'running'

-- name: cancel_requests
SELECT run_id, attempt, cancel_by FROM @live
WHERE worker_id = :worker_id AND state = 'running' AND cancel_by IS NOT NULL

-- name: held_by_worker
SELECT l.run_id, l.attempt, l.task, l.queue, '', r.options, l.failures, l.crashes, l.losses,
       l.shared, l.concurrency_key, l.claimed_at
FROM @live l JOIN @run r ON r.run_id = l.run_id
WHERE l.worker_id = :worker_id AND l.state = 'running' ORDER BY l.run_id LIMIT :limit

-- name: set_progress
UPDATE @live SET progress = :progress
WHERE run_id = :run_id AND attempt = :attempt AND state = 'running'

-- name: set_paused
UPDATE @live SET paused = :paused
WHERE run_id = :run_id AND attempt = :attempt AND state = 'running'

-- name: set_usage
UPDATE @live SET usage = :usage
WHERE run_id = :run_id AND attempt = :attempt AND state = 'running'

-- name: usages_of_worker
SELECT run_id, attempt, usage FROM @live
WHERE worker_id = :worker_id AND state = 'running' AND usage IS NOT NULL
ORDER BY run_id LIMIT :limit
