-- Which flows are the samples of which finding?
-- params: since, until
-- columns: fingerprint, square, source, destination, service (VARCHAR), samples (VARCHAR[], flow uuids)
SELECT fingerprint, square, source, destination, service, samples
FROM findings
WHERE last_seen >= $since AND last_seen < $until
ORDER BY last_seen DESC, fingerprint
