-- All flows of a short window, the oldest first, for `flowwatch export`; people want `flows`.
-- params: since, until
-- columns: cluster (VARCHAR, empty where flows do not say), the rest as the view flow_log
SELECT
    CASE WHEN contains(flow_log.node, '/') THEN split_part(flow_log.node, '/', 1) ELSE '' END AS cluster,
    flow_log.*
FROM flow_log
WHERE flow_log.time >= $since AND flow_log.time < $until
ORDER BY flow_log.time
