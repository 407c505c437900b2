-- Which edges were seen, in which square, how often?
-- params: since, until
-- columns: square (VARCHAR), source, destination, service (VARCHAR), declared (VARCHAR), rule (VARCHAR: declaring, or nearest), forwarded, dropped, audited (BIGINT: connections), flows (BIGINT), last_seen (TIMESTAMP_MS)
WITH seen AS (
    SELECT
        edge,
        evidence,
        side,
        sum(flows) AS flows,
        greatest(sum(verdicts), sum(openings)) AS connections,
        max(time) AS last_seen
    FROM edge_activity
    WHERE time >= $since AND time < $until
    GROUP BY edge, evidence, side
),

per_edge AS (
    SELECT
        edge,
        coalesce(max(connections) FILTER (evidence = 1), 0) AS forwarded,
        coalesce(max(connections) FILTER (evidence = 2), 0) AS dropped,
        coalesce(max(connections) FILTER (evidence = 3), 0) AS audited,
        bool_or(evidence = 1 AND side <> 2) AS received,
        bool_or(evidence = 1) AS sent,
        bool_or(evidence = 2) AS refused,
        bool_or(evidence = 2 AND side = 1) AS refused_by_server,
        sum(flows) AS flows,
        max(last_seen) AS last_seen
    FROM seen
    GROUP BY edge
)

SELECT
    CASE
        WHEN edge_log.declared = 'ungoverned' THEN 'ungoverned'
        WHEN edge_log.declared = 'unknown' THEN 'unknown'
        WHEN edge_log.declared = 'yes' AND per_edge.refused THEN 'blocked'
        WHEN edge_log.declared = 'yes' THEN 'expected'
        WHEN per_edge.received OR (per_edge.sent AND NOT per_edge.refused_by_server) THEN 'unexpected'
        WHEN per_edge.refused THEN 'denied'
        ELSE 'audited'
    END AS square,
    edge_log.source,
    edge_log.destination,
    edge_log.service,
    edge_log.declared,
    coalesce(nullif(edge_log.rule, ''), edge_log.nearest_rule) AS rule,
    per_edge.forwarded::BIGINT AS forwarded,
    per_edge.dropped::BIGINT AS dropped,
    per_edge.audited::BIGINT AS audited,
    per_edge.flows::BIGINT AS flows,
    per_edge.last_seen
FROM per_edge
INNER JOIN edge_log USING (edge)
ORDER BY
    array_position(['unexpected', 'blocked', 'denied', 'unknown', 'audited', 'expected', 'ungoverned'], square),
    flows DESC,
    source,
    destination,
    service
