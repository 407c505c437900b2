-- Read the policy sets back after a restart.
-- columns: policy_set, policies
SELECT policy_set, policies FROM policy_sets ORDER BY policy_set
