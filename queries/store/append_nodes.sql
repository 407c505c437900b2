-- Append nodes seen for the first time; `batch` is an Arrow table.
INSERT INTO nodes BY NAME SELECT * FROM batch
