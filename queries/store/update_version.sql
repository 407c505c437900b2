-- Note that the file was brought to another version of the schema, or has its views anew.
-- params: version, statements
UPDATE schema_version SET version = $version, statements = $statements
