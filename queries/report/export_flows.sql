-- All flows of a short window, the oldest first, for `flowwatch export`; people want `flows`.
-- params: since, until
-- columns: as the view flow_log
SELECT flow_log.*
FROM flow_log
WHERE flow_log.time >= $since AND flow_log.time < $until
ORDER BY flow_log.time
