-- name: claim_heads
SELECT priority, run_id FROM @live FORCE INDEX (live_claim_idx)
WHERE state = 'queued' AND blocked = 0 AND queue = :queue AND task = :task AND shared = :shared
ORDER BY turn, run_id LIMIT :limit

-- name: claim_candidates
-- Rows that others are taking just now are passed over. Only this index gives them in their
-- order: any other way would lock every row that it has to sort.
SELECT l.run_id, l.attempt + 1, l.task, l.queue, r.arguments, r.options,
       l.failures, l.crashes, l.losses, l.shared, l.concurrency_key, :now,
       l.concurrency_limit, l.priority
FROM @live l FORCE INDEX (live_claim_idx) STRAIGHT_JOIN @run r ON r.run_id = l.run_id
WHERE l.state = 'queued' AND l.blocked = 0 AND l.queue = :queue AND l.task = :task
  AND l.shared = :shared
ORDER BY l.turn, l.run_id LIMIT :limit FOR UPDATE /*!80001 OF l */ SKIP LOCKED

-- name: lock_key
-- Who counts the running ones of a key counts alone: the row stays locked until the commit. Keys
-- share a thousand of them, so that they do not pile up.
INSERT INTO @key_lock (slot) VALUES (CRC32(:concurrency_key) % 1024)
ON DUPLICATE KEY UPDATE slot = slot

-- name: try_key
SELECT 1 FROM @key_lock WHERE slot = CRC32(:concurrency_key) % 1024 FOR UPDATE SKIP LOCKED

-- name: key_is_known
SELECT 1 FROM @key_lock WHERE slot = CRC32(:concurrency_key) % 1024

-- name: first_of_key
-- What others are claiming just now is passed over. Found without a lock, and locked by their ids
-- alone: the server keeps the lock of an entry in an index whose row it passes over, and whoever
-- has the row would wait for that.
SELECT l.run_id FROM (
    SELECT run_id FROM @live FORCE INDEX (live_key_idx)
    WHERE concurrency_key = :concurrency_key AND state = 'queued' AND blocked = 0
    ORDER BY turn, run_id LIMIT :limit) AS first_ones
STRAIGHT_JOIN @live l FORCE INDEX (PRIMARY) ON l.run_id = first_ones.run_id
WHERE l.state = 'queued' AND l.blocked = 0
ORDER BY l.run_id LIMIT :limit FOR UPDATE /*!80001 OF l */ SKIP LOCKED

-- name: block_all
UPDATE @live FORCE INDEX (PRIMARY) SET blocked = 1 WHERE run_id IN :run_ids

-- name: blocked_with_key
-- Two that end at once hand on to two runs.
SELECT l.run_id FROM @live l FORCE INDEX (live_key_idx)
WHERE l.concurrency_key = :concurrency_key AND l.state = 'queued' AND l.blocked = 1
  AND NOT EXISTS (SELECT 1 FROM @queue q
                  WHERE q.name = l.queue AND q.paused_at IS NOT NULL)
ORDER BY l.turn, l.run_id LIMIT 1 FOR UPDATE /*!80001 OF l */ SKIP LOCKED

-- name: next_key_with_blocked
SELECT l.concurrency_key, l.concurrency_limit,
       (SELECT COUNT(*) FROM @live r
        WHERE r.concurrency_key = l.concurrency_key AND r.state = 'running')
FROM @live l FORCE INDEX (live_key_idx)
WHERE l.concurrency_key > :after AND l.state = 'queued' AND l.blocked = 1
  AND NOT EXISTS (SELECT 1 FROM @queue q
                  WHERE q.name = l.queue AND q.paused_at IS NOT NULL)
ORDER BY l.concurrency_key, l.state, l.blocked, l.turn, l.run_id LIMIT 1
