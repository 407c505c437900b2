-- The findings that were active when last heard of, newest first.
-- params:
-- columns: as the table findings
SELECT * FROM findings WHERE active ORDER BY first_seen DESC, fingerprint
