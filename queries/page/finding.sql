-- One finding as it was last reported, whether it lasts or not.
-- params: fingerprint
-- columns: as the table findings
SELECT * FROM findings WHERE fingerprint = $fingerprint
