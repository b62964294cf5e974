-- name: place
-- No number names a server on both MySQL and MariaDB; no two servers have one folder.
SELECT @@hostname, @@port, @@datadir, DATABASE(),
       @@character_set_client, @@character_set_connection
