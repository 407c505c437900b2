-- How many flows of each kind there were from one moment to another: whole minutes from the counts, what is left of a minute at either end from the flows.
-- columns: minute (TIMESTAMP, its start; where only hours are kept, the hour's), node, verdict, event, drop_reason, class, side, flows
CREATE OR REPLACE MACRO counted_flows(since, until) AS TABLE
SELECT minute, node, verdict, event, drop_reason, class, side, flows
FROM flow_history
WHERE
    minute >= date_trunc('minute', since::TIMESTAMP + INTERVAL 59999999 MICROSECOND)
    AND minute < date_trunc('minute', until::TIMESTAMP)
UNION ALL
SELECT date_trunc('minute', time::TIMESTAMP) AS minute, node, verdict, event, drop_reason, class, side, weight::BIGINT AS flows
FROM flows
WHERE
    time >= since::TIMESTAMP
    AND time < least(until::TIMESTAMP, date_trunc('minute', since::TIMESTAMP + INTERVAL 59999999 MICROSECOND))
UNION ALL
SELECT date_trunc('minute', time::TIMESTAMP) AS minute, node, verdict, event, drop_reason, class, side, weight::BIGINT AS flows
FROM flows
WHERE
    time >= greatest(
        date_trunc('minute', until::TIMESTAMP),
        date_trunc('minute', since::TIMESTAMP + INTERVAL 59999999 MICROSECOND)
    )
    AND time < until::TIMESTAMP
