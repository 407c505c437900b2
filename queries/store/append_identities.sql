-- Append identities seen for the first time; `batch` is an Arrow table.
INSERT INTO identities BY NAME SELECT * FROM batch
