-- Append recent_keys; `batch` is an Arrow table.
INSERT INTO recent_keys BY NAME SELECT * FROM batch
