-- Add what edge_minutes says before the moment up by the hour.
-- params: before
INSERT INTO edge_hours
SELECT
    max(time) AS time,
    min(first_time) AS first_time,
    edge,
    evidence,
    side,
    sum(flows)::BIGINT AS flows,
    sum(verdicts)::BIGINT AS verdicts,
    sum(openings)::BIGINT AS openings
FROM edge_minutes
WHERE time < $before
GROUP BY date_trunc('hour', time::TIMESTAMP), edge, evidence, side
