-- Which statements made the tables and views of the file?
-- columns: statements (VARCHAR)
SELECT statements FROM schema_version
