-- What did we see, minute by minute? For the strip of coverage beside a graph, and for joining with anything that has a time.
-- params: since, until
-- columns: minute (TIMESTAMP, its start), cluster, node (VARCHAR), covered (DOUBLE, seconds of the minute: connected or recovered), flows, lost (BIGINT), lost_false (BIGINT)
SELECT
    minute,
    cluster,
    node,
    least((sum(connected_ms) + sum(recovered_ms)) / 1000, 60) AS covered,
    sum(flows)::BIGINT AS flows,
    sum(lost_perf + lost_queue + lost_ring + lost_other + lost_own + lost_unreported)::BIGINT AS lost,
    sum(lost_false)::BIGINT AS lost_false
FROM coverage
WHERE minute >= date_trunc('minute', $since::TIMESTAMP) AND minute < $until::TIMESTAMP
GROUP BY minute, cluster, node
ORDER BY minute, cluster, node
