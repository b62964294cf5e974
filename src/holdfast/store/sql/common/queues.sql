-- name: insert_queue
INSERT INTO @queue (name) VALUES (:name) ON CONFLICT DO NOTHING

-- name: insert_lane
INSERT INTO @lane (queue, task) VALUES (:queue, :task) ON CONFLICT DO NOTHING

-- name: lanes_of_queue
SELECT n.task, s.shared FROM @lane n CROSS JOIN (SELECT 0 AS shared UNION ALL SELECT 1) s
WHERE n.queue = :queue ORDER BY n.task, s.shared LIMIT 10000

-- name: queue_by_name
SELECT name, paused_by, paused_at, reason FROM @queue WHERE name = :name

-- name: list_queues
SELECT name, paused_by, paused_at, reason FROM @queue ORDER BY name LIMIT 1000

-- name: count_live
SELECT queue, state, COUNT(*) FROM @live GROUP BY queue, state ORDER BY queue LIMIT 3000

-- name: pause_queue
UPDATE @queue SET paused_by = :by, paused_at = :now, reason = :reason
WHERE name = :name AND paused_at IS NULL

-- name: resume_queue
UPDATE @queue SET paused_by = NULL, paused_at = NULL, reason = NULL
WHERE name = :name AND paused_at IS NOT NULL

-- name: waiting_before
-- Two ranges of the claim index, so that it reads no more than it counts.
SELECT COUNT(*) FROM (
    SELECT 1 FROM @live
    WHERE state = 'queued' AND blocked = 0 AND queue = :queue AND task = :task
      AND shared = :shared AND priority > :priority
    UNION ALL
    SELECT 1 FROM @live
    WHERE state = 'queued' AND blocked = 0 AND queue = :queue AND task = :task
      AND shared = :shared AND priority = :priority AND run_id < :run_id
    LIMIT :limit) AS ahead
