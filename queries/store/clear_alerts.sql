-- Forget all alerts: those of now are written right after.
DELETE FROM alerts
