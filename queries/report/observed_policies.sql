-- Which policies did Hubble name as having allowed or denied traffic?
-- params: since, until
-- columns: policy (VARCHAR, `Kind:namespace/name`), denied (BOOLEAN: false, it allowed), flows (BIGINT)
WITH named AS (
    SELECT allowed_by AS policy_set, false AS denied, weight FROM flows WHERE time >= $since AND time < $until
    UNION ALL
    SELECT denied_by AS policy_set, true AS denied, weight FROM flows WHERE time >= $since AND time < $until
),

counted AS (
    SELECT policy_set, denied, sum(weight) AS flows FROM named GROUP BY policy_set, denied
),

unnested AS (
    SELECT unnest(policy_sets.policies) AS policy, counted.denied, counted.flows
    FROM counted
    INNER JOIN policy_sets USING (policy_set)
)

SELECT policy, denied, sum(flows)::BIGINT AS flows
FROM unnested
GROUP BY policy, denied
ORDER BY policy, denied
