-- Forget the edges in `batch`, to be written anew.
DELETE FROM edges WHERE edge IN (SELECT edge FROM batch)
