-- Append the minutes of coverage a commit finished; `batch` is an Arrow table.
INSERT INTO coverage BY NAME SELECT * FROM batch
