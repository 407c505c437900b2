-- Keep beside the version which statements made the tables and views.
ALTER TABLE schema_version ADD COLUMN statements VARCHAR
