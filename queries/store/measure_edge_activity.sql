-- How many rows of edge_activity are older than the moment, and how old is the oldest?
-- params: before
-- columns: rows (BIGINT), oldest (TIMESTAMP)
SELECT count(*) AS rows, min(time)::TIMESTAMP AS oldest FROM edge_activity WHERE time < $before
