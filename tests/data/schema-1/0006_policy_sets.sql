-- Sets of policies that Hubble named as allowing or denying a flow.
-- columns: policy_set (INTEGER, number used in flows), policies (VARCHAR[], `Kind:namespace/name`)
CREATE TABLE IF NOT EXISTS policy_sets (
    policy_set INTEGER NOT NULL,
    policies VARCHAR[] NOT NULL
)
