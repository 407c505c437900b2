-- The first peer number not yet given out.
-- columns: next_peer
SELECT coalesce(max(peer) + 1, 0) AS next_peer FROM peers
