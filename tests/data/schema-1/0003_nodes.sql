-- The nodes that reported flows.
-- columns: node (INTEGER, number used in flows), name (VARCHAR, `cluster/node` or bare)
CREATE TABLE IF NOT EXISTS nodes (
    node INTEGER NOT NULL,
    name VARCHAR NOT NULL
)
