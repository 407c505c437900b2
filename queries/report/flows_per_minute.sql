-- How many flows of each verdict came in each minute?
-- params: since, until
-- columns: minute (TIMESTAMP), verdict (VARCHAR), flows (BIGINT)
SELECT
    time_bucket(INTERVAL 1 MINUTE, flows.time::TIMESTAMP) AS minute,
    coalesce(verdicts.name, flows.verdict::VARCHAR) AS verdict,
    sum(flows.weight)::BIGINT AS flows
FROM flows
LEFT JOIN codes AS verdicts ON verdicts.kind = 'verdict' AND verdicts.code = flows.verdict
WHERE flows.time >= $since AND flows.time < $until
GROUP BY ALL
ORDER BY minute, verdict
