-- name: lock_schema
SELECT pg_advisory_xact_lock(5209471038)

-- name: create_schema
CREATE SCHEMA IF NOT EXISTS holdfast
