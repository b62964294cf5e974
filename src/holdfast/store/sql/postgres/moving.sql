-- name: columns_of
SELECT column_name FROM information_schema.columns
WHERE table_schema = 'holdfast' AND table_name = :name ORDER BY ordinal_position LIMIT 100

-- name: gates
SELECT t.tgname, c.relname
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'holdfast' AND t.tgname LIKE 'closed!_%' ESCAPE '!'
ORDER BY t.tgname LIMIT 1000
