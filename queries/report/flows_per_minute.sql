-- How many flows of each verdict came in each minute? Long ago (`store.retention_minutes`) in each hour, at the hour's first minute.
-- params: since, until
-- columns: minute (TIMESTAMP), verdict (VARCHAR), flows (BIGINT)
SELECT
    counted.minute,
    coalesce(verdicts.name, counted.verdict::VARCHAR) AS verdict,
    sum(counted.flows)::BIGINT AS flows
FROM counted_flows($since, $until) AS counted
LEFT JOIN codes AS verdicts ON verdicts.kind = 'verdict' AND verdicts.code = counted.verdict
GROUP BY ALL
ORDER BY minute, verdict
