-- What we saw and did not see, per node and minute.
-- columns: minute (TIMESTAMP, UTC, its start), node (VARCHAR), flows (BIGINT received), lost_perf, lost_queue, lost_ring, lost_other (BIGINT, events lost by the perf ring, the observer queue, the ring buffer, anybody else), streaming (BOOLEAN: was the node's stream up when last heard of in that minute)
CREATE TABLE IF NOT EXISTS coverage (
    minute TIMESTAMP NOT NULL,
    node VARCHAR NOT NULL,
    flows BIGINT NOT NULL,
    lost_perf BIGINT NOT NULL,
    lost_queue BIGINT NOT NULL,
    lost_ring BIGINT NOT NULL,
    lost_other BIGINT NOT NULL,
    streaming BOOLEAN NOT NULL
)
