-- Which identities connect to which, at which addresses, and did policy let them?
-- params: since, until
-- columns: client_identity, server_identity (INTEGER, see identities), client, server (VARCHAR, workloads), server_ip (VARCHAR, empty inside the cluster), server_names (VARCHAR[]), protocol (IANA number), port (INTEGER, ICMP: type), forwarded, dropped (BOOLEAN)
WITH evidence AS (
    SELECT edge, bool_or(evidence = 1) AS forwarded, bool_or(evidence = 2) AS dropped
    FROM edge_history
    WHERE time >= $since AND time < $until
    GROUP BY edge
),

addresses AS (
    SELECT DISTINCT flows.edge, peers.ip
    FROM flows
    INNER JOIN peers ON peers.peer = flows.server
    INNER JOIN identities USING (identity)
    WHERE flows.time >= $since AND flows.time < $until AND flows.edge IS NOT NULL AND identities.kind = 'world'
)

SELECT
    edges.client_identity,
    edges.server_identity,
    coalesce(clients.workload, '') AS client,
    coalesce(servers.workload, '') AS server,
    coalesce(addresses.ip, edges.server_ip) AS server_ip,
    edges.server_names,
    edges.protocol,
    edges.port,
    evidence.forwarded,
    evidence.dropped
FROM edges
INNER JOIN evidence USING (edge)
LEFT JOIN addresses USING (edge)
LEFT JOIN identities AS clients ON clients.identity = edges.client_identity
LEFT JOIN identities AS servers ON servers.identity = edges.server_identity
ORDER BY edges.edge, server_ip
