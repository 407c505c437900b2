-- Coverage counts milliseconds instead of saying whether a stream was up, and who lost more precisely; what was received and lost stays.
CREATE OR REPLACE TABLE coverage AS
SELECT
    minute,
    '' AS cluster,
    node,
    0::BIGINT AS connected_ms,
    0::BIGINT AS recovered_ms,
    flows,
    lost_perf,
    lost_queue,
    lost_ring,
    lost_other,
    0::BIGINT AS lost_own,
    0::BIGINT AS lost_unreported,
    0::BIGINT AS lost_false
FROM coverage
