-- name: newest_run
-- Ids begin with the time: whoever enqueues changes this. It is one look at the end of an index.
SELECT run_id FROM @run ORDER BY run_id DESC LIMIT 1
