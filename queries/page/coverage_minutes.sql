-- What was seen and lost, node by node and minute by minute, the newest first?
-- params: since, until, limit, skip
-- columns: node (VARCHAR), minute (TIMESTAMP, its start), flows, lost (BIGINT), streaming (BOOLEAN), coverage (DOUBLE, 0…1; 0 where the node did not stream)
WITH minutes AS (
    SELECT
        node,
        minute,
        sum(flows)::BIGINT AS flows,
        sum(lost_perf + lost_queue + lost_ring + lost_other)::BIGINT AS lost,
        bool_and(streaming) AS streaming
    FROM coverage
    WHERE minute >= $since - INTERVAL 1 MINUTE AND minute < $until
    GROUP BY node, minute
)

SELECT
    node,
    minute,
    flows,
    lost,
    streaming,
    CASE WHEN NOT streaming THEN 0.0 WHEN lost = 0 THEN 1.0 ELSE flows / (flows + lost) END AS coverage
FROM minutes
ORDER BY minute DESC, node
LIMIT $limit
OFFSET $skip
