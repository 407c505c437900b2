-- What is declared and yet dropped by policy: outages in the making?
-- params: since, until
-- columns: source, destination, service, rule (VARCHAR), drop_reasons, policies (VARCHAR[]), flows, connections (BIGINT), first_seen, last_seen (TIMESTAMP)
SELECT source, destination, service, rule, drop_reasons, policies, flows, connections, first_seen, last_seen
FROM findings
WHERE square = 'blocked' AND last_seen >= $since AND last_seen < $until
ORDER BY connections DESC, source, destination, service
