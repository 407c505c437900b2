-- Write cursors as they are now, over what was there; `batch` is an Arrow table.
INSERT OR REPLACE INTO cursors BY NAME SELECT * FROM batch
