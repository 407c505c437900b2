-- How many distinct edges were seen in each square, in each span of time?
-- params: since, until, seconds
-- columns: start (TIMESTAMP), square (VARCHAR), edges (BIGINT)
WITH seen AS (
    SELECT
        time_bucket(to_seconds($seconds::INTEGER), time::TIMESTAMP) AS start,
        edge,
        bool_or(evidence = 1 AND side <> 2) AS received,
        bool_or(evidence = 1) AS sent,
        bool_or(evidence = 2) AS refused,
        bool_or(evidence = 2 AND side = 1) AS refused_by_server
    FROM edge_activity
    WHERE time >= $since AND time < $until
    GROUP BY ALL
),

per_edge AS (
    -- Label sets of one workload may differ in details: what reads the same is one edge.
    SELECT
        seen.start,
        edge_log.source,
        edge_log.destination,
        edge_log.service,
        edge_log.declared,
        max(edge_log.transport) AS transport,
        bool_or(seen.received) AS received,
        bool_or(seen.sent) AS sent,
        bool_or(seen.refused) AS refused,
        bool_or(seen.refused_by_server) AS refused_by_server
    FROM seen
    INNER JOIN edge_log USING (edge)
    GROUP BY seen.start, edge_log.source, edge_log.destination, edge_log.service, edge_log.declared
),

judged AS (
    SELECT
        start,
        CASE
            WHEN declared = 'ungoverned' THEN 'ungoverned'
            WHEN declared = 'unknown' THEN 'unknown'
            WHEN declared = 'yes' AND refused THEN 'blocked'
            WHEN declared = 'yes' AND transport = 'violated' THEN 'unexpected'
            WHEN declared = 'yes' AND transport = 'unknown' THEN 'unknown'
            WHEN declared = 'yes' THEN 'expected'
            WHEN received OR (sent AND NOT refused_by_server) THEN 'unexpected'
            WHEN refused THEN 'denied'
            ELSE 'audited'
        END AS square
    FROM per_edge
)

SELECT start, square, count(*) AS edges
FROM judged
GROUP BY start, square
ORDER BY start, square
