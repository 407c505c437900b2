-- How many flows are stored of the window, and from when to when?
-- params: since, until
-- columns: flows (BIGINT), first, last (TIMESTAMP_MS)
SELECT count(*) AS flows, min(time) AS first, max(time) AS last
FROM flows
WHERE time >= $since AND time < $until
