-- Forget rows of flows that are older than the moment; they are deleted by time and nothing else.
-- params: before
DELETE FROM flows WHERE time < $before
