-- Every node has a cluster.
ALTER TABLE nodes ALTER cluster SET NOT NULL
