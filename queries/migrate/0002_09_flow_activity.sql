-- Count the flows that are there already.
INSERT INTO flow_activity
SELECT date_trunc('minute', time::TIMESTAMP) AS minute, node, verdict, event, drop_reason, class, side, sum(weight)::BIGINT AS flows
FROM flows
GROUP BY ALL
