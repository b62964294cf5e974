-- name: insert
-- What is there already came in a batch whose answer was lost.
INSERT INTO @$table ($columns) VALUES ($values) ON CONFLICT DO NOTHING

-- name: last
-- How far a copy has come that was cut off.
SELECT $key FROM @$table ORDER BY $backwards LIMIT 1

-- name: page
-- What follows a place and shares the first columns of its key: one condition for all of the key
-- would be no range of the index to MariaDB.
SELECT $columns FROM @$table WHERE $same $column > :$column ORDER BY $rest LIMIT :limit

-- name: mark
-- The place until which to count next.
SELECT $first FROM @$table WHERE $first > :after ORDER BY $first LIMIT 1 OFFSET :skip

-- name: count
SELECT COUNT(*) FROM @$table WHERE $first > :after AND $first <= :until

-- name: count_rest
SELECT COUNT(*) FROM @$table WHERE $first > :after
