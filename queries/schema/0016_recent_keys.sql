-- Keys of the newest flows of every node, by which a flow that a server repeats is recognised after a restart. Kept only as long as a server could repeat them.
-- columns: node (INTEGER, see nodes), time (BIGINT, nanoseconds), high, low (UBIGINT, the halves of the flow's uuid, or of a digest where it has none)
CREATE TABLE IF NOT EXISTS recent_keys (
    node INTEGER NOT NULL,
    time BIGINT NOT NULL,
    high UBIGINT NOT NULL,
    low UBIGINT NOT NULL
)
