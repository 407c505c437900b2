-- How many flow rows are stored?
-- columns: flows (BIGINT)
SELECT count(*) AS flows FROM flows
