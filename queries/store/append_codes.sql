-- Fill the meaning of the codes; `batch` is an Arrow table.
INSERT INTO codes BY NAME SELECT * FROM batch
