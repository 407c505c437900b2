-- Fill the rules in force; `batch` is an Arrow table.
INSERT INTO rules BY NAME SELECT * FROM batch
