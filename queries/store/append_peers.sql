-- Append peers seen for the first time; `batch` is an Arrow table.
INSERT INTO peers BY NAME SELECT * FROM batch
