-- What did we see, node by node, and what was lost?
-- params: since, until
-- columns: node (VARCHAR), minutes (BIGINT with a report), streaming_minutes (BIGINT), flows (BIGINT), lost_perf, lost_queue, lost_ring, lost_other (BIGINT), coverage (DOUBLE, received / (received + lost)), last_minute (TIMESTAMP)
WITH minutes AS (
    SELECT
        node,
        minute,
        sum(flows) AS flows,
        sum(lost_perf) AS lost_perf,
        sum(lost_queue) AS lost_queue,
        sum(lost_ring) AS lost_ring,
        sum(lost_other) AS lost_other,
        bool_and(streaming) AS streaming
    FROM coverage
    WHERE minute >= $since - INTERVAL 1 MINUTE AND minute < $until
    GROUP BY node, minute
)

SELECT
    node,
    count(*) AS minutes,
    count(*) FILTER (streaming) AS streaming_minutes,
    sum(flows)::BIGINT AS flows,
    sum(lost_perf)::BIGINT AS lost_perf,
    sum(lost_queue)::BIGINT AS lost_queue,
    sum(lost_ring)::BIGINT AS lost_ring,
    sum(lost_other)::BIGINT AS lost_other,
    sum(flows) / greatest(sum(flows) + sum(lost_perf) + sum(lost_queue) + sum(lost_ring) + sum(lost_other), 1) AS coverage,
    max(minute) AS last_minute
FROM minutes
GROUP BY node
ORDER BY coverage, node
