-- Append peers seen for the first time; `batch` is an Arrow table.
INSERT INTO peers SELECT * FROM batch
