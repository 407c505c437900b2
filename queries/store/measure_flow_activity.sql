-- How many rows of flow_activity are older than the moment, and how old is the oldest?
-- params: before
-- columns: rows (BIGINT), oldest (TIMESTAMP)
SELECT count(*) AS rows, min(minute)::TIMESTAMP AS oldest FROM flow_activity WHERE minute < $before
