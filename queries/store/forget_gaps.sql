-- Forget gaps older than the retention.
-- params: before
DELETE FROM gaps WHERE until < $before
