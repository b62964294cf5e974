-- name: chunk_sizes
SELECT size FROM @log_chunk
WHERE run_id = :run_id AND attempt = :attempt ORDER BY start LIMIT :limit

-- name: oldest_logs
-- The first condition on the time is for the index: it follows from the one on the place.
SELECT ended_at, run_id, attempt FROM @log_end
WHERE deleted_at IS NULL AND ended_at < :before AND ended_at >= :ended_at
    AND (ended_at, run_id, attempt) > (:ended_at, :run_id, :attempt)
ORDER BY ended_at, run_id, attempt LIMIT :limit

-- name: stored_size
SELECT (SELECT COALESCE(SUM(size), 0) FROM @log_chunk
        WHERE run_id = :run_id AND attempt = :attempt)
    + (SELECT COALESCE(SUM(stored), 0) FROM @log_block
        WHERE run_id = :run_id AND attempt = :attempt)

-- name: log_bytes
SELECT (SELECT COALESCE(SUM(size), 0) FROM @log_chunk)
    + (SELECT COALESCE(SUM(stored), 0) FROM @log_block)
