-- name: ring
SELECT pg_notify('holdfast', '')

-- name: ring_alone
-- Its commit need not wait for the disk: there is nothing to be kept.
SELECT set_config('synchronous_commit', 'off', true), pg_notify('holdfast', '')

-- name: newest_run
-- Ids begin with the time: whoever enqueues changes this. It is one look at the end of an index.
SELECT run_id FROM @run ORDER BY run_id DESC LIMIT 1
