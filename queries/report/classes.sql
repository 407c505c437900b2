-- What were the flows evidence of: verdicts, replies, noise? From the counts by minute, so also after the flows are forgotten.
-- params: since, until
-- columns: class (VARCHAR), side (VARCHAR), flows (BIGINT)
SELECT
    coalesce(classes.name, counted.class::VARCHAR) AS class,
    coalesce(sides.name, 'unknown') AS side,
    sum(counted.flows)::BIGINT AS flows
FROM counted_flows($since, $until) AS counted
LEFT JOIN codes AS classes ON classes.kind = 'class' AND classes.code = counted.class
LEFT JOIN codes AS sides ON sides.kind = 'side' AND sides.code = counted.side
GROUP BY ALL
ORDER BY flows DESC, class, side
