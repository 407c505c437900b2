-- Read the nodes back after a restart.
-- columns: node, name
SELECT node, name FROM nodes ORDER BY node
