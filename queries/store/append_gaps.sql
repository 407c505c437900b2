-- Append gaps; `batch` is an Arrow table.
INSERT INTO gaps SELECT * FROM batch
