-- Append edges seen for the first time; `batch` is an Arrow table.
INSERT INTO edges BY NAME SELECT * FROM batch
