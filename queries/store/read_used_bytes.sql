-- How many bytes of the file hold something? What was freed stays in the file, to be used again.
-- columns: used (BIGINT)
SELECT (used_blocks * block_size)::BIGINT AS used FROM pragma_database_size()
