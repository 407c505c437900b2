-- Forget all edges, to be written anew after a changed allowlist judged them.
DELETE FROM edges
