-- Read back how every node stands, after a restart.
-- columns: cluster, node, since, gone, cursor, proved, skew, noted (seconds)
SELECT cluster, node, since, gone, cursor, proved, skew, noted FROM node_states ORDER BY since, cluster, node
