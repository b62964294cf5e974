-- name: lock_schema
-- Of two that migrate at once the second waits; where each transaction that writes does, no more.
SELECT 1

-- name: create_schema
SELECT 1

-- name: schema_version
SELECT COALESCE(MAX(version), 0) FROM @schema_migration

-- name: record_migration
INSERT INTO @schema_migration (version, name, applied_at) VALUES (:version, :name, :now)

-- name: create_schema_migration
CREATE TABLE IF NOT EXISTS @schema_migration (
    version    INTEGER PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL,
    applied_at BIGINT NOT NULL
)
