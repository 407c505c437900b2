-- The coverage of every node and minute of the window, for `flowwatch export`.
-- params: since, until
-- columns: as the table coverage
SELECT *
FROM coverage
WHERE minute >= $since AND minute < $until
ORDER BY minute, node
