-- Read the nodes back after a restart.
-- columns: node, cluster, name
SELECT node, cluster, name FROM nodes ORDER BY node
