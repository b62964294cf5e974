-- name: log_bytes
SELECT (page_count - freelist_count) * page_size
FROM pragma_page_count, pragma_freelist_count, pragma_page_size

-- name: pages
SELECT page_count - freelist_count, freelist_count FROM pragma_page_count, pragma_freelist_count

-- name: give_back_page
-- One page: the driver takes one step of this statement only, whatever number stands here.
PRAGMA incremental_vacuum(1)
