-- name: columns_of
-- Without those that the server computes: nothing can be written there.
SELECT column_name FROM information_schema.columns
WHERE table_schema = DATABASE() AND table_name = CONCAT('holdfast_', :name)
  AND COALESCE(generation_expression, '') = ''
ORDER BY ordinal_position LIMIT 100

-- name: gates
SELECT trigger_name, event_object_table FROM information_schema.triggers
WHERE trigger_schema = DATABASE() AND trigger_name LIKE 'closed!_%' ESCAPE '!'
ORDER BY trigger_name LIMIT 1000
