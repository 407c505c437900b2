-- What was seen and lost, node by node and minute by minute, the newest first?
-- params: since, until, limit, skip
-- columns: cluster, node (VARCHAR), minute (TIMESTAMP, its start), covered (DOUBLE, seconds of it in which nothing was missed), recovered (DOUBLE, seconds of these whose flows came later), flows, lost, lost_false (BIGINT)
SELECT
    cluster,
    node,
    minute,
    least((sum(connected_ms) + sum(recovered_ms)) / 1000, 60) AS covered,
    least(sum(recovered_ms) / 1000, 60) AS recovered,
    sum(flows)::BIGINT AS flows,
    sum(lost_perf + lost_queue + lost_ring + lost_other + lost_own + lost_unreported)::BIGINT AS lost,
    sum(lost_false)::BIGINT AS lost_false
FROM coverage
WHERE minute >= $since - INTERVAL 1 MINUTE AND minute < $until
GROUP BY cluster, node, minute
ORDER BY minute DESC, cluster, node
LIMIT $limit
OFFSET $skip
