-- Read back how every node stands, after a restart.
-- columns: cluster, node, since, gone, cursor, proved (seconds)
SELECT cluster, node, since, gone, cursor, proved FROM node_states ORDER BY since, cluster, node
