-- Which edges were seen, in which square, how often?
-- params: since, until
-- columns: square (VARCHAR), source, destination, service (VARCHAR), declared (VARCHAR), rule (VARCHAR: declaring, or nearest), forwarded, dropped, audited (BIGINT: connections), flows (BIGINT), last_seen (TIMESTAMP_MS)
WITH seen AS (
    -- Label sets of one workload may differ in details: what reads the same is one edge.
    SELECT
        edge_log.source,
        edge_log.destination,
        edge_log.service,
        edge_log.declared,
        max(edge_log.transport) AS transport,
        min(coalesce(nullif(edge_log.rule, ''), edge_log.nearest_rule)) AS rule,
        edge_history.evidence,
        edge_history.side,
        sum(edge_history.flows) AS flows,
        greatest(sum(edge_history.verdicts), sum(edge_history.openings)) AS connections,
        max(edge_history.time) AS last_seen
    FROM edge_history
    INNER JOIN edge_log USING (edge)
    WHERE edge_history.time >= $since AND edge_history.time < $until
    GROUP BY ALL
),

per_edge AS (
    SELECT
        source,
        destination,
        service,
        declared,
        max(transport) AS transport,
        min(rule) AS rule,
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
    GROUP BY source, destination, service, declared
)

SELECT
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
    END AS square,
    source,
    destination,
    service,
    declared,
    rule,
    forwarded::BIGINT AS forwarded,
    dropped::BIGINT AS dropped,
    audited::BIGINT AS audited,
    flows::BIGINT AS flows,
    last_seen
FROM per_edge
ORDER BY
    array_position(['unexpected', 'blocked', 'denied', 'unknown', 'audited', 'expected', 'ungoverned'], square),
    flows DESC,
    source,
    destination,
    service
