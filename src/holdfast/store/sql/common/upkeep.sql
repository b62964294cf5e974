-- name: loose_logs
-- Ended logs whose chunks are not all in blocks; an index holds only those.
SELECT run_id, attempt FROM @log_end WHERE loose = 1 ORDER BY run_id, attempt LIMIT :limit

-- name: chunk_sizes
SELECT LENGTH(data) FROM @log_chunk
WHERE run_id = :run_id AND attempt = :attempt ORDER BY start LIMIT :limit

-- name: insert_block
INSERT INTO @log_block (run_id, attempt, start, line, lines, size, at, data)
VALUES (:run_id, :attempt, :start, :line, :lines, :size, :at, :data)

-- name: delete_chunks_between
DELETE FROM @log_chunk
WHERE run_id = :run_id AND attempt = :attempt AND start >= :first AND start <= :last

-- name: mark_compact
UPDATE @log_end SET loose = 0 WHERE run_id = :run_id AND attempt = :attempt

-- name: deletions
SELECT run_id, attempt, forget FROM @log_deletion ORDER BY run_id, attempt LIMIT :limit

-- name: ask_deletion
INSERT INTO @log_deletion (run_id, attempt, forget) VALUES (:run_id, :attempt, 0)
ON CONFLICT DO NOTHING

-- name: chunk_from_end
SELECT start FROM @log_chunk
WHERE run_id = :run_id AND attempt = :attempt ORDER BY start DESC LIMIT 1 OFFSET :skip

-- name: block_from_end
SELECT start FROM @log_block
WHERE run_id = :run_id AND attempt = :attempt ORDER BY start DESC LIMIT 1 OFFSET :skip

-- name: delete_chunks_from
DELETE FROM @log_chunk WHERE run_id = :run_id AND attempt = :attempt AND start >= :first

-- name: delete_blocks_from
DELETE FROM @log_block WHERE run_id = :run_id AND attempt = :attempt AND start >= :first

-- name: delete_log_end
DELETE FROM @log_end WHERE run_id = :run_id AND attempt = :attempt

-- name: end_deletion
DELETE FROM @log_deletion WHERE run_id = :run_id AND attempt = :attempt

-- name: oldest_logs
-- After a place in this order; an index holds those that are not deleted.
SELECT ended_at, run_id, attempt FROM @log_end
WHERE deleted_at IS NULL AND ended_at < :before
    AND (ended_at, run_id, attempt) > (:ended_at, :run_id, :attempt)
ORDER BY ended_at, run_id, attempt LIMIT :limit

-- name: stored_size
SELECT (SELECT COALESCE(SUM(LENGTH(data)), 0) FROM @log_chunk
        WHERE run_id = :run_id AND attempt = :attempt)
    + (SELECT COALESCE(SUM(LENGTH(data)), 0) FROM @log_block
        WHERE run_id = :run_id AND attempt = :attempt)

-- name: mark_deleted
UPDATE @log_end SET deleted_at = :now, loose = 0
WHERE run_id = :run_id AND attempt = :attempt AND deleted_at IS NULL

-- name: log_bytes
-- What the logs hold; a server's own figures do not shrink when rows are deleted.
SELECT (SELECT COALESCE(SUM(LENGTH(data)), 0) FROM @log_chunk)
    + (SELECT COALESCE(SUM(LENGTH(data)), 0) FROM @log_block)

-- name: pages
-- Of a file: how many hold something, and how many are free. A server looks after its own.
SELECT 0, 0

-- name: give_back_page
SELECT 1

-- name: dead_rows
-- Dead and living rows of the live table, where dead ones are in the way of claims.
SELECT 0, 0
