-- Forget flows older than the retention; they are deleted by time and nothing else.
-- params: before
DELETE FROM flows WHERE time < $before
