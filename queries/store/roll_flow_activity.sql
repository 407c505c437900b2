-- Add what flow_activity says before the moment up by the minute.
-- params: before
INSERT INTO flow_minutes
SELECT
    date_trunc('minute', flow_activity.minute) AS minute,
    node,
    verdict,
    event,
    drop_reason,
    class,
    side,
    sum(flows)::BIGINT AS flows
FROM flow_activity
WHERE flow_activity.minute < $before
GROUP BY ALL
