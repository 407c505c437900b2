-- Read back the alerts of an earlier run.
-- columns: as in alerts
SELECT * FROM alerts ORDER BY active_since, fingerprint
