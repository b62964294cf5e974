-- name: durability
-- What is really in force on this connection, for `holdfast check`.
SELECT journal_mode, synchronous FROM pragma_journal_mode, pragma_synchronous
