-- Time of a node that was not seen and cannot be recovered.
-- columns: cluster, node (VARCHAR), since, until (TIMESTAMP, UTC, the node's last flow before and its first flow after), reason (VARCHAR, why there was no stream)
CREATE TABLE IF NOT EXISTS gaps (
    cluster VARCHAR NOT NULL,
    node VARCHAR NOT NULL,
    since TIMESTAMP NOT NULL,
    until TIMESTAMP NOT NULL,
    reason VARCHAR NOT NULL
)
