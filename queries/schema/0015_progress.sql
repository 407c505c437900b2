-- How many commits the file has taken; one row. A commit whose outcome nobody heard is found out by it.
-- columns: commits (BIGINT)
CREATE TABLE IF NOT EXISTS progress (
    commits BIGINT NOT NULL
)
