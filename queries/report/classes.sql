-- What were the flows evidence of: verdicts, replies, noise?
-- params: since, until
-- columns: class (VARCHAR), side (VARCHAR), flows (BIGINT)
SELECT
    coalesce(classes.name, flows.class::VARCHAR) AS class,
    coalesce(sides.name, 'unknown') AS side,
    sum(flows.weight)::BIGINT AS flows
FROM flows
LEFT JOIN codes AS classes ON classes.kind = 'class' AND classes.code = flows.class
LEFT JOIN codes AS sides ON sides.kind = 'side' AND sides.code = flows.side
WHERE flows.time >= $since AND flows.time < $until
GROUP BY ALL
ORDER BY flows DESC, class, side
