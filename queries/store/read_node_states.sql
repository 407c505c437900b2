-- Read back how every node stands, after a restart.
-- columns: cluster, node, since, gone, cursor, proved, skew, noted, booked (seconds)
SELECT cluster, node, since, gone, cursor, proved, skew, noted, booked FROM node_states ORDER BY since, cluster, node
