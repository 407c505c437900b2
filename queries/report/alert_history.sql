-- When was each edge seen to pass or to be dropped, in spells without a longer pause than the window? What alerts would have rested on.
-- params: since, until
-- columns: edge (INTEGER), source, destination (VARCHAR), protocol (IANA number), port (INTEGER, ICMP: type), source_namespace, destination_namespace, destination_kind, declared (VARCHAR), evidence (VARCHAR: forwarded, dropped, audited), side (VARCHAR), first_seen, last_seen (TIMESTAMP), flows (BIGINT)
WITH seen AS (
    SELECT
        edge,
        evidence,
        side,
        first_time,
        time,
        flows,
        coalesce(
            first_time > max(time) OVER earlier + INTERVAL 1 MINUTE,
            true
        ) AS begins
    FROM edge_activity
    WHERE time >= $since AND time < $until
    WINDOW earlier AS (
        PARTITION BY edge, evidence, side ORDER BY first_time ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    )
),

numbered AS (
    SELECT
        *,
        count(*) FILTER (WHERE begins) OVER (PARTITION BY edge, evidence, side ORDER BY first_time, time) AS spell
    FROM seen
)

SELECT
    numbered.edge,
    CASE
        WHEN clients.kind = 'pod'
            THEN concat(clients.namespace, '/', coalesce(nullif(clients.workload, ''), '?'))
        WHEN clients.kind = 'world' THEN coalesce(nullif(edges.client_ip, ''), 'world')
        ELSE clients.kind
    END AS source,
    CASE
        WHEN servers.kind = 'pod'
            THEN concat(servers.namespace, '/', coalesce(nullif(servers.workload, ''), '?'))
        WHEN servers.kind = 'world'
            THEN coalesce(edges.server_names[1], nullif(edges.server_ip, ''), 'world')
        ELSE servers.kind
    END AS destination,
    edges.protocol,
    edges.port,
    clients.namespace AS source_namespace,
    servers.namespace AS destination_namespace,
    servers.kind AS destination_kind,
    edges.declared,
    coalesce(evidences.name, 'unknown') AS evidence,
    coalesce(sides.name, 'unknown') AS side,
    min(numbered.first_time)::TIMESTAMP AS first_seen,
    max(numbered.time)::TIMESTAMP AS last_seen,
    sum(numbered.flows)::BIGINT AS flows
FROM numbered
INNER JOIN edges USING (edge)
INNER JOIN identities AS clients ON clients.identity = edges.client_identity
INNER JOIN identities AS servers ON servers.identity = edges.server_identity
LEFT JOIN codes AS evidences ON evidences.kind = 'evidence' AND evidences.code = numbered.evidence
LEFT JOIN codes AS sides ON sides.kind = 'side' AND sides.code = numbered.side
WHERE edges.declared IN ('yes', 'no')
GROUP BY ALL
ORDER BY first_seen, numbered.edge, evidence, side
