-- From when to when are there flows?
-- columns: first (TIMESTAMP_MS), last (TIMESTAMP_MS); NULL where there are none
SELECT
    min(time) AS first,
    max(time) AS last
FROM flows
