-- The counts of flows by minute and kind, as they are made from now on.
-- columns: minute (TIMESTAMP, UTC, its start), node, verdict, event, drop_reason, class, side (as in flows), flows (BIGINT, by weight)
CREATE TABLE flow_activity (
    minute TIMESTAMP NOT NULL,
    node INTEGER NOT NULL,
    verdict INTEGER NOT NULL,
    event INTEGER NOT NULL,
    drop_reason INTEGER NOT NULL,
    class UTINYINT NOT NULL,
    side UTINYINT NOT NULL,
    flows BIGINT NOT NULL
)
