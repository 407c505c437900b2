-- Forget keys that no server can repeat any more; `batch`: node, before (nanoseconds).
DELETE FROM recent_keys
USING batch
WHERE recent_keys.node = batch.node AND recent_keys.time < batch.before
