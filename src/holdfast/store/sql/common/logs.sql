-- name: append_chunk
INSERT INTO log_chunk (run_id, attempt, start, line, lines, stream, source, source_end, at, crc,
                       data)
VALUES (:run_id, :attempt, :start, :line, :lines, :stream, :source, :source_end, :at, :crc,
        :data)

-- name: log_position
-- Where the stored log ends: bytes, lines, checksum.
SELECT start + LENGTH(data), line + lines, crc FROM log_chunk
WHERE run_id = :run_id AND attempt = :attempt ORDER BY start DESC LIMIT 1

-- name: source_ends
SELECT source, MAX(source_end) FROM log_chunk
WHERE run_id = :run_id AND attempt = :attempt GROUP BY source ORDER BY source LIMIT 10

-- name: chunk_at
SELECT start FROM log_chunk
WHERE run_id = :run_id AND attempt = :attempt AND start <= :offset ORDER BY start DESC LIMIT 1

-- name: chunks_from
SELECT start, line, lines, stream, source, source_end, at, crc, data FROM log_chunk
WHERE run_id = :run_id AND attempt = :attempt AND start >= :first ORDER BY start LIMIT :limit

-- name: end_log
INSERT INTO log_end (run_id, attempt, size, lines, crc, missing)
VALUES (:run_id, :attempt, :size, :lines, :crc, :missing) ON CONFLICT DO NOTHING

-- name: log_end
SELECT size, lines, crc, missing FROM log_end WHERE run_id = :run_id AND attempt = :attempt

-- name: watch
INSERT INTO log_watch (run_id, until) VALUES (:run_id, :until)
ON CONFLICT (run_id) DO UPDATE SET until = excluded.until

-- name: watched
SELECT run_id FROM log_watch WHERE until > :now ORDER BY run_id LIMIT 10000

-- name: forget_watches
DELETE FROM log_watch WHERE until <= :now

-- name: delete_chunks
DELETE FROM log_chunk WHERE run_id = :run_id

-- name: delete_log_ends
DELETE FROM log_end WHERE run_id = :run_id
