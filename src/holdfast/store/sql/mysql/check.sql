-- name: durability
-- What only one of the servers knows stands in a comment that only that one reads.
SELECT @@innodb_flush_log_at_trx_commit, @@innodb_doublewrite, @@log_bin, @@sync_binlog,
       @@binlog_format, /*M! @@wsrep_on */ /*!80000 COALESCE((
           SELECT MAX(variable_value) FROM performance_schema.global_variables
           WHERE variable_name = 'wsrep_on'), 0) */
