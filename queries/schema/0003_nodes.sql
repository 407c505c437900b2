-- The nodes that reported flows.
-- columns: node (INTEGER, number used in flows), cluster (VARCHAR, the operator's name of it), name (VARCHAR, `cluster/node` or bare, as flows carry it)
CREATE TABLE IF NOT EXISTS nodes (
    node INTEGER NOT NULL,
    cluster VARCHAR NOT NULL,
    name VARCHAR NOT NULL
)
