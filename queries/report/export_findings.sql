-- All that is stored of the findings seen in the window, for `flowwatch export`.
-- params: since, until
-- columns: as the table findings
SELECT *
FROM findings
WHERE last_seen >= $since AND last_seen < $until
ORDER BY first_seen, fingerprint
