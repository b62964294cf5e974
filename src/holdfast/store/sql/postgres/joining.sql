-- name: place
SELECT system_identifier, d.oid, d.datname, host(inet_server_addr()), inet_server_port()
FROM pg_control_system(), pg_database d WHERE d.datname = current_database()
