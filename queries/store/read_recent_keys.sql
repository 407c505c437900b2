-- Read back the keys of the newest flows, after a restart.
-- columns: node, time (nanoseconds), high, low
SELECT node, time, high, low FROM recent_keys ORDER BY node, time
