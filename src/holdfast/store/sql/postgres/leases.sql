-- name: claim_at_once
-- Find and take in one statement; runs with a concurrency key are only found. What others are taking
-- just now is passed over. By an array, as with a list of ids: whatever the planner may think of
-- the number of rows, it goes by the index.
WITH found AS (
    SELECT l.run_id, l.attempt, l.failures, l.crashes, l.losses, l.concurrency_key,
           l.concurrency_limit, l.priority, r.arguments, r.options
    FROM @live l JOIN @run r ON r.run_id = l.run_id
    WHERE l.state = 'queued' AND l.blocked = 0 AND l.queue = :queue AND l.task = :task
      AND l.shared = :shared
    ORDER BY l.priority DESC, l.run_id LIMIT :limit FOR UPDATE OF l SKIP LOCKED),
weighed AS (
    SELECT f.*, SUM(OCTET_LENGTH(f.arguments)) OVER (
        ORDER BY f.priority DESC, f.run_id ROWS UNBOUNDED PRECEDING
    ) - OCTET_LENGTH(f.arguments) AS before
    FROM found f),
taken AS (
    UPDATE @live SET state = 'running', attempt = attempt + 1, worker_id = :worker_id,
                     claimed_at = :now::bigint
    WHERE run_id = ANY (ARRAY(
        SELECT run_id FROM weighed WHERE before < :budget AND concurrency_key IS NULL)))
SELECT run_id, attempt + 1, :task, :queue, arguments, options, failures, crashes, losses,
       :shared, concurrency_key, :now::bigint, concurrency_limit, priority
FROM weighed WHERE before < :budget ORDER BY priority DESC, run_id

-- name: lock_key
-- Who counts the running ones of a key counts alone.
SELECT pg_advisory_xact_lock(hashtextextended(:concurrency_key, 5209471038))

-- name: try_key
SELECT 1 WHERE pg_try_advisory_xact_lock(hashtextextended(:concurrency_key, 5209471038))

-- name: first_of_key
-- What others are claiming just now is passed over: they may wait for us.
SELECT run_id FROM @live
WHERE concurrency_key = :concurrency_key AND state = 'queued' AND blocked = 0
ORDER BY priority DESC, run_id LIMIT :limit FOR UPDATE SKIP LOCKED

-- name: blocked_with_key
-- Two that end at once hand on to two runs.
SELECT l.run_id FROM @live l
WHERE l.concurrency_key = :concurrency_key AND l.state = 'queued' AND l.blocked = 1
  AND NOT EXISTS (SELECT 1 FROM @queue q
                  WHERE q.name = l.queue AND q.paused_at IS NOT NULL)
ORDER BY l.priority DESC, l.run_id LIMIT 1 FOR UPDATE OF l SKIP LOCKED

-- name: insert_attempt
COPY @attempt (run_id, attempt, outcome, worker_id, started_at, finished_at, cpu_ms, peak_rss,
               logged, certificate, usage) FROM STDIN
