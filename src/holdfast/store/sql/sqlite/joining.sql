-- name: place
-- A store that is only attached does not count: no commit spans two files in WAL mode.
SELECT file FROM pragma_database_list WHERE name = 'main'
