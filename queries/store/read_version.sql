-- Which version of the schema does the file have?
-- columns: version (INTEGER)
SELECT version FROM schema_version
