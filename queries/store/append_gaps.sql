-- Append gaps; `batch` is an Arrow table.
INSERT INTO gaps BY NAME SELECT * FROM batch
