-- name: live_run_with_dedupe_key_now
-- In a caller's transaction, which shows the rows as they were at its first look, unless they are
-- locked. The INSERT that was refused has this lock already.
SELECT run_id FROM @live WHERE dedupe_key = :dedupe_key LOCK IN SHARE MODE

-- name: enqueued_before
-- The same.
SELECT task, arguments FROM @run WHERE run_id = :run_id LOCK IN SHARE MODE

-- name: promote_candidates
SELECT run_id FROM @live WHERE wakes_at <= :now ORDER BY wakes_at LIMIT :limit

-- name: next_due
SELECT MIN(wakes_at) FROM @live
