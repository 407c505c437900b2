-- Forget rows of flow_hours that are older than the moment; they are deleted by time and nothing else.
-- params: before
DELETE FROM flow_hours WHERE minute < $before
