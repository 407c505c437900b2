-- What leaves a workload although nothing declares it?
-- params: since, until
-- columns: source, destination, service (VARCHAR), nearest_rule (VARCHAR), differs (VARCHAR[]), flows, connections (BIGINT), first_seen, last_seen (TIMESTAMP), samples (VARCHAR[])
SELECT source, destination, service, nearest_rule, differs, flows, connections, first_seen, last_seen, samples
FROM findings
WHERE square = 'unexpected' AND direction = 'egress' AND last_seen >= $since AND last_seen < $until
ORDER BY connections DESC, source, destination, service
