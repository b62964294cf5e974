-- name: append_chunk
INSERT INTO @log_chunk (run_id, attempt, start, line, lines, stream, source, source_end, at, crc,
                       data)
SELECT :run_id, :attempt, :start, :line, :lines, :stream, :source, :source_end, :at, :crc, :data
FROM DUAL
WHERE NOT EXISTS (SELECT 1 FROM @log_end WHERE run_id = :run_id AND attempt = :attempt)

-- name: watch
INSERT INTO @log_watch (run_id, until) VALUES (:run_id, :until)
ON DUPLICATE KEY UPDATE until = :until

-- name: forget_run
INSERT INTO @log_deletion (run_id, attempt, forget)
SELECT run_id, attempt, 1 FROM (
    SELECT run_id, attempt FROM @log_chunk WHERE run_id = :run_id
    UNION SELECT run_id, attempt FROM @log_block WHERE run_id = :run_id
    UNION SELECT run_id, attempt FROM @log_end WHERE run_id = :run_id
) AS found ON DUPLICATE KEY UPDATE forget = 1
