-- Why was traffic dropped, how often, and was it policy?
-- params: since, until
-- columns: reason (VARCHAR), class (VARCHAR: denied, stale-reply, infra-drop, handled …), direction (VARCHAR), packets (BIGINT: drops as Hubble counts them, a denied packet once), sources (BIGINT: distinct clients), last_seen (TIMESTAMP_MS)
SELECT
    CASE WHEN flows.drop_reason = 0 THEN 'L7' ELSE coalesce(drops.name, flows.drop_reason::VARCHAR) END AS reason,
    coalesce(classes.name, flows.class::VARCHAR) AS class,
    coalesce(sides.name, 'unknown') AS direction,
    -- A packet that policy denies is reported as a policy verdict and again as a drop.
    greatest(
        coalesce(sum(flows.weight) FILTER (flows.event = 1), 0),
        coalesce(sum(flows.weight) FILTER (flows.event <> 1), 0)
    )::BIGINT AS packets,
    count(DISTINCT flows.client) AS sources,
    max(flows.time) AS last_seen
FROM flows
LEFT JOIN codes AS drops ON drops.kind = 'drop_reason' AND drops.code = flows.drop_reason
LEFT JOIN codes AS classes ON classes.kind = 'class' AND classes.code = flows.class
LEFT JOIN codes AS sides ON sides.kind = 'side' AND sides.code = flows.side
WHERE flows.verdict = 2 AND flows.time >= $since AND flows.time < $until
GROUP BY ALL
ORDER BY packets DESC, reason, class, direction
