-- The coverage ledger in milliseconds, with who lost events told more precisely.
CREATE TABLE IF NOT EXISTS coverage (
    minute TIMESTAMP NOT NULL,
    cluster VARCHAR NOT NULL,
    node VARCHAR NOT NULL,
    connected_ms BIGINT NOT NULL,
    recovered_ms BIGINT NOT NULL,
    flows BIGINT NOT NULL,
    lost_perf BIGINT NOT NULL,
    lost_queue BIGINT NOT NULL,
    lost_ring BIGINT NOT NULL,
    lost_other BIGINT NOT NULL,
    lost_own BIGINT NOT NULL,
    lost_unreported BIGINT NOT NULL,
    lost_false BIGINT NOT NULL
)
