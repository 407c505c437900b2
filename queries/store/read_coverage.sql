-- Read back the newest coverage after a restart: by minute for three hours, by hour for eight days before.
-- columns: cluster, node, start (DOUBLE, seconds, start of the minute or hour), covered (DOUBLE, seconds), flows, lost (BIGINT)
WITH border AS (
    SELECT date_trunc('hour', max(minute) - INTERVAL 3 HOUR) AS hour FROM coverage
)

SELECT
    cluster,
    node,
    epoch(CASE WHEN minute < border.hour THEN date_trunc('hour', minute) ELSE minute END) AS start,
    (sum(connected_ms) + sum(recovered_ms)) / 1000 AS covered,
    sum(flows)::BIGINT AS flows,
    sum(lost_perf + lost_queue + lost_ring + lost_other + lost_own + lost_unreported)::BIGINT AS lost
FROM coverage, border
WHERE minute >= border.hour - INTERVAL 8 DAY
GROUP BY ALL
ORDER BY start
