-- Read back which flows prove the findings, after a restart; the oldest first.
-- columns: edge, evidence, uuid, drop_reason, policies (VARCHAR[]: of a drop those that denied, else those that allowed)
SELECT evidence.edge, evidence.evidence, evidence.uuid, evidence.drop_reason, coalesce(policy_sets.policies, []) AS policies
FROM evidence
LEFT JOIN policy_sets ON policy_sets.policy_set = CASE WHEN evidence.evidence = 2 THEN evidence.denied_by ELSE evidence.allowed_by END
WHERE evidence.edge IS NOT NULL
ORDER BY evidence.time, evidence.rowid
