-- Write all alerts as they are now; `batch` is an Arrow table.
INSERT INTO alerts SELECT * FROM batch
