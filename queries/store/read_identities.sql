-- Read the identities back after a restart.
-- columns: identity, kind, cluster, namespace, labels, workload, workload_kind
SELECT identity, kind, cluster, namespace, labels, workload, workload_kind FROM identities ORDER BY identity
