-- What edge_activity said, added up by the hour when it was old enough (see store.retention of the configuration).
-- columns: as edge_activity; time is the newest and first_time the oldest flow of the hour
CREATE TABLE IF NOT EXISTS edge_hours (
    time TIMESTAMP_MS NOT NULL,
    first_time TIMESTAMP_MS NOT NULL,
    edge INTEGER NOT NULL,
    evidence UTINYINT NOT NULL,
    side UTINYINT NOT NULL,
    flows BIGINT NOT NULL,
    verdicts BIGINT NOT NULL,
    openings BIGINT NOT NULL
)
