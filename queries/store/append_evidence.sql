-- Append flows that prove findings; `batch` is an Arrow table with the columns of evidence.
INSERT INTO evidence BY NAME SELECT * FROM batch
