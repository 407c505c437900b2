-- Findings as last reported, one row per fingerprint.
-- columns: fingerprint, square, cluster, source, destination, service, direction (VARCHAR), rule, nearest_rule (VARCHAR), differs (VARCHAR[]), reason, sentence (VARCHAR), first_seen, last_seen (TIMESTAMP, UTC), flows, connections (BIGINT), samples (VARCHAR[], flow uuids), drop_reasons, policies (VARCHAR[]), coverage (DOUBLE, 0…1), source_namespace, source_workload, destination_namespace (VARCHAR), active (BOOLEAN)
CREATE TABLE IF NOT EXISTS findings (
    fingerprint VARCHAR PRIMARY KEY,
    square VARCHAR NOT NULL,
    cluster VARCHAR NOT NULL,
    source VARCHAR NOT NULL,
    destination VARCHAR NOT NULL,
    service VARCHAR NOT NULL,
    direction VARCHAR NOT NULL,
    source_namespace VARCHAR NOT NULL,
    destination_namespace VARCHAR NOT NULL,
    rule VARCHAR NOT NULL,
    nearest_rule VARCHAR NOT NULL,
    differs VARCHAR[] NOT NULL,
    reason VARCHAR NOT NULL,
    sentence VARCHAR NOT NULL,
    first_seen TIMESTAMP NOT NULL,
    last_seen TIMESTAMP NOT NULL,
    flows BIGINT NOT NULL,
    connections BIGINT NOT NULL,
    samples VARCHAR[] NOT NULL,
    drop_reasons VARCHAR[] NOT NULL,
    policies VARCHAR[] NOT NULL,
    coverage DOUBLE NOT NULL,
    active BOOLEAN NOT NULL
)
