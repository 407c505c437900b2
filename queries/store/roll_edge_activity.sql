-- Add what edge_activity says before the moment up by the minute.
-- params: before
INSERT INTO edge_minutes
SELECT
    max(time) AS time,
    min(first_time) AS first_time,
    edge,
    evidence,
    side,
    sum(flows)::BIGINT AS flows,
    sum(verdicts)::BIGINT AS verdicts,
    sum(openings)::BIGINT AS openings
FROM edge_activity
WHERE time < $before
GROUP BY date_trunc('minute', time::TIMESTAMP), edge, evidence, side
