-- Is there anything in this file, and is it ours?
-- columns: tables (BIGINT: tables in the file), ours (BIGINT: is the table schema_version among them)
SELECT count(*) AS tables, count(*) FILTER (table_name = 'schema_version') AS ours FROM duckdb_tables()
