-- name: begin_move
-- Of two that begin at once, the first one counts.
INSERT INTO @move (leads, move_id, state, other) VALUES (:leads, :move_id, :state, :other)
ON CONFLICT DO NOTHING

-- name: move
SELECT move_id, state, other, runs, attempts, log_bytes FROM @move WHERE leads = :leads

-- name: step_move
UPDATE @move SET state = :state
WHERE leads = :leads AND move_id = :move_id AND state = :before

-- name: end_batch
UPDATE @move SET state = 'arriving', runs = runs + :runs, attempts = attempts + :attempts,
                log_bytes = log_bytes + :log_bytes
WHERE leads = 'here' AND move_id = :move_id

-- name: give_up_move
DELETE FROM @move WHERE leads = 'away' AND state = 'leaving'
