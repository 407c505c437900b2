-- How many flows of each verdict and event type were there?
-- params: since, until
-- columns: verdict (VARCHAR), event (VARCHAR), flows (BIGINT)
SELECT
    coalesce(verdicts.name, flows.verdict::VARCHAR) AS verdict,
    coalesce(events.name, flows.event::VARCHAR) AS event,
    sum(flows.weight)::BIGINT AS flows
FROM flows
LEFT JOIN codes AS verdicts ON verdicts.kind = 'verdict' AND verdicts.code = flows.verdict
LEFT JOIN codes AS events ON events.kind = 'event' AND events.code = flows.event
WHERE flows.time >= $since AND flows.time < $until
GROUP BY ALL
ORDER BY flows DESC, verdict, event
