-- Since when every node is expected to send flows, and up to when nothing of it was missed.
-- columns: cluster, node (VARCHAR), since, gone (DOUBLE, seconds since the epoch; gone is 0 while it is expected), cursor (DOUBLE, time of its newest flow), proved (DOUBLE, up to when nothing was missed), skew (DOUBLE, seconds its clock is ahead of ours), noted (DOUBLE, when this was so), booked (DOUBLE, up to when its minutes are written down)
CREATE TABLE IF NOT EXISTS node_states (
    cluster VARCHAR NOT NULL,
    node VARCHAR NOT NULL,
    since DOUBLE NOT NULL,
    gone DOUBLE NOT NULL,
    cursor DOUBLE NOT NULL,
    proved DOUBLE NOT NULL,
    skew DOUBLE NOT NULL,
    noted DOUBLE NOT NULL,
    booked DOUBLE NOT NULL,
    PRIMARY KEY (cluster, node)
)
