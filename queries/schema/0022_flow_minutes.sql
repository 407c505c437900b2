-- What flow_activity said, added up by the minute when it was old enough.
-- columns: as flow_activity; minute is the start of the minute
CREATE TABLE IF NOT EXISTS flow_minutes (
    minute TIMESTAMP NOT NULL,
    node INTEGER NOT NULL,
    verdict INTEGER NOT NULL,
    event INTEGER NOT NULL,
    drop_reason INTEGER NOT NULL,
    class UTINYINT NOT NULL,
    side UTINYINT NOT NULL,
    flows BIGINT NOT NULL
)
