-- Which version of this schema the file has; one row.
-- columns: version (INTEGER), created (TIMESTAMP, UTC), statements (VARCHAR, a digest of the statements of queries/schema as they were run last)
CREATE TABLE IF NOT EXISTS schema_version (
    version INTEGER NOT NULL,
    created TIMESTAMP NOT NULL,
    statements VARCHAR
)
