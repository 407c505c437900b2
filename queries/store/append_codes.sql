-- Fill the meaning of the codes; `batch` is an Arrow table.
INSERT INTO codes SELECT * FROM batch
