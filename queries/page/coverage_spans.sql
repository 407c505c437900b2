-- What was seen and lost, node by node, in each span of time? A span in which a node was once not streaming counts as such.
-- params: since, until, seconds
-- columns: node (VARCHAR), minute (TIMESTAMP, the span's start), flows, lost (BIGINT), streaming (BOOLEAN)
SELECT
    node,
    time_bucket(to_seconds($seconds::INTEGER), minute, $since::TIMESTAMP) AS minute,
    sum(flows)::BIGINT AS flows,
    sum(lost_perf + lost_queue + lost_ring + lost_other)::BIGINT AS lost,
    bool_and(streaming) AS streaming
FROM coverage
WHERE minute >= $since AND minute < $until
GROUP BY node, time_bucket(to_seconds($seconds::INTEGER), minute, $since::TIMESTAMP)
ORDER BY node, minute
