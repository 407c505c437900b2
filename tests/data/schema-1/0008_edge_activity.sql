-- What was seen of each edge, added up per commit: evidence that it was forwarded, dropped or audited, by the side that said so.
-- columns: time (TIMESTAMP_MS, UTC, newest flow of the row), first_time (its oldest flow), edge (INTEGER), evidence, side (UTINYINT, see codes), flows (BIGINT), verdicts (BIGINT, connections by policy verdict), openings (BIGINT, connections by first trace; of drops: attempts). Connections = greater of the two sums.
CREATE TABLE IF NOT EXISTS edge_activity (
    time TIMESTAMP_MS NOT NULL,
    first_time TIMESTAMP_MS NOT NULL,
    edge INTEGER NOT NULL,
    evidence UTINYINT NOT NULL,
    side UTINYINT NOT NULL,
    flows BIGINT NOT NULL,
    verdicts BIGINT NOT NULL,
    openings BIGINT NOT NULL
)
