-- How many rows of edge_hours are older than the moment, and how old is the oldest?
-- params: before
-- columns: rows (BIGINT), oldest (TIMESTAMP)
SELECT count(*) AS rows, min(time)::TIMESTAMP AS oldest FROM edge_hours WHERE time < $before
