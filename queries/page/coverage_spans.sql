-- What was seen and lost, node by node, in each span of time?
-- params: since, until, seconds
-- columns: cluster, node (VARCHAR), minute (TIMESTAMP, the span's start), expected, covered (DOUBLE, seconds of the span in which the node's flows were expected, and seen), flows, lost (BIGINT)
WITH spans AS (
    SELECT unnest(
        generate_series($since::TIMESTAMP, $until::TIMESTAMP - INTERVAL 1 SECOND, to_seconds($seconds::INTEGER))
    ) AS minute
),

known AS (
    SELECT
        cluster,
        node,
        since AS start,
        CASE
            WHEN gone > 0 THEN gone
            -- The last seconds of a stream need no proof yet, and minutes are written down a little later.
            WHEN max(noted) OVER () - proved < 45 THEN booked
            ELSE max(noted) OVER ()
        END AS finish
    FROM node_states
),

amounts AS (
    SELECT
        cluster,
        node,
        time_bucket(to_seconds($seconds::INTEGER), minute, $since::TIMESTAMP) AS minute,
        (sum(connected_ms) + sum(recovered_ms)) / 1000 AS covered,
        sum(flows)::BIGINT AS flows,
        sum(lost_perf + lost_queue + lost_ring + lost_other + lost_own + lost_unreported)::BIGINT AS lost
    FROM coverage
    WHERE minute >= $since::TIMESTAMP AND minute < $until::TIMESTAMP
    GROUP BY cluster, node, time_bucket(to_seconds($seconds::INTEGER), minute, $since::TIMESTAMP)
)

SELECT
    cluster,
    node,
    minute,
    least(finish, epoch(minute) + $seconds::INTEGER) - greatest(start, epoch(minute)) AS expected,
    coalesce(covered, 0) AS covered,
    coalesce(flows, 0) AS flows,
    coalesce(lost, 0) AS lost
FROM known
CROSS JOIN spans
LEFT JOIN amounts USING (cluster, node, minute)
WHERE least(finish, epoch(minute) + $seconds::INTEGER) > greatest(start, epoch(minute))
ORDER BY cluster, node, minute
