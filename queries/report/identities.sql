-- Which identities took part in any traffic?
-- params: since, until
-- columns: identity (INTEGER), kind (VARCHAR: pod, world, host …), cluster, namespace (VARCHAR), labels (VARCHAR[]), workload, workload_kind (VARCHAR)
WITH seen AS (
    SELECT client AS peer FROM flows WHERE time >= $since AND time < $until
    UNION
    SELECT server AS peer FROM flows WHERE time >= $since AND time < $until
)

SELECT
    identities.identity,
    identities.kind,
    identities.cluster,
    identities.namespace,
    identities.labels,
    identities.workload,
    identities.workload_kind
FROM identities
WHERE identities.identity IN (SELECT peers.identity FROM peers INNER JOIN seen USING (peer))
ORDER BY identities.identity
