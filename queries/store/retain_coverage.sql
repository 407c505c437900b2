-- Forget coverage older than the retention.
-- params: before
DELETE FROM coverage WHERE minute < $before
