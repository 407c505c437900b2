-- The meaning of the codes as the file has it.
-- columns: kind, code, name
SELECT kind, code, name FROM codes ORDER BY kind, code
