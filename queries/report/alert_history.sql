-- When was what alerts rest on seen, in spells without a pause of more than a minute? The evidence that `flowwatch alerts backtest` reads.
-- params: since, until
-- columns: source, destination, service (VARCHAR), source_namespace (VARCHAR), destination_kind, declared (VARCHAR: yes, no), evidence (VARCHAR: forwarded, dropped, audited), side (VARCHAR), first_seen, last_seen (TIMESTAMP_MS), flows (BIGINT), history_begins (TIMESTAMP_MS, the oldest activity in the window)
WITH seen AS (
    SELECT
        edge_log.source,
        edge_log.destination,
        edge_log.service,
        edge_log.source_namespace,
        edge_log.destination_kind,
        edge_log.declared,
        edge_history.evidence,
        edge_history.side,
        edge_history.first_time,
        edge_history.time,
        edge_history.flows
    FROM edge_history
    INNER JOIN edge_log USING (edge)
    WHERE
        edge_history.time >= $since AND edge_history.time < $until
        AND edge_log.declared IN ('yes', 'no')
        -- What is declared and passes is as it should be.
        AND (edge_log.declared = 'no' OR edge_history.evidence <> 1)
),

marked AS (
    SELECT
        *,
        first_time > max(time) OVER (
            PARTITION BY source, destination, service, declared, evidence, side
            ORDER BY first_time, time
            ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) + INTERVAL 1 MINUTE AS pauses
    FROM seen
),

numbered AS (
    SELECT
        *,
        sum(coalesce(pauses, false)::INTEGER) OVER (
            PARTITION BY source, destination, service, declared, evidence, side
            ORDER BY first_time, time
            ROWS UNBOUNDED PRECEDING
        ) AS spell
    FROM marked
)

SELECT
    numbered.source,
    numbered.destination,
    numbered.service,
    any_value(coalesce(numbered.source_namespace, '')) AS source_namespace,
    any_value(coalesce(numbered.destination_kind, '')) AS destination_kind,
    numbered.declared,
    coalesce(evidences.name, 'unknown') AS evidence,
    coalesce(sides.name, 'unknown') AS side,
    min(numbered.first_time) AS first_seen,
    max(numbered.time) AS last_seen,
    sum(numbered.flows)::BIGINT AS flows,
    (SELECT min(time) FROM edge_history WHERE time >= $since AND time < $until) AS history_begins
FROM numbered
LEFT JOIN codes AS evidences ON evidences.kind = 'evidence' AND evidences.code = numbered.evidence
LEFT JOIN codes AS sides ON sides.kind = 'side' AND sides.code = numbered.side
GROUP BY
    numbered.source, numbered.destination, numbered.service, numbered.declared, evidences.name, sides.name,
    numbered.spell
ORDER BY first_seen, source, destination, service, evidence, side
