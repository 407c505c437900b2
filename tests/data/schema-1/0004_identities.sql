-- Security identities: label sets, with the workload people know them by.
-- columns: identity (INTEGER), kind (VARCHAR: pod, world, host …), cluster, namespace (VARCHAR), labels (VARCHAR[]), workload, workload_kind (VARCHAR)
CREATE TABLE IF NOT EXISTS identities (
    identity INTEGER NOT NULL,
    kind VARCHAR NOT NULL,
    cluster VARCHAR NOT NULL,
    namespace VARCHAR NOT NULL,
    labels VARCHAR[] NOT NULL,
    workload VARCHAR NOT NULL,
    workload_kind VARCHAR NOT NULL
)
