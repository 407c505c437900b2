-- Add what flow_minutes says before the moment up by the hour.
-- params: before
INSERT INTO flow_hours
SELECT
    date_trunc('hour', flow_minutes.minute) AS minute,
    node,
    verdict,
    event,
    drop_reason,
    class,
    side,
    sum(flows)::BIGINT AS flows
FROM flow_minutes
WHERE flow_minutes.minute < $before
GROUP BY ALL
