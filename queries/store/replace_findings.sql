-- Write findings as they are now, over what the same fingerprints had; `batch` is an Arrow table.
INSERT OR REPLACE INTO findings BY NAME SELECT * FROM batch
