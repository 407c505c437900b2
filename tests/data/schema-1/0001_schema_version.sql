-- Which version of this schema the file has; one row.
-- columns: version (INTEGER), created (TIMESTAMP, UTC)
CREATE TABLE IF NOT EXISTS schema_version (
    version INTEGER NOT NULL,
    created TIMESTAMP NOT NULL
)
