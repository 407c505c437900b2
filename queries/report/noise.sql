-- What was left out of judging as noise, by its class, and who had part in it most?
-- params: since, until
-- columns: class (VARCHAR, explained in docs/noise.md), client, server (VARCHAR, workloads), flows (BIGINT), first_seen, last_seen (TIMESTAMP)
SELECT
    coalesce(classes.name, flows.class::VARCHAR) AS class,
    CASE
        WHEN clients.kind = 'pod'
            THEN concat(clients.namespace, '/', coalesce(nullif(clients.workload, ''), '?'))
        ELSE clients.kind
    END AS client,
    CASE
        WHEN servers.kind = 'pod'
            THEN concat(servers.namespace, '/', coalesce(nullif(servers.workload, ''), '?'))
        ELSE servers.kind
    END AS server,
    sum(flows.weight)::BIGINT AS flows,
    min(flows.time)::TIMESTAMP AS first_seen,
    max(flows.time)::TIMESTAMP AS last_seen
FROM flows
LEFT JOIN codes AS classes ON classes.kind = 'class' AND classes.code = flows.class
LEFT JOIN peers AS client_peers ON client_peers.peer = flows.client
LEFT JOIN identities AS clients ON clients.identity = client_peers.identity
LEFT JOIN peers AS server_peers ON server_peers.peer = flows.server
LEFT JOIN identities AS servers ON servers.identity = server_peers.identity
WHERE
    flows.time >= $since AND flows.time < $until
    AND classes.name NOT IN ('allowed', 'carried', 'denied', 'audited')
GROUP BY ALL
ORDER BY flows DESC, class, client, server
LIMIT 1000
