-- How many flows of each kind every commit brought, by the minute; kept long after the flows themselves.
-- columns: minute (TIMESTAMP, UTC, its start), node, verdict, event, drop_reason, class, side (as in flows), flows (BIGINT, by weight)
CREATE TABLE IF NOT EXISTS flow_activity (
    minute TIMESTAMP NOT NULL,
    node INTEGER NOT NULL,
    verdict INTEGER NOT NULL,
    event INTEGER NOT NULL,
    drop_reason INTEGER NOT NULL,
    class UTINYINT NOT NULL,
    side UTINYINT NOT NULL,
    flows BIGINT NOT NULL
)
