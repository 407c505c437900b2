-- Read back what was seen of each edge, after a restart.
-- columns: edge, evidence, side, flows, verdicts, openings, first_time, last_time (nanoseconds)
SELECT
    edge,
    evidence,
    side,
    sum(flows)::BIGINT AS flows,
    sum(verdicts)::BIGINT AS verdicts,
    sum(openings)::BIGINT AS openings,
    epoch_ns(min(first_time)) AS first_time,
    epoch_ns(max(time)) AS last_time
FROM edge_history
GROUP BY edge, evidence, side
ORDER BY edge, evidence, side
