-- name: lock_schema
-- It belongs to the connection, and goes with it at the end of `migrate.apply`.
SELECT GET_LOCK(CONCAT('holdfast.', DATABASE()), 20)

-- name: create_schema_migration
CREATE TABLE IF NOT EXISTS @schema_migration (
    version    INT NOT NULL,
    name       TEXT NOT NULL,
    applied_at BIGINT NOT NULL,
    PRIMARY KEY (version)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC
