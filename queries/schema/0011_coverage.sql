-- The coverage ledger: what we saw and did not see, per node and minute. Every row adds to its minute; the sum of a minute is what counts.
-- columns: minute (TIMESTAMP, UTC, its start), cluster, node (VARCHAR), connected_ms (BIGINT, milliseconds in which a stream was up and nothing was missed), recovered_ms (BIGINT, milliseconds without a stream whose flows came later), flows (BIGINT received, by their own time), lost_perf, lost_queue, lost_ring, lost_other, lost_own, lost_unreported (BIGINT, events lost by the perf ring, the observer queue, the ring buffer, anybody else, our own full queue; flows the node saw that never came), lost_false (BIGINT, events reported as lost that were not)
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
