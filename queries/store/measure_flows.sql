-- How many rows of flows are older than the moment, and how old is the oldest?
-- params: before
-- columns: rows (BIGINT), oldest (TIMESTAMP)
SELECT count(*) AS rows, min(time)::TIMESTAMP AS oldest FROM flows WHERE time < $before
