-- Forget what was seen of edges before the retention.
-- params: before
DELETE FROM edge_activity WHERE time < $before
