-- Read the cursors back after a restart.
-- columns: source, cluster, node, time (nanoseconds), position
SELECT source, cluster, node, time, position FROM cursors
