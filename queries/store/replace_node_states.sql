-- Write node_states as they are now, over what was there; `batch` is an Arrow table.
INSERT OR REPLACE INTO node_states BY NAME SELECT * FROM batch
