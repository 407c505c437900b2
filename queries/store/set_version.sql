-- Note which version of the schema a new file has.
-- params: version, statements
INSERT INTO schema_version VALUES ($version, current_timestamp::TIMESTAMP, $statements)
