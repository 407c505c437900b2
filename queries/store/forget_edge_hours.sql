-- Forget rows of edge_hours that are older than the moment; they are deleted by time and nothing else.
-- params: before
DELETE FROM edge_hours WHERE time < $before
