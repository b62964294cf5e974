-- name: dead_rows
SELECT n_dead_tup, n_live_tup FROM pg_stat_all_tables WHERE relid = '@live'::regclass

-- name: vacuum_live
-- Another worker may be at it, and the table keeps its size: it will be filled again.
VACUUM (SKIP_LOCKED, TRUNCATE FALSE, INDEX_CLEANUP ON) @live
