-- Forget findings that are over and were last seen before the moment.
-- params: before
DELETE FROM findings WHERE NOT active AND last_seen < $before
