-- name: waiting_before
SELECT COUNT(*) FROM (
    SELECT 1 FROM @live
    WHERE state = 'queued' AND blocked = 0 AND queue = :queue AND task = :task
      AND shared = :shared AND turn < -(:priority)
    UNION ALL
    SELECT 1 FROM @live
    WHERE state = 'queued' AND blocked = 0 AND queue = :queue AND task = :task
      AND shared = :shared AND turn = -(:priority) AND run_id < :run_id
    LIMIT :limit) AS ahead
