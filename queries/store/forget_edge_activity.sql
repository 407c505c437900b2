-- Forget rows of edge_activity that are older than the moment; they are deleted by time and nothing else.
-- params: before
DELETE FROM edge_activity WHERE time < $before
