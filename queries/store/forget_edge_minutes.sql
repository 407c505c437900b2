-- Forget rows of edge_minutes that are older than the moment; they are deleted by time and nothing else.
-- params: before
DELETE FROM edge_minutes WHERE time < $before
