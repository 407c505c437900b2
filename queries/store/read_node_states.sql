-- Read back how every node stands, after a restart.
-- columns: cluster, node, since, gone, cursor, proved, skew, at (seconds)
SELECT cluster, node, since, gone, cursor, proved, skew, at FROM node_states ORDER BY since, cluster, node
