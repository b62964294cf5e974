-- name: claim_across
-- Find and take in one statement, from all lanes of a worker that lives: one round trip. How many of
-- each lane are among the first of all is looked up before, unless there is one lane alone: only what
-- is taken gets locked. Runs with a concurrency key are only found. What others are taking just now is
-- passed over. By an array, as with a list of ids: whatever the planner may think of the number of
-- rows, it goes by the index.
WITH lanes AS MATERIALIZED (
    SELECT n.queue, n.task, k.shared, k.most, COUNT(*) OVER (PARTITION BY k.shared) AS rivals
    FROM @worker w JOIN @worker_task t ON t.worker_id = w.worker_id
    JOIN @lane n ON n.task = t.task JOIN @queue q ON q.name = n.queue
    JOIN unnest(:kinds::int[], :counts::bigint[]) AS k (shared, most) ON k.shared <= t.shared
    WHERE w.worker_id = :worker_id AND w.state < 2 AND q.paused_at IS NULL
      AND ('*' = ANY (:queues::text[]) OR q.name = ANY (:queues::text[]))),
heads AS (
    SELECT l.queue, l.task, l.shared, l.most, ROW_NUMBER() OVER (
        PARTITION BY l.shared ORDER BY h.priority DESC, h.run_id) AS place
    FROM lanes l CROSS JOIN LATERAL (
        SELECT priority, run_id FROM @live
        WHERE state = 'queued' AND blocked = 0 AND queue = l.queue AND task = l.task
          AND shared = l.shared
        ORDER BY priority DESC, run_id LIMIT l.most) h
    WHERE l.rivals > 1),
shares AS (
    SELECT queue, task, shared, most AS share FROM lanes WHERE rivals = 1
    UNION ALL
    SELECT queue, task, shared, COUNT(*) FROM heads WHERE place <= most
    GROUP BY queue, task, shared),
found AS MATERIALIZED (
    SELECT s.queue, s.task, s.shared, f.*
    FROM shares s CROSS JOIN LATERAL (
        SELECT l.run_id, l.attempt, l.failures, l.crashes, l.losses, l.concurrency_key,
               l.concurrency_limit, l.priority, r.arguments, r.options
        FROM @live l JOIN @run r ON r.run_id = l.run_id
        WHERE l.state = 'queued' AND l.blocked = 0 AND l.queue = s.queue AND l.task = s.task
          AND l.shared = s.shared
        ORDER BY l.priority DESC, l.run_id LIMIT s.share FOR UPDATE OF l SKIP LOCKED) f),
weighed AS (
    SELECT f.*, SUM(OCTET_LENGTH(f.arguments)) OVER (
        ORDER BY f.shared, f.priority DESC, f.run_id ROWS UNBOUNDED PRECEDING
    ) - OCTET_LENGTH(f.arguments) AS before
    FROM found f),
taken AS (
    UPDATE @live SET state = 'running', attempt = attempt + 1, worker_id = :worker_id,
                     claimed_at = :now::bigint
    WHERE run_id = ANY (ARRAY(
        SELECT run_id FROM weighed WHERE before < :budget AND concurrency_key IS NULL)))
SELECT run_id, attempt + 1, task, queue, arguments, options, failures, crashes, losses,
       shared, concurrency_key, :now::bigint, concurrency_limit, priority
FROM weighed WHERE before < :budget ORDER BY shared, priority DESC, run_id

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
