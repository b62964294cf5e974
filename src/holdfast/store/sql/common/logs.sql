-- name: append_chunk
-- Not to a log that has ended: its chunks may be in blocks by now, where the index of the chunks
-- refuses nobody who has missed that.
INSERT INTO @log_chunk (run_id, attempt, start, line, lines, stream, source, source_end, at, crc,
                       data)
SELECT :run_id, :attempt, :start, :line, :lines, :stream, :source, :source_end, :at, :crc, :data
WHERE NOT EXISTS (SELECT 1 FROM @log_end WHERE run_id = :run_id AND attempt = :attempt)

-- name: log_position
-- Where the stored log ends: bytes, lines, checksum.
SELECT start + LENGTH(data), line + lines, crc FROM @log_chunk
WHERE run_id = :run_id AND attempt = :attempt ORDER BY start DESC LIMIT 1

-- name: source_ends
SELECT source, MAX(source_end) FROM @log_chunk
WHERE run_id = :run_id AND attempt = :attempt GROUP BY source ORDER BY source LIMIT 10

-- name: row_at
-- The chunk or block that holds a byte, or the last one before it.
SELECT * FROM (
    SELECT * FROM (
        SELECT start, line, lines, size, at, 1 AS is_block FROM @log_block
        WHERE run_id = :run_id AND attempt = :attempt AND start <= :offset
        ORDER BY start DESC LIMIT 1
    ) AS block
    UNION ALL
    SELECT * FROM (
        SELECT start, line, lines, LENGTH(data), at, 0 FROM @log_chunk
        WHERE run_id = :run_id AND attempt = :attempt AND start <= :offset
        ORDER BY start DESC LIMIT 1
    ) AS chunk
) AS found ORDER BY start DESC LIMIT 1

-- name: block
SELECT start, line, lines, size, at, data FROM @log_block
WHERE run_id = :run_id AND attempt = :attempt AND start = :start

-- name: chunks_from
SELECT start, line, lines, stream, source, source_end, at, crc, data FROM @log_chunk
WHERE run_id = :run_id AND attempt = :attempt AND start >= :first ORDER BY start LIMIT :limit

-- name: end_log
-- A short log in one chunk is left as it is: a block of it would be no smaller.
INSERT INTO @log_end (run_id, attempt, size, lines, crc, missing, holes, ended_at, loose)
VALUES (:run_id, :attempt, :size, :lines, :crc, :missing, :holes, :now, CASE WHEN :size > :short OR (
    SELECT COUNT(*) FROM (
        SELECT start FROM @log_chunk
        WHERE run_id = :run_id AND attempt = :attempt ORDER BY start LIMIT 2
    ) AS few
) > 1 THEN 1 ELSE 0 END) ON CONFLICT DO NOTHING

-- name: log_end
SELECT size, lines, crc, missing, holes, deleted_at FROM @log_end
WHERE run_id = :run_id AND attempt = :attempt

-- name: watch
INSERT INTO @log_watch (run_id, until) VALUES (:run_id, :until)
ON CONFLICT (run_id) DO UPDATE SET until = excluded.until

-- name: watched
SELECT run_id FROM @log_watch WHERE until > :now ORDER BY run_id LIMIT 10000

-- name: forget_watches
DELETE FROM @log_watch WHERE until <= :now

-- name: forget_run
-- The attempts that are there now: the run may be retried before they are deleted.
INSERT INTO @log_deletion (run_id, attempt, forget)
SELECT run_id, attempt, 1 FROM (
    SELECT run_id, attempt FROM @log_chunk WHERE run_id = :run_id
    UNION SELECT run_id, attempt FROM @log_block WHERE run_id = :run_id
    UNION SELECT run_id, attempt FROM @log_end WHERE run_id = :run_id
) AS found WHERE TRUE ON CONFLICT (run_id, attempt) DO UPDATE SET forget = 1
