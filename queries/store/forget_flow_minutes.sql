-- Forget rows of flow_minutes that are older than the moment; they are deleted by time and nothing else.
-- params: before
DELETE FROM flow_minutes WHERE minute < $before
