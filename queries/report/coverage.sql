-- What did we see, node by node, and what was lost? Time is expected from when a node was first heard of until it left.
-- params: since, until
-- columns: cluster, node (VARCHAR), expected, connected, recovered, missing (DOUBLE, seconds), flows, lost_perf, lost_queue, lost_ring, lost_other, lost_own, lost_unreported, lost_false (BIGINT), gaps (BIGINT, that nothing can fill any more), coverage (DOUBLE, 0…1: share of the expected time that is covered, times share of the events that came), last_flow (TIMESTAMP)
WITH expected AS (
    SELECT
        cluster,
        node,
        greatest(epoch($since::TIMESTAMP), since) AS start,
        least(
            epoch($until::TIMESTAMP),
            CASE
                WHEN gone > 0 THEN gone
                -- The last seconds of a stream need no proof yet, and minutes are written down a little later.
                WHEN max(noted) OVER () - proved < 45 THEN booked
                ELSE max(noted) OVER ()
            END
        ) AS finish,
        make_timestamp((cursor * 1000000)::BIGINT) AS last_flow
    FROM node_states
),

amounts AS (
    SELECT
        cluster,
        node,
        sum(connected_ms) / 1000 AS connected,
        sum(recovered_ms) / 1000 AS recovered,
        sum(flows)::BIGINT AS flows,
        sum(lost_perf)::BIGINT AS lost_perf,
        sum(lost_queue)::BIGINT AS lost_queue,
        sum(lost_ring)::BIGINT AS lost_ring,
        sum(lost_other)::BIGINT AS lost_other,
        sum(lost_own)::BIGINT AS lost_own,
        sum(lost_unreported)::BIGINT AS lost_unreported,
        sum(lost_false)::BIGINT AS lost_false
    FROM coverage
    WHERE minute >= date_trunc('minute', $since::TIMESTAMP) AND minute < $until::TIMESTAMP
    GROUP BY cluster, node
),

holes AS (
    SELECT cluster, node, count(*) AS gaps
    FROM gaps
    WHERE until > $since::TIMESTAMP AND since < $until::TIMESTAMP
    GROUP BY cluster, node
)

SELECT
    cluster,
    node,
    round(finish - start, 3) AS expected,
    coalesce(connected, 0) AS connected,
    coalesce(recovered, 0) AS recovered,
    round(greatest(finish - start - coalesce(connected, 0) - coalesce(recovered, 0), 0), 3) AS missing,
    coalesce(flows, 0) AS flows,
    coalesce(lost_perf, 0) AS lost_perf,
    coalesce(lost_queue, 0) AS lost_queue,
    coalesce(lost_ring, 0) AS lost_ring,
    coalesce(lost_other, 0) AS lost_other,
    coalesce(lost_own, 0) AS lost_own,
    coalesce(lost_unreported, 0) AS lost_unreported,
    coalesce(lost_false, 0) AS lost_false,
    coalesce(holes.gaps, 0) AS gaps,
    least((coalesce(connected, 0) + coalesce(recovered, 0)) / greatest(finish - start, 0.001), 1)
    * coalesce(
        flows / nullif(flows + lost_perf + lost_queue + lost_ring + lost_other + lost_own + lost_unreported, 0), 1
    ) AS coverage,
    last_flow
FROM expected
LEFT JOIN amounts USING (cluster, node)
LEFT JOIN holes USING (cluster, node)
WHERE finish > start
ORDER BY coverage, cluster, node
