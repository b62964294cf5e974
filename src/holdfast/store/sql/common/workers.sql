-- name: register_worker
INSERT INTO @worker (worker_id, state, beat, host, host_id, boot_id, pid, pid_start, version,
                    queues, executors, started_at, seen_at)
VALUES (:worker_id, 0, 0, :host, :host_id, :boot_id, :pid, :pid_start, :version,
        :queues, :executors, :now, :now)

-- name: register_worker_task
INSERT INTO @worker_task (worker_id, task, shared) VALUES (:worker_id, :task, :shared)

-- name: beat
-- 0 rows: others hold this worker for dead.
UPDATE @worker SET beat = beat + 1, seen_at = :now WHERE worker_id = :worker_id AND state < 2

-- name: living_worker
SELECT worker_id FROM @worker WHERE worker_id = :worker_id AND state < 2

-- name: set_worker_state
UPDATE @worker SET state = :state, seen_at = :now WHERE worker_id = :worker_id AND state < :state

-- name: set_trouble
UPDATE @worker SET trouble = :trouble WHERE worker_id = :worker_id

-- name: declare_dead
-- Only if the beat still stands where the observer saw it stand.
UPDATE @worker SET state = 3, death = :death
WHERE worker_id = :worker_id AND beat = :beat AND state < 2

-- name: list_workers
SELECT worker_id, state, beat, host, host_id, boot_id, pid, pid_start, version, queues,
       executors, started_at, seen_at, death, trouble
FROM @worker WHERE state < :below ORDER BY worker_id DESC LIMIT :limit

-- name: worker_by_id
SELECT worker_id, state, beat, host, host_id, boot_id, pid, pid_start, version, queues,
       executors, started_at, seen_at, death, trouble
FROM @worker WHERE worker_id = :worker_id

-- name: gone_workers_with_leases
SELECT w.worker_id, w.state, w.beat, w.host, w.host_id, w.boot_id, w.pid, w.pid_start, w.version,
       w.queues, w.executors, w.started_at, w.seen_at, w.death, w.trouble
FROM @worker w
WHERE w.state >= 2
  AND EXISTS (SELECT 1 FROM @live l WHERE l.worker_id = w.worker_id AND l.state = 'running')
ORDER BY w.worker_id LIMIT :limit

-- name: workers_with_task
SELECT t.worker_id FROM @worker_task t JOIN @worker w ON w.worker_id = t.worker_id
WHERE t.task = :task AND w.state = 0 ORDER BY t.worker_id LIMIT 100

-- name: task_names
SELECT DISTINCT t.task, t.shared FROM @worker_task t JOIN @worker w ON w.worker_id = t.worker_id
WHERE w.state = 0 ORDER BY t.task LIMIT :limit

-- name: forgettable_workers
SELECT w.worker_id FROM @worker w WHERE w.state >= 2 AND w.seen_at < :before
  AND NOT EXISTS (SELECT 1 FROM @live l
                  WHERE l.worker_id = w.worker_id AND l.state = 'running')
ORDER BY w.worker_id LIMIT :limit

-- name: delete_worker
DELETE FROM @worker WHERE worker_id = :worker_id

-- name: delete_worker_tasks
DELETE FROM @worker_task WHERE worker_id = :worker_id
