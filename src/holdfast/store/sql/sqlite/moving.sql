-- name: columns_of
SELECT name FROM pragma_table_info(:name) ORDER BY cid LIMIT 100

-- name: gates
SELECT name, tbl_name FROM sqlite_schema
WHERE type = 'trigger' AND name LIKE 'closed!_%' ESCAPE '!' ORDER BY name LIMIT 1000
