-- Forget rows of flow_activity that are older than the moment; they are deleted by time and nothing else.
-- params: before
DELETE FROM flow_activity WHERE minute < $before
