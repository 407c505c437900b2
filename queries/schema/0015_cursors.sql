-- Where every stream is to go on after a restart; written in one transaction with the rows it covers.
-- columns: source (VARCHAR, the stream), cluster, node (VARCHAR; node is empty for a place in a file), time (BIGINT, nanoseconds, newest flow of the node), position (VARCHAR, place in a file)
CREATE TABLE IF NOT EXISTS cursors (
    source VARCHAR NOT NULL,
    cluster VARCHAR NOT NULL,
    node VARCHAR NOT NULL,
    time BIGINT NOT NULL,
    position VARCHAR NOT NULL,
    PRIMARY KEY (source, cluster, node)
)
