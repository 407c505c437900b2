-- Count the flows of a commit by minute and kind; `batch` is what append_flows appends.
INSERT INTO flow_activity
SELECT date_trunc('minute', time::TIMESTAMP) AS minute, node, verdict, event, drop_reason, class, side, sum(weight)::BIGINT AS flows
FROM batch
GROUP BY ALL
