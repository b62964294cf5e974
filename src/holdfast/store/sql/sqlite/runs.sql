-- name: insert_alone
INSERT INTO @new_run (run_id, task, queue, priority, arguments, options, created_at, due_at,
                      concurrency_key, concurrency_limit, state, shared)
VALUES (:run_id, :task, :queue, :priority, :arguments, :options, :created_at, :due_at,
        :concurrency_key, :concurrency_limit, :state, :shared)
