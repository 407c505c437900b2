-- How many flows of each verdict and event type were there? From the counts by minute, so also after the flows are forgotten.
-- params: since, until
-- columns: verdict (VARCHAR), event (VARCHAR), flows (BIGINT)
SELECT
    coalesce(verdicts.name, counted.verdict::VARCHAR) AS verdict,
    coalesce(events.name, counted.event::VARCHAR) AS event,
    sum(counted.flows)::BIGINT AS flows
FROM counted_flows($since, $until) AS counted
LEFT JOIN codes AS verdicts ON verdicts.kind = 'verdict' AND verdicts.code = counted.verdict
LEFT JOIN codes AS events ON events.kind = 'event' AND events.code = counted.event
GROUP BY ALL
ORDER BY flows DESC, verdict, event
