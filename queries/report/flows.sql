-- The flows themselves, newest first, at most 1000.
-- params: since, until
-- columns: as the view flow_log
SELECT *
FROM flow_log
WHERE time >= $since AND time < $until
ORDER BY time DESC
LIMIT 1000
