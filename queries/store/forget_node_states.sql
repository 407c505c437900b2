-- Forget nodes that have been gone for longer than the retention.
-- params: before
DELETE FROM node_states WHERE gone > 0 AND gone < epoch($before::TIMESTAMP)
