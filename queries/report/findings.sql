-- What is not as declared? The findings seen in the window, the newest first.
-- params: since, until
-- columns: square, sentence (VARCHAR), source, destination, service, direction (VARCHAR), nearest_rule (VARCHAR), flows, connections (BIGINT), first_seen, last_seen (TIMESTAMP), coverage (DOUBLE), active (BOOLEAN), fingerprint (VARCHAR)
SELECT
    square,
    sentence,
    source,
    destination,
    service,
    direction,
    nearest_rule,
    flows,
    connections,
    first_seen,
    last_seen,
    coverage,
    active,
    fingerprint
FROM findings
WHERE last_seen >= $since AND last_seen < $until
ORDER BY last_seen DESC, fingerprint
